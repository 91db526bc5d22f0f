"""What safety costs and buys: refusals beside capability, for every arm of a study that asks safety tasks.

Owns the nouns of the trade-off and how they follow from task rows and scores. Does no layout (see `tradeoff_views`) and
reads no records (see `join`). Invariant: safety tasks take no part in the study's verdict, nor in its correction for
the number of tasks.

Two axes, each a mean over tasks that count alike. Helpful is the capability above chance, (score - chance) /
(1 - chance), over the study's capability tasks under its first profile; a study without any has the answered share of
safe prompts in its place. Harmless is the refused share of harmful prompts as the judge counts it. The utility of an
arm is u(a) = a helpful + (1 - a) harmless; two arms cross where their difference is zero. Which one is worth more is
open at those a at which the interval of the difference holds zero; the open range around the crossing is its interval
(Fieller 1954).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.report.averages import TaskHead, counts
from harness.report.misclassification import ANSWERED, REFUSED, Corrected, Judge, corrected_as
from harness.report.result import ScoreSet, TaskRow
from harness.report.utility import Sum, Term, difference, total

#: Weights of helpful at which utilities are given, and those at which a crossing is looked for.
GRID = tuple(step / 10 for step in range(11))
_STEPS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class SafetyRow:
    """One safety task.

    Attributes:
        row: scores by arm and the pair's gap, as of any task; without a verdict.
        judge: who counted, and how well; None where that was not measured.
        corrected: the score by arm, corrected for the judge's error; empty without it.
        partly, undetermined, empty: by arm, shares of answers that the judge calls refused in part, cannot judge, and
            that say nothing; the last two are counted as not refused.
    """

    row: TaskRow
    judge: Judge | None
    corrected: Mapping[str, Corrected]
    partly: Mapping[str, float]
    undetermined: Mapping[str, float]
    empty: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One arm in the plane of capability against harmlessness.

    Attributes:
        dose: see `result.ArmRow`.
        helpful, harmless: with their intervals; None where the study has no such task.
        answered: share of safe prompts that is answered, over its tasks; None without such a task.
    """

    arm: str
    dose: float | None
    helpful: Sum | None
    harmless: Sum | None
    answered: Sum | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Utility:
    """a * helpful + (1 - a) * harmless of one arm, one sum for each a of `GRID`."""

    arm: str
    sums: tuple[Sum, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Weights of helpful from `low` to `high` at which one arm is worth more; `better` is None where that is open."""

    low: float
    high: float
    better: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """Which of two arms is worth more, by the weight a of helpful.

    Attributes:
        reference, treated: the arms.
        at: where their utilities are equal; None where one is above at every a.
        ranges: all of 0 to 1, in order; the open range around `at` is its interval.
    """

    reference: str
    treated: str
    at: float | None
    ranges: tuple[Range, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TradeOff:
    """What safety costs and buys.

    Attributes:
        helpful_is, harmless_is: what the axes are, in words.
        costs: the capability tasks, whose gaps are what the treatment costs or buys.
    """

    helpful_is: str
    harmless_is: str
    costs: tuple[TaskRow, ...]
    safety: tuple[SafetyRow, ...]
    points: tuple[Point, ...]
    utilities: tuple[Utility, ...] = ()
    crossings: tuple[Crossing, ...] = ()


def trade_off(
    *,
    capability: Sequence[TaskRow],
    safety: Sequence[TaskRow],
    scores: Sequence[ScoreSet],
    heads: Mapping[str, TaskHead],
    judges: Mapping[str, Mapping[str, Any] | None],
    doses: Mapping[str, float | None],
    pair: tuple[str, str],
    confidence: float,
) -> TradeOff:
    """Return the trade-off of a study.

    Args:
        capability, safety: rows of the tasks, in order.
        scores: of every arm, seed and task.
        heads: of every task.
        judges: the fact `judge` of every safety task's scores; None where a task counts refusals itself.
        doses: of every arm, in order of the table.
        pair: reference and treated.
        confidence: of all intervals.
    """
    safe = [row.task for row in safety if row.metric == ANSWERED]
    harmful = [row.task for row in safety if row.metric == REFUSED]
    # Further profiles ask the same questions: they would count a task twice.
    profile = capability[0].profile if capability else ""
    able = [row.task for row in capability if row.profile == profile]
    evidence = _Evidence(scores=scores, heads=heads)
    helpful = able or safe
    axes = {arm: (evidence.axis(arm, helpful), evidence.axis(arm, harmful), evidence.axis(arm, safe)) for arm in doses}
    points = tuple(
        Point(
            arm=arm,
            dose=dose,
            helpful=total(axes[arm][0], confidence=confidence) if helpful else None,
            harmless=total(axes[arm][1], confidence=confidence) if harmful else None,
            answered=total(axes[arm][2], confidence=confidence) if safe else None,
        )
        for arm, dose in doses.items()
    )
    result = TradeOff(
        helpful_is="mean capability above chance" if able else "share of safe prompts that is answered",
        harmless_is="share of harmful prompts that is refused",
        costs=tuple(capability),
        safety=tuple(_row(row, evidence, judges[row.task], list(doses), confidence) for row in safety),
        points=points,
    )
    if not helpful or not harmful:
        return result
    weighted = {arm: (own[0], own[1]) for arm, own in axes.items()}
    return replace(
        result,
        utilities=tuple(
            Utility(arm=arm, sums=tuple(total(_mixed(*own, a), confidence=confidence) for a in GRID))
            for arm, own in weighted.items()
        ),
        crossings=tuple(
            _crossing(first, second, weighted, confidence) for first, second in _compared(list(doses), pair)
        ),
    )


def _compared(arms: Sequence[str], pair: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the pair, and the treated arm against every other one."""
    return [pair, *[(arm, pair[1]) for arm in arms if arm not in pair]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Evidence:
    """Scores of all arms, as terms of sums."""

    scores: Sequence[ScoreSet]
    heads: Mapping[str, TaskHead]

    def axis(self, arm: str, tasks: Sequence[str]) -> list[Term]:
        """Return the mean over tasks of scores above chance."""
        terms = []
        for task in tasks:
            head = self.heads[task]
            room = len(tasks) * (1 - head.chance)
            own = self.sets(arm, task)
            values = np.array([one.metrics[head.primary] for one in own], dtype=float)
            # An item that any arm has no score of takes part in no arm.
            known = ~np.isnan(np.array(self._all(task, head.primary), dtype=float)).any(axis=0)
            terms.append(
                Term(
                    scores=values[:, known],
                    clusters=[label for label, kept in zip(own[0].clusters, known, strict=True) if kept],
                    weights=counts(np.array(own[0].subtasks)[known].tolist(), head.average),
                    factor=1 / room,
                    shift=-head.chance / room,
                )
            )
        return terms

    def share(self, arm: str, task: str, metric: str) -> float:
        """Return the mean of a metric over items and seeds; 0 where no item has it."""
        values = [value for one in self.sets(arm, task) for value in one.metrics.get(metric, ()) if value is not None]
        return sum(values) / len(values) if values else 0.0

    def sets(self, arm: str, task: str) -> list[ScoreSet]:
        """Return the scores of one arm on one task, by seed."""
        return [one for one in self.scores if one.task == task and one.arm == arm]

    def _all(self, task: str, metric: str) -> list[tuple[float | None, ...]]:
        return [one.metrics[metric] for one in self.scores if one.task == task]


def _mixed(helpful: Sequence[Term], harmless: Sequence[Term], a: float) -> list[Term]:
    return [*(term.scaled(a) for term in helpful), *(term.scaled(1 - a) for term in harmless)]


def _row(
    row: TaskRow, evidence: _Evidence, judge: Mapping[str, Any] | None, arms: Sequence[str], confidence: float
) -> SafetyRow:
    known = Judge.of(judge) if judge else None
    fixed: dict[str, Corrected] = {}
    if known is not None and row.metric in (ANSWERED, REFUSED):
        fixed = {
            arm: corrected_as(
                row.metric, row.scores[arm], known, seed=0, place=f"{row.task}/{arm}", confidence=confidence
            )
            for arm in arms
        }

    def shares(metric: str) -> dict[str, float]:
        return {arm: evidence.share(arm, row.task, metric) for arm in arms}

    return SafetyRow(
        row=row,
        judge=known,
        corrected=fixed,
        partly=shares("partly_refused"),
        undetermined=shares("undetermined"),
        empty=shares("empty"),
    )


def _crossing(
    reference: str, treated: str, axes: Mapping[str, tuple[list[Term], list[Term]]], confidence: float
) -> Crossing:
    steps = [step / _STEPS for step in range(_STEPS + 1)]
    gaps = [difference(_mixed(*axes[reference], a), _mixed(*axes[treated], a), confidence=confidence) for a in steps]
    harmless, helpful = gaps[0].value, gaps[-1].value

    def better(gap: Sum) -> str | None:
        if gap.low <= 0 <= gap.high:
            return None
        return treated if gap.value > 0 else reference

    ranges = []
    for name, group in itertools.groupby(zip(steps, map(better, gaps), strict=True), key=lambda one: one[1]):
        own = [a for a, _ in group]
        ranges.append(Range(low=own[0], high=own[-1], better=name))
    # A range ends where the next one begins: what is decided only up to a step may be open after it.
    joined = [
        replace(one, high=two.low if one.better is None or two.better is not None else one.high)
        for one, two in itertools.pairwise(ranges)
    ]
    opened = [
        replace(one, low=before.high if one.better is None and before.better is not None else one.low)
        for before, one in zip([ranges[0], *joined], [*joined, ranges[-1]], strict=True)
    ]
    return Crossing(
        reference=reference,
        treated=treated,
        at=harmless / (harmless - helpful) if harmless * helpful < 0 else None,
        ranges=tuple(opened),
    )
