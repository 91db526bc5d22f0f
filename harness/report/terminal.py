"""The result and the stage graph as rich tables that fit 80 columns.

Owns the layout for terminals. Computes nothing. Invariant: at 80 columns no number is cut off,
however many arms there are; names are shown as they are, never as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.report import verdicts, wording
from harness.report.numbers import absolute, percent, relative
from harness.report.result import ArmRow, Result

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


# Arms in one table of scores: four intervals of 11 characters leave 14 for the task.
_ABREAST = 4
_INTERVAL = len("100.0-100.0")
_RELATIVE = len("+1500.0 %")


def result_tables(result: Result) -> Sequence[RenderableType]:
    """Return what `harness ablate` prints: the answer, scores, gaps, controls, budgets, and what stands under them."""
    from rich.text import Text

    groups = [result.arms[start : start + _ABREAST] for start in range(0, len(result.arms), _ABREAST)]
    tables = [
        *[(f"{result.study}: {wording.scores_heading(result)}", _scores(result, group)) for group in groups],
        (wording.gap_heading(result), _gaps(result)),
        *[(control.heading, _control(control)) for control in verdicts.controls(result)],
        ("budgets of one run", _budgets(result)),
    ]
    return [
        *[Text(f"Warning: {line}", style="bold yellow") for line in verdicts.warnings(result)],
        Text(wording.headline(result), style="bold"),
        # A title of the table itself would be broken at the table's width.
        *[part for title, table in tables for part in (Text(title, style="italic"), table)],
        *[Text(line) for line in wording.footnotes(result)],
    ]


def _scores(result: Result, arms: Sequence[ArmRow]) -> Table:
    from rich.text import Text

    table = _table()
    table.add_column("task", overflow="fold")
    table.add_column("items", justify="right", no_wrap=True)
    for arm in arms:
        width = max(_INTERVAL, min(len(arm.name), _ABREAST * _INTERVAL // len(arms)))
        table.add_column(Text(arm.name), justify="right", width=width, overflow="fold")
    for row in result.tasks:
        scores = [row.scores[arm.name] for arm in arms]
        table.add_row(
            Text.assemble(row.title, "\n", (row.metric, "dim")),
            str(row.items),
            *[
                Text.assemble(
                    percent(score.mean),
                    "\n",
                    (f"{percent(score.low)}-{percent(score.high)}", "dim"),
                )
                for score in scores
            ],
        )
    return table


def _gaps(result: Result) -> Table:
    from rich.text import Text

    table = _table()
    table.add_column("task", overflow="fold")
    table.add_column("gap, points", justify="right", no_wrap=True)
    table.add_column(Text(wording.relative_heading(result)), justify="right", max_width=_RELATIVE, overflow="fold")
    table.add_column("verdict")
    for row in result.tasks:
        lines = [verdicts.verdict(row.gap, row.judgement)]
        if (smallest := verdicts.smallest(row.judgement)) != "-":
            lines.append(f"smallest {smallest} points")
        if needed := verdicts.needed(row.gap, row.judgement):
            lines.append(f"to decide: {needed}")
        cells = (row.title, absolute(row.gap), relative(row.gap), "\n".join(lines))
        table.add_row(*map(Text, cells))
    return table


def _control(control: verdicts.ControlTable) -> Table:
    from rich.text import Text

    table = _table()
    table.add_column("task", overflow="fold")
    table.add_column("gap, points", justify="right", no_wrap=True)
    table.add_column("verdict")
    for row in control.rows:
        table.add_row(*map(Text, row))
    return table


def _budgets(result: Result) -> Table:
    from rich.text import Text

    table = _table()
    table.add_column("arm", overflow="fold")
    for name in ("chats", "supervised tokens", "steps"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("seeds", justify="right")
    for arm in result.arms:
        table.add_row(
            Text(arm.name),
            f"{arm.chats:,}",
            f"{arm.supervised_tokens:,}",
            f"{arm.steps:,}",
            " ".join(map(str, arm.seeds)) or "-",
        )
    return table


def _table() -> Table:
    from rich.table import Table

    return Table(pad_edge=False)
