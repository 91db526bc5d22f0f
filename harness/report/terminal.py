"""The result and the stage graph as rich tables that fit the terminal.

Owns the layout for terminals. Computes nothing. Invariant: from 60 columns on no number is broken or cut off, however
many arms there are, and no word is lost at 40; names are shown as they are, never as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.report import tradeoff_views, verdicts, wording
from harness.report.numbers import absolute, percent, relative
from harness.report.result import ArmRow, Result
from harness.report.tradeoff import TradeOff

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


# What one table of scores takes beside its arms: the task, the items, edges. Four arms fit into 80 columns.
_BESIDE = 24
_INTERVAL = len("100.0-100.0")
_RELATIVE = len("+1500.0 %")


def result_tables(result: Result, *, width: int = 80) -> Sequence[RenderableType]:
    """Return what `harness ablate` prints: the answer, scores, gaps, controls, budgets, and what stands under them.

    Args:
        width: columns of the terminal; as many arms stand abreast as fit.
    """
    from rich.text import Text

    abreast = max(1, (width - _BESIDE) // (_INTERVAL + 3))
    groups = [result.arms[start : start + abreast] for start in range(0, len(result.arms), abreast)]
    tables = [
        *[
            (f"{result.study}: {wording.scores_heading(result)}", _scores(result, group, width - _BESIDE))
            for group in groups
        ],
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
        *(_trade_off(result.tradeoff) if result.tradeoff else []),
    ]


def _scores(result: Result, arms: Sequence[ArmRow], room: int) -> Table:
    from rich.text import Text

    table = _table()
    table.add_column("task", overflow="fold")
    table.add_column("items", justify="right", no_wrap=True)
    for arm in arms:
        width = max(_INTERVAL, min(len(arm.name), room // len(arms) - 3))
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
    table.add_column("verdict", overflow="fold")
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
    table.add_column("verdict", overflow="fold")
    for row in control.rows:
        table.add_row(*map(Text, row))
    return table


def _trade_off(found: TradeOff) -> list[RenderableType]:
    from rich.text import Text

    tables: list[RenderableType] = []
    for sheet in tradeoff_views.sheets(found):
        table = _table()
        for number, name in enumerate(sheet.header):
            table.add_column(name, overflow="fold", justify="right" if number >= sheet.numbers else "left")
        for row in sheet.rows:
            table.add_row(*map(Text, row))
        tables += [Text(sheet.title, style="italic"), table]
    return [*tables, *map(Text, tradeoff_views.notes(found))]


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
