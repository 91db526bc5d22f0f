"""What may be said of a gap: verdicts over the tasks of a study.

Owns the words (`Verdict`), the correction over tasks and the equivalence test. Does not estimate gaps (see `gap`).
Invariant: identical arms are never called, and exchanging the arms exchanges improved and regressed and nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.compare.gap import Gap
from harness.compare.pairing import Incomparable


class Verdict(enum.StrEnum):
    """What may be said of a task, or of a study."""

    IMPROVED = "improved"
    REGRESSED = "regressed"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    INCOMPARABLE = "incomparable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The verdict on one task and what it rests on; scores and effects are fractions, not points.

    Attributes:
        verdict: improved and regressed only where `adjusted` is at most 1 - confidence; equivalent where both
            one-sided tests against the margin reject at that level.
        p_value: two-sided, that the gap is 0; None where the arms do not pair.
        adjusted: `p_value` after Holm's correction over the tasks of the study.
        margin: largest gap that counts as none.
        smallest: smallest true gap that this study would have called with 80 % power; None where unknown.
        seeds_needed: training seeds per arm with which a gap as large as the margin would be called with 80 % power;
            None where no number of seeds does it.
        items_needed: items with which it would, at the seeds there are; None where no number does.
    """

    verdict: Verdict
    p_value: float | None
    adjusted: float | None
    margin: float
    smallest: float | None = None
    seeds_needed: int | None = None
    items_needed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgements:
    """The verdicts of a study: one per task, and one over all (the primary task's where one was named beforehand)."""

    tasks: Mapping[str, Judgement]
    study: Verdict
    primary: str | None = None


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted over the family, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted


def judge(
    gaps: Mapping[str, Gap | Incomparable],
    *,
    margin: float = 0.01,
    margins: Mapping[str, float] | None = None,
    primary: str | None = None,
) -> Judgements:
    """Return the verdicts over the tasks of a study.

    Args:
        gaps: the gap of every task, or why there is none.
        margin: largest gap that counts as none, as a fraction of the score.
        margins: other margins, by task.
        primary: the task that was named beforehand; it is tested alone, the others after it.
    """
    known = {task: gap for task, gap in gaps.items() if isinstance(gap, Gap)}
    p_values = {task: gap.p_value() for task, gap in known.items()}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    found = {}
    for task, gap in gaps.items():
        own = (margins or {}).get(task, margin)
        if isinstance(gap, Incomparable):
            found[task] = Judgement(verdict=Verdict.INCOMPARABLE, p_value=None, adjusted=None, margin=own)
            continue
        level, verdict = 1 - gap.confidence, Verdict.INCONCLUSIVE
        if adjusted[task] <= level and gap.absolute:
            verdict = Verdict.IMPROVED if gap.absolute > 0 else Verdict.REGRESSED
        found[task] = Judgement(verdict=verdict, p_value=p_values[task], adjusted=adjusted[task], margin=own)
    verdicts = {one.verdict for one in found.values()}
    overall = found[primary].verdict if primary else verdicts.pop() if len(verdicts) == 1 else Verdict.INCONCLUSIVE
    return Judgements(tasks=found, study=overall, primary=primary)
