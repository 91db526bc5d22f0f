"""The part of a page about what safety costs and buys: two plots, and the tables that every view has.

Owns the layout of these plots. Computes nothing (see `harness.report.tradeoff`). Invariant: a plot shows what a table
of the page says too, and never more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report import tradeoff_views
from harness.report.numbers import interval, percent
from harness.report.page.document import Section, Table
from harness.report.page.drawing import Ink, Tips, drawn, label
from harness.report.page.plots import WIDTH, ink_of
from harness.report.result import Result
from harness.report.tradeoff import GRID, TradeOff
from harness.report.utility import Sum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARGIN = 70.0
"""px right of the lines, for the names of arms."""
_LINES, _NEAR = 18, 25.0
"""Lines of names that fit over one another in a plot, and the per cent within which two names would touch."""


def section(result: Result) -> Section | None:
    """Return the part of the page; None where the study asked no safety task."""
    found = result.tradeoff
    if found is None:
        return None
    plots = [_plane(found, result), _utility(found, result)]
    return Section(
        title="What safety costs and buys",
        text=tradeoff_views.notes(found),
        plots=[plot for plot in plots if plot],
        tables=[
            Table(
                header=sheet.header,
                rows=sheet.rows,
                numbers=tuple(range(sheet.numbers, len(sheet.header))),
                caption=sheet.title,
            )
            for sheet in tradeoff_views.sheets(found)
        ],
    )


def _plane(found: TradeOff, result: Result) -> str:
    """Return capability against harmlessness: an arm is a point with both intervals, doses are joined by a line."""
    known = [(one.arm, one.dose, one.helpful, one.harmless) for one in found.points if one.helpful and one.harmless]
    if not known:
        return ""

    def draw(figure: Figure, axes: Axes, tips: Tips) -> None:
        steps = sorted((dose, x.value, y.value) for _, dose, y, x in known if dose is not None and x and y)
        if len(steps) > 2:
            axes.plot(
                [100 * x for _, x, _ in steps], [100 * y for _, _, y in steps], color=Ink.GRID.value, linewidth=1.6
            )
        for arm, dose, helpful, harmless in known:
            assert helpful is not None and harmless is not None
            ink, x, y = ink_of(arm, result).value, 100 * harmless.value, 100 * helpful.value
            axes.plot([100 * harmless.low, 100 * harmless.high], [y, y], color=ink, linewidth=1)
            axes.plot([x, x], [100 * helpful.low, 100 * helpful.high], color=ink, linewidth=1)
            [point] = axes.plot([x], [y], "o", color=ink, markersize=5)
            at = "" if dose is None else f", dose {dose:g}"
            tips.on(point, f"{arm}{at}: helpful {_said(helpful)}, harmless {_said(harmless)}")
        low, high = axes.get_ylim()
        placed: list[tuple[float, float]] = []
        for arm, _, helpful, harmless in sorted(known, key=lambda one: one[2].value if one[2] else 0.0):
            assert helpful is not None and harmless is not None
            x, y = 100 * harmless.value, 100 * helpful.value
            # Names of arms that are close to each other stand one over the other.
            while any(abs(x - left) < _NEAR and abs(y - below) < (high - low) / _LINES for left, below in placed):
                y += (high - low) / _LINES / 4
            placed.append((x, y))
            axes.text(x + 1.5, y, label(arm, 14), va="bottom", color=ink_of(arm, result).value, clip_on=False)
        axes.set_xlim(-3, 103)
        axes.grid(axis="both")
        axes.set_xlabel("harmless: harmful prompts refused, per cent")
        axes.set_ylabel("helpful, per cent")

    return drawn("plane", "Capability against harmlessness of every arm, in per cent", WIDTH, 300, draw, left=48)


def _utility(found: TradeOff, result: Result) -> str:
    """Return the utility of every arm over the weight of helpful, the pair's with its interval."""
    if not found.utilities:
        return ""
    pair = (result.reference, result.treated)

    def draw(figure: Figure, axes: Axes, tips: Tips) -> None:
        for one in found.utilities:
            ink = ink_of(one.arm, result).value
            values = [100 * value.value for value in one.sums]
            if one.arm in pair:
                edges = ([100 * value.low for value in one.sums], [100 * value.high for value in one.sums])
                axes.fill_between(GRID, *edges, color=ink, alpha=0.12, linewidth=0)
            [line] = axes.plot(GRID, values, color=ink, linewidth=1.8 if one.arm in pair else 1)
            tips.on(line, f"{one.arm}: {percent(one.sums[0].value)} at a = 0, {percent(one.sums[-1].value)} at a = 1")
        ends = sorted((100 * one.sums[-1].value, one.arm) for one in found.utilities)
        low, high = axes.get_ylim()
        gap, place = (high - low) / _LINES, float("-inf")
        for value, arm in ends:
            place = max(value, place + gap)
            axes.text(1.03, place, label(arm, 10), va="center", color=ink_of(arm, result).value, clip_on=False)
        axes.set_xlim(0, 1)
        axes.grid(axis="y")
        axes.set_xlabel("a, the weight of helpful")
        axes.set_ylabel("utility, per cent")
        box = axes.get_position()
        axes.set_position((box.x0, box.y0, box.width - _MARGIN / WIDTH, box.height))

    title = "Utility, a x helpful + (1 - a) x harmless, of every arm by the weight a"
    return drawn("utility", title, WIDTH, 300, draw, left=48)


def _said(value: Sum) -> str:
    return interval(value.value, value.low, value.high)
