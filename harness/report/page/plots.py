"""The plots of a page: what is drawn where, in which ink.

Owns their layout. Computes nothing but means of losses over neighbouring steps. Invariant: a plot shows what a table of
the page says too, and never more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.compare import Gap
from harness.report import numbers
from harness.report.page.drawing import Ink, Tips, drawn, label
from harness.report.result import ControlKind, Curve, Part, Result, TaskRow
from harness.study.judging import BASE_ARM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 400.0
"""px: on a phone of 390 px it is shown at about 0.9 of its size."""
MANY = 20
"""From so many intervals on, the widest tenth may reach beyond the plot."""
POINTS = 240
"""Most points of a curve; more steps are averaged over neighbours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One interval of a forest plot, in points."""

    name: str
    gap: Gap
    ink: Ink
    light: bool = False


def forest(result: Result) -> str:
    """Return the gap of every task with its interval, the controls below it in a lighter ink; empty without gaps."""
    groups: list[list[Bar]] = []
    margins = []
    for row in result.tasks:
        if not isinstance(row.gap, Gap):
            continue
        bars = [Bar(name=row.title, gap=row.gap, ink=_ink(row))]
        bars += [
            Bar(name=_control(control.kind, control.reference), gap=control.gap, ink=Ink.CONTROL, light=True)
            for control in row.controls
            if isinstance(control.gap, Gap)
        ]
        groups.append(bars)
        margins.append(row.judgement.margin if row.judgement else None)
    if not groups:
        return ""
    title = f"Gap of every task with its interval, {result.treated} minus {result.reference}, in points"
    return _intervals("forest", title, groups, axis=f"{result.treated} − {result.reference}, points", margins=margins)


def parts(row: TaskRow, name: str, result: Result) -> str:
    """Return the gap by subject or subtask, the largest first; empty where there are none."""
    found = [(part, part.gap) for part in row.parts if isinstance(part.gap, Gap)]
    if not found:
        return ""
    found.sort(key=lambda pair: (-pair[1].absolute, pair[0].name))
    bars = [Bar(name=_named(part), gap=gap, ink=_called(gap), light=not gap.called) for part, gap in found]
    title = f"{row.title}: gap by subject, {result.treated} minus {result.reference}, in points"
    return _intervals(name, title, [bars], axis=f"{result.treated} − {result.reference}, points", margins=[None])


def _intervals(
    name: str, title: str, groups: Sequence[Sequence[Bar]], *, axis: str, margins: Sequence[float | None]
) -> str:
    dense = len(groups) == 1
    step, between = (17.0, 0.0) if dense else (19.0, 9.0)
    rows = sum(map(len, groups))
    height = 48 + rows * step + (len(groups) - 1) * between + 10
    longest = min(30, max(len(bar.name) for bars in groups for bar in bars))
    left = 14 + longest * 6.5

    def draw(figure: Figure, axes: Axes, tips: Tips) -> None:
        top = 0.0
        places: list[tuple[float, Bar]] = []
        axes.axvline(0, color=Ink.MUTED.value, linewidth=1)
        for bars, margin in zip(groups, margins, strict=True):
            if margin:
                low, high = top - step / 2, top + step * (len(bars) - 0.5)
                axes.fill_betweenx([low, high], -100 * margin, 100 * margin, color=Ink.BAND.value, linewidth=0)
            for bar in bars:
                places.append((top, bar))
                _whisker(axes, top, bar, tips)
                top += step
            top += between
        _symmetric(axes, [bar.gap for _, bar in places])
        axes.set_ylim(top - between - step / 2, -step / 2)
        axes.set_yticks([place for place, _ in places], [label(bar.name, 30) for _, bar in places])
        for tick, (_, bar) in zip(axes.get_yticklabels(), places, strict=True):
            tick.set_color(Ink.MUTED.value if bar.light else Ink.TEXT.value)
            tick.set_fontsize(10.5 if dense or bar.light else 11.5)
        axes.grid(axis="x")
        axes.set_xlabel(label(axis, 40))

    return drawn(name, title, WIDTH, height, draw, left=left)


def _whisker(axes: Axes, place: float, bar: Bar, tips: Tips) -> None:
    low, high, middle = (100 * value for value in (bar.gap.low, bar.gap.high, bar.gap.absolute))
    width, size = (1.4, 3.6) if bar.light else (2.4, 6.0)
    [line] = axes.plot([low, high], [place, place], color=bar.ink.value, linewidth=width)
    [point] = axes.plot([middle], [place], "o", color=bar.ink.value, markersize=size)
    for artist in (line, point):
        tips.on(artist, f"{bar.name}: {numbers.absolute(bar.gap)} points")


def _symmetric(axes: Axes, gaps: Sequence[Gap]) -> None:
    """Set limits that hold every point and, of many intervals, most: one of few items would flatten all others."""
    ends = sorted(max(abs(gap.low), abs(gap.high)) for gap in gaps)
    widest = ends[-1] if len(ends) < MANY else ends[math.ceil(0.9 * len(ends)) - 1]
    limit = min(102.0, max(1.0, 108 * max(widest, *(abs(gap.absolute) for gap in gaps))))
    axes.set_xlim(-limit, limit)


def curves(result: Result) -> str:
    """Return the training losses of all arms over their steps; empty where none was recorded."""
    lines = [one for one in result.curves if smoothed(one)[1]]
    if not lines:
        return ""

    def draw(figure: Figure, axes: Axes, tips: Tips) -> None:
        pair = (result.reference, result.treated)
        for arm in sorted({one.arm for one in lines}, key=lambda arm: (arm in pair, arm)):
            own = [one for one in lines if one.arm == arm]
            ink = ink_of(arm, result)
            for one in own:
                steps, losses = smoothed(one)
                [line] = axes.plot(steps, losses, color=ink.value, linewidth=1.1, alpha=0.75 if arm in pair else 0.5)
                tips.on(line, f"{arm}, seed {one.seed}: last loss {losses[-1]:.3f}")
        axes.set_xlabel("optimizer step")
        axes.grid(axis="y")
        axes.margins(x=0.02)
        axes.set_xlim(left=0)
        axes.set_ylim(*_most([loss for one in lines for loss in smoothed(one)[1]]))

    arms = ", ".join(dict.fromkeys(one.arm for one in lines))
    title = f"Training loss by optimizer step, every seed, arms {arms}"
    return drawn("curves", title, WIDTH, 250, draw, left=44)


def smoothed(curve: Curve) -> tuple[list[float], list[float]]:
    """Return (steps, losses), averaged over equal numbers of neighbours where there are more than POINTS."""
    width = -(-len(curve.losses) // POINTS)
    steps, losses = [], []
    for start in range(0, len(curve.losses), width):
        known = [value for value in curve.losses[start : start + width] if value is not None and math.isfinite(value)]
        if known:
            steps.append(start + (min(width, len(curve.losses) - start) + 1) / 2)
            losses.append(sum(known) / len(known))
    return steps, losses


def _most(losses: Sequence[float]) -> tuple[float, float]:
    """Return limits that leave out the highest twentieth of the losses: those of the first steps hide all others."""
    ordered = sorted(losses)
    low, high = ordered[0], ordered[math.ceil(0.95 * len(ordered)) - 1]
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def funnel(result: Result) -> str:
    """Return how many chats were left after every step, and in every arm."""
    data = result.funnel
    rows = [
        ("rows read", sum(data["read"].values()), Ink.BASE),
        ("selected", sum(data["selected"].values()), Ink.BASE),
        ("after cleaning", int(data["cleaned"]), Ink.BASE),
        ("after mixing", int(data["mixed"]), Ink.BASE),
        *((arm.name, arm.chats, ink_of(arm.name, result)) for arm in result.arms if arm.name != BASE_ARM),
    ]
    most = max(count for _, count, _ in rows) or 1
    longest = min(24, max(len(name) for name, _, _ in rows))

    def draw(figure: Figure, axes: Axes, tips: Tips) -> None:
        for place, (name, count, ink) in enumerate(rows):
            [bar] = axes.barh([place], [count], color=ink.value, height=0.66)
            tips.on(bar, f"{name}: {count:,}")
            axes.text(count + most * 0.015, place, f"{count:,}", va="center_baseline", color=Ink.TEXT.value)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, most * 1.16)
        axes.set_yticks(range(len(rows)), [label(name, 24) for name, _, _ in rows])
        axes.tick_params(axis="y", colors=Ink.TEXT.value)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.axvline(0, color=Ink.GRID.value, linewidth=1)

    title = "Chats left after every step of the data, and in every arm"
    return drawn("funnel", title, WIDTH, 16 + 24 * len(rows), draw, left=14 + longest * 6.2, below=8)


def doses(result: Result) -> str:
    """Return the scores of all tasks over the dose; empty unless an arm has one between none and all."""
    arms = sorted((arm.dose, arm.name) for arm in result.arms if arm.dose is not None)
    if not any(0 < share < 1 for share, _ in arms):
        return ""
    inks = (Ink.REFERENCE, Ink.TREATED, Ink.UP, Ink.DOWN, Ink.CONTROL, Ink.BASE)

    def draw(figure: Figure, axes: Axes, tips: Tips) -> None:
        for number, row in enumerate(result.tasks):
            ink = inks[number % len(inks)].value
            known: list[tuple[float, Any, str]] = [(share, row.scores[arm], arm) for share, arm in arms]
            axes.plot(
                [100 * share for share, _, _ in known],
                [100 * score.mean for _, score, _ in known],
                *("o-",),
                color=ink,
                linewidth=1.6,
                markersize=4,
            )
            for share, score, arm in known:
                [line] = axes.plot([100 * share] * 2, [100 * score.low, 100 * score.high], color=ink, linewidth=1)
                tips.on(line, f"{row.title}, {arm}: {numbers.estimate(score)}")
        low, high = axes.get_ylim()
        ends = [100 * row.scores[arms[-1][1]].mean for row in result.tasks]
        for number, (row, place) in enumerate(zip(result.tasks, apart(ends, 0.065 * (high - low)), strict=True)):
            ink = inks[number % len(inks)].value
            axes.text(*(103, place, label(row.title, 16)), va="center_baseline", color=ink, clip_on=False)
        axes.set_ylim(low, high)
        axes.set_xlim(-3, 102)
        axes.grid(axis="y")
        axes.set_xlabel("treated chats left as they are, per cent")
        box = axes.get_position()
        axes.set_position((box.x0, box.y0, box.width - 100 / WIDTH, box.height))

    return drawn("doses", "Score of every task by dose, in per cent", WIDTH, 260, draw, left=44)


def apart(places: Sequence[float], least: float) -> list[float]:
    """Return places for labels that are at least so far apart: those that crowd move up, in their order."""
    moved = list(places)
    for before, one in itertools.pairwise(sorted(range(len(places)), key=places.__getitem__)):
        moved[one] = max(places[one], moved[before] + least)
    return moved


def ink_of(arm: str, result: Result) -> Ink:
    """Return the ink of an arm, the same in all plots."""
    known = {result.reference: Ink.REFERENCE, result.treated: Ink.TREATED, BASE_ARM: Ink.BASE}
    return known.get(arm, Ink.CONTROL)


def _ink(row: TaskRow) -> Ink:
    if row.judgement is None:
        return Ink.TEXT
    return {"improved": Ink.UP, "regressed": Ink.DOWN}.get(row.judgement.verdict.value, Ink.TEXT)


def _called(gap: Gap) -> Ink:
    if not gap.called:
        return Ink.TEXT
    return Ink.UP if gap.absolute > 0 else Ink.DOWN


def _control(kind: ControlKind, reference: str) -> str:
    words = {ControlKind.SAME_DATA: "same data", ControlKind.SHUFFLED: "shuffled answers"}
    return words.get(kind, f"against {reference}")


def _named(part: Part) -> str:
    return f"{part.name.replace('_', ' ')} ({part.items})"
