"""What may be said of each task of a gate: held, lost, or neither shown.

Owns the tests and their correction over tasks. Knows no study and prints nothing. Invariant: a task passes only where
its loss is shown to be within the margin, regresses only where it is shown to be beyond it, and never both.

With r and t the mean scores of reference and treated and a the allowed gap (a loss is negative), the tests are
one-sided, paired over seeds x items (`compare.gap`):

    points    held: t - r > a            lost: t - r < a
    relative  held: t - (1 + a) r > 0    lost: t - (1 + a) r < 0

The relative form scales the reference by 1 + a, so that the uncertainty of the margin, a share of a measured score, is
part of the test. It alone would pass five items on which both arms agree, since scaling gives agreement a spread; so
the test in points at a r has to reject as well, and the larger p-value counts. A gain that is required (a > 0) scales
the treated scores by 1 / (1 + a) instead, so that scores stay within [0, 1].

"Held" over all gated tasks is one family of Holm's correction, "lost" another.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness import compare
from harness.commands.regress.language import Check, Unit
from harness.compare import Gap, Incomparable

Floats = np.ndarray[Any, np.dtype[np.float64]]

ROUNDING = 1e-12
"""Means over seeds that differ by less are equal: float noise of a sum of scores in [0, 1]."""


class Outcome(enum.StrEnum):
    """What a gate says of a task."""

    PASSED = "passed"
    SAME = "same chats"  # both versions leave the same chats, so there is one model and nothing to test
    REGRESSED = "regressed"
    INCONCLUSIVE = "inconclusive"
    INCOMPARABLE = "incomparable"
    NOT_GATED = "not gated"

    @property
    def open(self) -> bool:
        """Whether the task is gated and neither verdict was shown."""
        return self in (Outcome.INCONCLUSIVE, Outcome.INCOMPARABLE)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """Both arms' scores on one task, paired.

    Attributes:
        items: ids.
        reference, treated: [seeds, items] in [0, 1].
        clusters: a label per item.
        weights: what every item counts [items], mean 1.
    """

    items: tuple[str, ...]
    reference: Floats
    treated: Floats
    clusters: Sequence[str]
    weights: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Flips:
    """Items whose mean score over the seeds changed, the largest change first, then by name."""

    lost: tuple[str, ...]
    gained: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """One task and what the gate says of it.

    Attributes:
        check: what is allowed; None where the gate does not name the task.
        gap: of the pair, or why there is none; None where there is one model only.
        margin: the allowed gap as a fraction of the scale; None without check or gap.
        held, lost: p-values that the true gap is above the margin, and below it, after Holm's correction.
        outcome: the verdict.
        flips: which items changed; None without a gap.
    """

    task: str
    check: Check | None
    gap: Gap | Incomparable | None
    margin: float | None = None
    held: float | None = None
    lost: float | None = None
    outcome: Outcome
    flips: Flips | None = None


def judge(
    scores: Mapping[str, Scores | Incomparable], checks: Mapping[str, Check | None], *, alpha: float = 0.05
) -> list[Tested]:
    """Return what the gate says of every task, in the order of `scores`.

    Args:
        checks: what is allowed, by task; None = the task is reported, not gated.
        alpha: largest probability of any wrong "passed" among the tasks, and of any wrong "regressed".
    """
    found = {task: _tested(task, one, checks[task]) for task, one in scores.items()}
    gated = [task for task, one in found.items() if one.held is not None and one.lost is not None]
    held = compare.holm([found[task].held or 0.0 for task in gated])
    lost = compare.holm([found[task].lost or 0.0 for task in gated])
    for task, above, below in zip(gated, held, lost, strict=True):
        outcome = Outcome.PASSED if above <= alpha else Outcome.REGRESSED if below <= alpha else Outcome.INCONCLUSIVE
        found[task] = replace(found[task], held=above, lost=below, outcome=outcome)
    return list(found.values())


def _tested(task: str, scores: Scores | Incomparable, check: Check | None) -> Tested:
    """Return one task with p-values that are not corrected yet, and no verdict on them."""
    if isinstance(scores, Incomparable):
        outcome = Outcome.NOT_GATED if check is None else Outcome.INCOMPARABLE
        return Tested(task=task, check=check, gap=scores, outcome=outcome)
    gap, flips = _gap(scores), _flips(scores)
    if check is None:
        return Tested(task=task, check=None, gap=gap, flips=flips, outcome=Outcome.NOT_GATED)
    margin = check.margin(gap.reference)
    held = gap.p_value(shift=margin, alternative="greater")
    lost = gap.p_value(shift=margin, alternative="less")
    if check.unit is Unit.RELATIVE:
        scaled = _gap(scores, reference=min(1.0, 1 + check.amount), treated=min(1.0, 1 / (1 + check.amount)))
        held = max(held, scaled.p_value(alternative="greater"))
        lost = max(lost, scaled.p_value(alternative="less"))
    return Tested(
        task=task,
        check=check,
        gap=gap,
        margin=margin,
        held=held,
        lost=lost,
        flips=flips,
        outcome=Outcome.INCONCLUSIVE,
    )


def _gap(scores: Scores, *, reference: float = 1.0, treated: float = 1.0) -> Gap:
    """Return the gap of scores that are scaled by these factors."""
    return compare.gap(
        reference * scores.reference,
        treated * scores.treated,
        np.asarray(scores.clusters),
        weights=scores.weights,
        seed=0,
    )


def _flips(scores: Scores) -> Flips:
    """Return the items whose mean over the seeds changed; sums of several seeds differ in their last bits."""
    change = scores.treated.mean(axis=0) - scores.reference.mean(axis=0)
    ranked = sorted(zip(change.tolist(), scores.items, strict=True), key=lambda one: (-abs(one[0]), one[1]))
    return Flips(
        lost=tuple(item for value, item in ranked if value < -ROUNDING),
        gained=tuple(item for value, item in ranked if value > ROUNDING),
    )
