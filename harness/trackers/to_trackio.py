"""trackio behind `Tracker`: one project per study, one group per command, a run per report and per training.

Where it is kept is its own: TRACKIO_DIR, TRACKIO_SPACE_ID, TRACKIO_SERVER_URL. Invariant: what trackio only warns of is
an error here, so that nothing is lost unsaid.
"""

from __future__ import annotations

import warnings

from harness.trackers.content import Tracked


def open_tracker() -> TrackioTracker:
    """Return the tracker."""
    return TrackioTracker()


class TrackioTracker:
    """Runs in a project of trackio."""

    def log(self, run: Tracked) -> None:
        """Keep one run.

        Raises:
            RuntimeError: trackio warned; its functions warn where others raise.
        """
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            self._log(run)
        said = [str(one.message) for one in heard if "trackio" in str(one.message).lower()]
        if said:
            raise RuntimeError(said[0])

    def _log(self, run: Tracked) -> None:
        import trackio

        trackio.init(
            project=run.project,
            name=run.name,
            group=run.group,
            config=dict(run.settings),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        try:
            steps = max(map(len, run.series.values()), default=0)
            for step in range(steps):
                values = {name: series[step] for name, series in run.series.items() if step < len(series)}
                trackio.log({name: value for name, value in values.items() if value is not None}, step=step + 1)
            trackio.log({**run.numbers, **run.texts}, step=steps + 1)
            for path in run.files:
                trackio.log_artifact(path, name=f"{run.name.replace('/', '.')}.{path.name}", type=run.kind)
        finally:
            trackio.finish()
