"""Options that several commands share, spelled once.

Owns their names, help and completion. Invariant: importing it loads nothing but typer.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Optional

import typer


class TableOrJson(enum.StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


class TrackerOption(enum.StrEnum):
    """Where a finished command is shown too."""

    MLFLOW = "mlflow"
    WANDB = "wandb"
    TRACKIO = "trackio"


def study_names(incomplete: str) -> list[str]:
    """Complete the name of a shipped study."""
    return _names("studies", incomplete)


def pack_names(incomplete: str) -> list[str]:
    """Complete the name of a shipped filter pack."""
    return _names("filters", incomplete)


def table_names(incomplete: str) -> list[str]:
    """Complete the name of a published table."""
    return _names("published", incomplete)


def task_names(incomplete: str) -> list[str]:
    """Complete the last of several names of shipped tasks."""
    from harness.evaluate import catalog

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in catalog.tasks() if name.startswith(last)]


def run_names(incomplete: str) -> list[str]:
    """Complete the name of a run, or of a study that has some, in the default folder of results."""
    runs = [path.with_suffix("") for path in sorted(Path("results/runs").glob("*/*.json"))]
    names = dict.fromkeys([*(path.parent.name for path in runs), *(f"{path.parent.name}/{path.name}" for path in runs)])
    return [name for name in names if name.startswith(incomplete)]


def _names(folder: str, incomplete: str) -> list[str]:
    from harness import layout

    return [name for name in layout.names("training", folder) if name.startswith(incomplete)]


StudyName = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="Shipped study or path of a TOML file.", autocompletion=study_names),
]
Ranks = Annotated[
    Optional[int],
    typer.Option(min=1, metavar="N", help="Training processes; the effective batch stays the same."),
]
DataFolder = Annotated[
    Optional[Path], typer.Option(metavar="DIR", help="Read chats and benchmarks from DIR instead of the hub.")
]
ResultsFolder = Annotated[Path, typer.Option(metavar="DIR", help="Where records and checkpoints are kept.")]


Limit = Annotated[
    Optional[int],
    typer.Option(min=0, metavar="N", help="Items per task, spread evenly over its subtasks; 0 = all."),
]
Seeds = Annotated[Optional[int], typer.Option(metavar="N", help="Use only the first N training seeds of the study.")]
Tasks = Annotated[
    str,
    typer.Option(
        metavar="A,B",
        help="Tasks, with commas between; default: all of the study.",
        autocompletion=task_names,
    ),
]
Variant = Annotated[
    str,
    typer.Option(metavar="A,B", help="Reference and treated variant, such as aligned,clean; gap = second - first."),
]
Trackers = Annotated[
    Optional[list[TrackerOption]],
    typer.Option(
        "--tracker",
        metavar="NAME",
        help="Log losses, scores, gaps and the report there too, at the end: mlflow, wandb or trackio; may be given"
        " several times.",
    ),
]
ReportsFolder = Annotated[Path, typer.Option(metavar="DIR", help="Where reports are written.")]
Printed = Annotated[TableOrJson, typer.Option(help="What is printed on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what is cached and what would run.")]
