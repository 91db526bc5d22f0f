"""`harness leaderboard`: the command and its options.

Owns names, defaults and help. Invariant: stdout carries the leaderboard only; everything else goes to stderr.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Optional

import typer

from harness.cli.options import task_names


class BoardFormat(enum.StrEnum):
    """How a leaderboard is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        short_help="Rank variants, filters and bases over all runs.",
        epilog="""Examples:

\b
  harness leaderboard                                  every run in results/
  harness leaderboard --results mine --results theirs  two folders together
  harness leaderboard --task mmlu --format csv > mmlu.csv
  harness leaderboard --html leaderboard.html          a page that sorts""",
    )(leaderboard)


def leaderboard(
    results: Annotated[
        Optional[list[Path]], typer.Option(metavar="DIR", help="Folder of results; may be given several times.")
    ] = None,
    task: Annotated[
        str,
        typer.Option(metavar="NAME", help="Only this task, such as mmlu or mmlu_strict.", autocompletion=task_names),
    ] = "",
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="Rank by this metric, more first; default: each task's own.")
    ] = "",
    format: Annotated[BoardFormat, typer.Option(help="What is printed on stdout.")] = BoardFormat.TABLE,
    html: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Also write the page to this file.")] = None,
) -> None:
    """Rank variants, filters and base models over all runs, as far as they can be told apart.

    Only what was asked the same is ranked together; what was not is on a board of its own that says why.
    """
    from harness.cli import leaderboard_output

    leaderboard_output.leaderboard(
        tuple(results or [Path("results")]), task=task, metric=metric, format=format.value, html=html
    )
