"""MLflow behind `Tracker`: one experiment per study, the report as a parent run, every training as its child.

Where it is kept says MLFLOW_TRACKING_URI, under which experiment MLFLOW_EXPERIMENT_NAME. Invariant: a run that was not
logged to its end is marked as failed.
"""

from __future__ import annotations

import os
import time
from typing import Any

from harness.trackers.content import Tracked

# Limits of one request (mlflow.utils.validation, 3.17): 1,000 metrics, 100 parameters, 100 tags.
_METRICS, _PARAMETERS = 1000, 100


def open_tracker() -> MlflowTracker:
    """Return the tracker of the server or file that the environment names."""
    from mlflow import MlflowClient

    return MlflowTracker(MlflowClient())


class MlflowTracker:
    """Runs in an MLflow experiment."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._parent: str | None = None

    def log(self, run: Tracked) -> None:
        """Keep one run; the first is the parent of all others."""
        tags = {"group": run.group, "kind": run.kind}
        if self._parent is not None:
            tags["mlflow.parentRunId"] = self._parent
        made = self._client.create_run(self._experiment(run.project), run_name=run.name, tags=tags)
        place = made.info.run_id
        self._parent = self._parent or place
        try:
            self._values(place, run)
            for path in run.files:
                self._client.log_artifact(place, str(path))
        except BaseException:
            self._client.set_terminated(place, status="FAILED")
            raise
        self._client.set_terminated(place, status="FINISHED")

    def _experiment(self, project: str) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", project)
        known = self._client.get_experiment_by_name(name)
        return str(known.experiment_id if known is not None else self._client.create_experiment(name))

    def _values(self, place: str, run: Tracked) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        metrics = [
            Metric(key, value, now, step)
            for key, values in run.series.items()
            for step, value in enumerate(values, start=1)
            if value is not None
        ]
        metrics += [Metric(key, value, now, 0) for key, value in run.numbers.items()]
        parameters = [Param(key, str(value)) for key, value in run.settings.items()]
        tags = [RunTag(key, value) for key, value in run.texts.items()]
        for start in range(0, len(metrics), _METRICS):
            self._client.log_batch(place, metrics=metrics[start : start + _METRICS])
        for start in range(0, max(len(parameters), len(tags)), _PARAMETERS):
            end = start + _PARAMETERS
            self._client.log_batch(place, params=parameters[start:end], tags=tags[start:end])
