"""`harness data`: the commands and their options.

Owns names, defaults and help. Invariant: stdout carries results only; everything else goes to stderr.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import (
    DataFolder,
    Printed,
    ResultsFolder,
    StudyName,
    TableOrJson,
)

data = typer.Typer(
    name="data",
    no_args_is_help=True,
    rich_markup_mode=None,
    short_help="Look at a study's chats, and at where each one went.",
    help="Look at a study's chats: what was read, what was dropped and why, what each variant holds.",
)


@data.command(
    short_help="Show what was read, dropped and why, and each variant.",
    epilog="""Examples:

\b
  harness data stats
  harness data stats smollm2 --data DIR
  harness data stats my-study.toml --format json | jq .funnel""",
)
def stats(
    study: StudyName = "pocket",
    data: DataFolder = None,
    results: ResultsFolder = Path("results"),
    format: Printed = TableOrJson.TABLE,
) -> None:
    """Show the funnel of the whole cleaning, per reason and source, and what each variant looks like.

    Reads, cleans, labels and forks the chats if that has not been done yet; nothing is trained. Every decision is a row
    of a Parquet file, whose place is printed.
    """
    from harness.cli import data_output

    data_output.stats(study, data_dir=data, results=results, as_json=format is TableOrJson.JSON)


@data.command(
    short_help="Show where one chat came from and where it went.",
    epilog="""Examples:

\b
  harness data show pocket:0:0                a chat by its source and row
  harness data show 427647fe                  the same by its id's beginning
  harness data show dolly:dolly-closed_qa-0000 smollm2 --data DIR""",
)
def show(
    chat: Annotated[
        str, typer.Argument(metavar="CHAT", help="Beginning of a chat's id (6 characters or more), or SOURCE:ID.")
    ],
    study: StudyName = "pocket",
    data: DataFolder = None,
    results: ResultsFolder = Path("results"),
    format: Printed = TableOrJson.TABLE,
) -> None:
    """Show one chat's lineage: its source row, every decision about it, its labels, every variant it is in."""
    from harness.cli import data_output

    data_output.show(chat, study, data_dir=data, results=results, as_json=format is TableOrJson.JSON)
