"""Weights & Biases behind `Tracker`: one project per study, one group per command, a run per report and per training.

Login, server and offline mode are its own: WANDB_API_KEY, WANDB_BASE_URL, WANDB_MODE=offline, WANDB_DIR, WANDB_PROJECT.
Invariant: every run is finished before the next begins, also after an error.
"""

from __future__ import annotations

import os

from harness.trackers.content import Tracked


def open_tracker() -> WandbTracker:
    """Return the tracker; it talks to the service when the first run is logged."""
    return WandbTracker()


class WandbTracker:
    """Runs in a project of Weights & Biases."""

    def log(self, run: Tracked) -> None:
        """Keep one run."""
        import wandb

        # Neither the terminal, nor the machine's load, nor the code around belongs to a result.
        settings = wandb.Settings(console="off", x_disable_stats=True, disable_git=True, disable_code=True)
        with wandb.init(
            project=os.environ.get("WANDB_PROJECT", run.project),
            group=run.group,
            name=run.name,
            job_type=run.kind,
            config=dict(run.settings),
            reinit="finish_previous",
            settings=settings,
        ) as opened:
            for step in range(max(map(len, run.series.values()), default=0)):
                values = {name: series[step] for name, series in run.series.items() if step < len(series)}
                opened.log({name: value for name, value in values.items() if value is not None}, step=step + 1)
            opened.summary.update({**run.numbers, **run.texts})
            if run.files:
                # A name of an artifact may not hold a slash.
                artifact = wandb.Artifact(run.name.replace("/", "."), type=run.kind)
                for path in run.files:
                    artifact.add_file(str(path))
                opened.log_artifact(artifact)
