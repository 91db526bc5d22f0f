"""Trackers: a finished command shown in MLflow, Weights & Biases or trackio, on request.

Owns which trackers there are, that they are installed before any work, and that a failing one is said and nothing more.
What is shown is in `content`; one module per tracker is behind `Tracker`. Invariant: a tracker is given what the result
says and nothing of it comes back, so no key, record or report depends on one.
"""

from __future__ import annotations

import enum
import importlib
import importlib.util
from collections.abc import Sequence

from harness.errors import MissingPackageError
from harness.trackers.content import Tracked, Tracker, runs_of

__all__ = ["Tracked", "Tracker", "TrackerName", "log", "opened", "require", "runs_of"]


class TrackerName(enum.StrEnum):
    """The trackers there are, by the name of the package that is imported."""

    MLFLOW = "mlflow"
    WANDB = "wandb"
    TRACKIO = "trackio"


_INSTALL = {
    TrackerName.MLFLOW: "mlflow, or mlflow-skinny where a tracking server is used",
    TrackerName.WANDB: "wandb",
    TrackerName.TRACKIO: "trackio",
}


def require(names: Sequence[TrackerName]) -> None:
    """Raise where the package of a tracker is not installed; imports none.

    Raises:
        MissingPackageError: names the first one and how it is installed.
    """
    for name in names:
        if importlib.util.find_spec(name.value) is None:
            raise MissingPackageError(
                f"--tracker {name.value} needs a package that is not installed: {_INSTALL[name]}. Install it with"
                f" `pip install {_INSTALL[name].partition(',')[0]}`, or leave the option out: the report has everything"
                " that a tracker is given."
            )


def opened(name: TrackerName) -> Tracker:
    """Return a tracker; imports its package."""
    tracker: Tracker = importlib.import_module(f"harness.trackers.to_{name.value}").open_tracker()
    return tracker


def log(names: Sequence[TrackerName], runs: Sequence[Tracked]) -> list[str]:
    """Give runs to trackers; return a sentence for each that failed.

    Whatever a tracker raises ends this tracker alone: the result is computed, written and printed, and a service that
    does not answer must not take it back.
    """
    failures = []
    for name in dict.fromkeys(names):
        done = 0
        try:
            tracker = opened(name)
            for run in runs:
                tracker.log(run)
                done += 1
        except Exception as error:
            text = " ".join(str(error).split()) or "no message"
            failures.append(
                f"{name.value} failed after {done} of {len(runs)} runs were logged ({type(error).__name__}: {text})."
                " The result and its report are whole; the same command again logs anew, without running anything."
            )
    return failures
