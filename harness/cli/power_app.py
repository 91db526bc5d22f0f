"""`harness power`: what a study could see, as a table or as JSON.

Owns the command, its options and its table. Computes nothing. Invariant: importing it loads nothing but typer.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from harness.cli.options import (
    Limit,
    Printed,
    ResultsFolder,
    StudyName,
    TableOrJson,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.commands.power import Outlook
    from harness.study import Study


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(
        short_help="Say which gaps a study could see, before training.",
        name="power",
        epilog="""Examples:

\b
  harness power                                the default study, pocket
  harness power poison-of-alignment --seeds 5  with five seeds, not three
  harness power my-study.toml --items 1319     tasks of a size not known here
  harness power my-study.toml --seed-sd 1.2 --changed 20""",
    )(power)


def power(
    study: StudyName = "pocket",
    seeds: Annotated[
        Optional[int],
        typer.Option(min=1, metavar="N", help="Training seeds per arm; default: as many as the study has."),
    ] = None,
    items: Annotated[
        Optional[int], typer.Option(min=2, metavar="N", help="Test items of every task; default: what it has.")
    ] = None,
    limit: Limit = None,
    changed: Annotated[
        Optional[float],
        typer.Option(
            metavar="PERCENT",
            help="Per cent of the items that two runs answer differently; default: as measured, or 9.",
        ),
    ] = None,
    seed_sd: Annotated[
        Optional[float],
        typer.Option(
            metavar="POINTS", help="How much a score varies from seed to seed, points; default: as measured, or 0.4."
        ),
    ] = None,
    results: ResultsFolder = Path("results"),
    format: Printed = TableOrJson.TABLE,
) -> None:
    """Say which gaps a study could see, and how many seeds its margins need, before anything is trained.

    Where a run of the study is finished, its own variances are taken; else usual ones, and the table says so.
    """
    from harness.cli.console import print_json
    from harness.commands.power import Assumed, outlook

    given = Assumed(
        changed=None if changed is None else changed / 100, seed_sd=None if seed_sd is None else seed_sd / 100
    )
    own, rows = outlook(study, seeds=seeds, items=items, limit=limit, results=results, assumed=given)
    if format is TableOrJson.JSON:
        document = {"study": own.name, "confidence": own.verdict.confidence, "tasks": [asdict(row) for row in rows]}
        print_json(document)
        return
    _show(own, rows)


def _show(study: Study, rows: Sequence[Outlook]) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness.cli.console import console
    from harness.report.numbers import counted

    out = console()
    out.print(Text(f"{study.name}: the smallest gap that {counted(rows[0].seeds, 'seed')} would show, in points"))
    table = Table(pad_edge=False)
    table.add_column("task", overflow="fold")
    for name in ("items", "smallest", "margin", "seeds", "changed", "SD"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(Text(row.task), *_cells(row))
    out.print(table)
    for line in _notes(study, rows):
        out.print(Text(line))


def _cells(row: Outlook) -> list[str]:
    if row.items is None or row.changed is None or row.seed_sd is None:
        return ["unknown", "-", f"{100 * row.margin:.1f}", "-", "-", "-"]
    mark = "" if row.measured else "~"
    return [
        f"{row.items:,}",
        "-" if row.smallest is None else f"{100 * row.smallest:.1f}",
        f"{100 * row.margin:.1f}",
        "none" if row.seeds_needed is None else f"{row.seeds_needed:,}",
        f"{mark}{100 * row.changed:.0f} %",
        f"{mark}{100 * row.seed_sd:.1f}",
    ]


def _notes(study: Study, rows: Sequence[Outlook]) -> list[str]:
    """Say what the numbers rest on."""
    level = f"{100 * study.verdict.confidence:g} %"
    lines = [
        f"Smallest: a true gap of this size is called in 80 % of such studies, at {level} confidence and before the"
        " correction for several tasks. Seeds: training seeds per arm that show a gap as large as the margin as often.",
        "Changed: items that two runs answer differently. SD: spread of a score from seed to seed, points.",
    ]
    if rows[0].seeds == 1:
        lines.append("One seed: this is about the two checkpoints only. What seeds change is not counted.")
    if any(row.items is None for row in rows):
        lines.append("The size of some tasks is not known here: give --items.")
    if not all(row.measured for row in rows):
        lines.append("~ assumed: there is no finished run of this study in --results.")
    return lines
