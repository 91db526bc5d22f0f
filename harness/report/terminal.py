"""The result and the stage graph as rich tables that fit 80 columns.

Owns the layout for terminals. Computes nothing. Invariant: at 80 columns no number is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.report import views
from harness.report.result import Result

if TYPE_CHECKING:
    from rich.console import RenderableType


def result_tables(result: Result) -> Sequence[RenderableType]:
    """Return what `harness ablate` prints: scores, gaps, budgets, and the sentences under them."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    scores = Table(title=f"{result.study}: scores in per cent [95 % interval]", title_justify="left", pad_edge=False)
    scores.add_column("task", no_wrap=True)
    scores.add_column("items", justify="right")
    for arm in result.arms:
        scores.add_column(arm.name, justify="right")
    for row in result.tasks:
        cells = [
            f"{views.percent(row.scores[arm.name].mean)}\n[dim]{views.percent(row.scores[arm.name].low)}-"
            f"{views.percent(row.scores[arm.name].high)}[/dim]"
            for arm in result.arms
        ]
        scores.add_row(f"{escape(row.title)}\n[dim]{escape(row.metric)}[/dim]", str(row.items), *cells)

    gaps = Table(title=views.gap_heading(result), title_justify="left", pad_edge=False)
    gaps.add_column("task", no_wrap=True)
    gaps.add_column("gap, points", justify="right", no_wrap=True)
    gaps.add_column("relative", justify="right", no_wrap=True)
    gaps.add_column("reading")
    for row in result.tasks:
        gaps.add_row(
            escape(row.title),
            escape(views.absolute(row.gap)),
            escape(views.relative(row.gap)),
            escape(views.reading(row.gap)),
        )

    arms = Table(title="budgets of one run", title_justify="left", pad_edge=False)
    for name in ("arm", "chats", "supervised tokens", "steps", "seeds"):
        arms.add_column(name, justify="left" if name == "arm" else "right")
    for arm in result.arms:
        arms.add_row(
            arm.name,
            f"{arm.chats:,}",
            f"{arm.supervised_tokens:,}",
            f"{arm.steps:,}",
            " ".join(map(str, arm.seeds)) or "-",
        )
    return [scores, gaps, arms, *[Text(line) for line in views.footnotes(result)]]
