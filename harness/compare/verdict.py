"""What may be said of a gap: verdicts over the tasks of a study.

Owns the words (`Verdict`, `Why`), the correction over tasks and the equivalence test. Does not estimate gaps (`gap`).
Invariant: identical arms are never called, and exchanging the arms exchanges improved and regressed and nothing else.

Per task, at level alpha = 1 - confidence:

- improved, regressed: the two-sided p-value that the gap is 0, corrected over the tasks by Holm (1979), is under alpha.
- equivalent: otherwise, where both one-sided tests against the margin reject (Schuirmann 1987): the gap is above
  -margin and below +margin. The larger of the two p-values, each against alpha, is corrected over the tasks by Holm, in
  a family of its own. So the chance of any false "improved" or "regressed" among the tasks is at most alpha, and so is
  that of any false "equivalent".
- inconclusive: otherwise; `why` says what stood in the way. incomparable: the arms do not pair.

A primary task that was named beforehand is tested first, alone, at alpha. The others follow as a family, and only once
the primary one is settled by the same test (fixed sequence): their corrected p-values are at least the primary one's.

The study: the primary task's verdict where there is one. Otherwise improved or regressed where at least one task is
called and all called tasks point the same way; equivalent where all tasks are; incomparable where no task pairs; else
inconclusive.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.compare.gap import Claim, Gap
from harness.compare.pairing import Incomparable
from harness.compare.power import items_needed, seeds_needed, smallest_called
from harness.errors import InputError, nearest


class Verdict(enum.StrEnum):
    """What may be said of a task, or of a study."""

    IMPROVED = "improved"
    REGRESSED = "regressed"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    INCOMPARABLE = "incomparable"


class Why(enum.StrEnum):
    """What a verdict on one task rests on.

    CALLED: the interval excludes zero, also after correction; CALLED_WITHIN_MARGIN: and the gap is shown to be smaller
        than the margin. WITHIN_MARGIN: it is, and zero is not excluded.
    TOO_UNCERTAIN: neither zero nor a gap as large as the margin is excluded. NOT_AFTER_CORRECTION: one of them is, but
        not after correction. PRIMARY_FIRST: also after it, but the primary task is not settled by the same test.
    """

    CALLED = "called"
    CALLED_WITHIN_MARGIN = "called_within_margin"
    WITHIN_MARGIN = "within_margin"
    TOO_UNCERTAIN = "too_uncertain"
    NOT_AFTER_CORRECTION = "not_after_correction"
    PRIMARY_FIRST = "primary_first"
    NOT_PAIRED = "not_paired"


class Overall(enum.StrEnum):
    """What the verdict on a study rests on.

    PRIMARY: the primary task's. AGREE: all called tasks point the same way. DISAGREE: they do not.
    ALL_EQUIVALENT: all tasks are. NOT_ALL_EQUIVALENT: nothing is called and some task is inconclusive.
    SOME_NOT_PAIRED: nothing is called and some task does not pair. NONE_PAIRED: none does.
    """

    PRIMARY = "primary"
    AGREE = "agree"
    ALL_EQUIVALENT = "all_equivalent"
    DISAGREE = "disagree"
    NOT_ALL_EQUIVALENT = "not_all_equivalent"
    SOME_NOT_PAIRED = "some_not_paired"
    NONE_PAIRED = "none_paired"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The verdict on one task and what it rests on; scores and effects are fractions, not points.

    Attributes:
        verdict: improved and regressed only where `adjusted` is below 1 - confidence; equivalent where both
            one-sided tests against the margin reject at that level (`equivalence_adjusted`).
        p_value: two-sided, that the gap is 0; None where the arms do not pair.
        adjusted: `p_value` after Holm's correction over the tasks of the study.
        margin: largest gap that counts as none.
        smallest: smallest true gap that this study would have called with 80 % power; None where unknown.
        seeds_needed: training seeds per arm with which a gap as large as the margin would be called with 80 % power;
            None where no number of seeds does it. After one run training luck is assumed (`power.SEED_SD`).
        items_needed: items with which it would, at the seeds there are; None where no number does.
        why: what the verdict rests on. scope: what it may be said of; None where the arms do not pair.
        equivalence: larger p-value of the two one-sided tests; equivalence_adjusted: after Holm's correction.
        seeds_assumed: True where `seeds_needed` rests on an assumed, not an observed training luck.
    """

    verdict: Verdict
    p_value: float | None
    adjusted: float | None
    margin: float
    smallest: float | None = None
    seeds_needed: int | None = None
    items_needed: int | None = None
    why: Why = Why.TOO_UNCERTAIN
    scope: Claim | None = None
    equivalence: float | None = None
    equivalence_adjusted: float | None = None
    seeds_assumed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgements:
    """The verdicts of a study: one per task, and one over all (the primary task's where one was named beforehand).

    why: what the study's verdict rests on. scope: DATA where every gap behind the verdict is about the data.
    """

    tasks: Mapping[str, Judgement]
    study: Verdict
    primary: str | None = None
    why: Overall = Overall.NOT_ALL_EQUIVALENT
    scope: Claim | None = None


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted over the family, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted


def equivalence(gap: Gap, margin: float) -> float:
    """Return the p-value that the gap is as large as the margin, either way: two one-sided tests, the larger one."""
    return max(gap.p_value(shift=-margin, alternative="greater"), gap.p_value(shift=margin, alternative="less"))


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

    Raises:
        InputError: a primary task or a margin for a task that there is not; a margin that is not in [0, 1].
    """
    limits = _limits(gaps, margin, margins or {}, primary)
    known = {task: gap for task, gap in gaps.items() if isinstance(gap, Gap)}
    differ = _corrected({task: gap.p_value() for task, gap in known.items()}, primary)
    alike = _corrected({task: equivalence(gap, limits[task]) for task, gap in known.items()}, primary)
    tasks = {
        task: _judged(gap, limits[task], differ[task], alike[task])
        if isinstance(gap, Gap)
        else Judgement(
            verdict=Verdict.INCOMPARABLE, p_value=None, adjusted=None, margin=limits[task], why=Why.NOT_PAIRED
        )
        for task, gap in gaps.items()
    }
    study, why = (tasks[primary].verdict, Overall.PRIMARY) if primary is not None else _study(tasks.values())
    return Judgements(tasks=tasks, study=study, primary=primary, why=why, scope=_scope(tasks, primary))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Test:
    """A p-value, the same after correction among its family, and the primary one that comes first, all that apply."""

    alone: float
    family: float
    first: float

    @property
    def adjusted(self) -> float:
        return max(self.family, self.first)


def _limits(
    gaps: Mapping[str, object], margin: float, margins: Mapping[str, float], primary: str | None
) -> dict[str, float]:
    """Return the margin of every task; refuse names that are none."""
    for what, names in (("margin", margins), ("primary task", [] if primary is None else [primary])):
        for name in names:
            if name not in gaps:
                raise InputError(f"{what}: there is no task '{name}' in this comparison.{nearest(name, gaps)}")
    limits = {task: margins.get(task, margin) for task in gaps}
    for task, limit in limits.items():
        if not (math.isfinite(limit) and 0 <= limit <= 1):
            raise InputError(
                f"margin of '{task}' is {limit}; give a fraction of the score between 0 and 1, such as 0.01"
            )
    return limits


def _corrected(p_values: Mapping[str, float], primary: str | None) -> dict[str, _Test]:
    """Correct the p-values over the tasks; a primary task that does not pair is never settled."""
    others = [task for task in p_values if task != primary]
    family = dict(zip(others, holm([p_values[task] for task in others]), strict=True))
    first = 0.0 if primary is None else p_values.get(primary, 1.0)
    found = {task: _Test(alone=p_values[task], family=family[task], first=first) for task in others}
    if primary in p_values and primary is not None:
        found[primary] = _Test(alone=first, family=first, first=0.0)
    return found


def _judged(gap: Gap, margin: float, differ: _Test, alike: _Test) -> Judgement:
    """Return the verdict on one task."""
    level = 1 - gap.confidence
    called = differ.adjusted < level and gap.called
    within = alike.adjusted < level
    if called:
        verdict = Verdict.IMPROVED if gap.absolute > 0 else Verdict.REGRESSED
        why = Why.CALLED_WITHIN_MARGIN if within else Why.CALLED
    elif within:
        verdict, why = Verdict.EQUIVALENT, Why.WITHIN_MARGIN
    else:
        verdict, why = Verdict.INCONCLUSIVE, _undecided(differ, alike, level)
    return Judgement(
        verdict=verdict,
        p_value=differ.alone,
        adjusted=differ.adjusted,
        margin=margin,
        smallest=smallest_called(gap),
        seeds_needed=seeds_needed(gap, margin),
        items_needed=items_needed(gap, margin),
        why=why,
        scope=gap.scope,
        equivalence=alike.alone,
        equivalence_adjusted=alike.adjusted,
        seeds_assumed=gap.scope is Claim.CHECKPOINTS,
    )


def _undecided(differ: _Test, alike: _Test, level: float) -> Why:
    """Say what kept a task from being settled."""
    if min(differ.alone, alike.alone) >= level:
        return Why.TOO_UNCERTAIN
    return Why.PRIMARY_FIRST if min(differ.family, alike.family) < level else Why.NOT_AFTER_CORRECTION


def _study(tasks: Iterable[Judgement]) -> tuple[Verdict, Overall]:
    """Return the verdict over all tasks, none of them named beforehand."""
    found = {one.verdict for one in tasks}
    called = found & {Verdict.IMPROVED, Verdict.REGRESSED}
    if len(called) == 1:
        return called.pop(), Overall.AGREE
    if called:
        return Verdict.INCONCLUSIVE, Overall.DISAGREE
    if found == {Verdict.EQUIVALENT}:
        return Verdict.EQUIVALENT, Overall.ALL_EQUIVALENT
    if found <= {Verdict.INCOMPARABLE}:
        return Verdict.INCOMPARABLE, Overall.NONE_PAIRED
    if Verdict.INCOMPARABLE in found:
        return Verdict.INCONCLUSIVE, Overall.SOME_NOT_PAIRED
    return Verdict.INCONCLUSIVE, Overall.NOT_ALL_EQUIVALENT


def _scope(tasks: Mapping[str, Judgement], primary: str | None) -> Claim | None:
    """Return what the study's verdict may be said of: the data only where every gap behind it may."""
    scopes = {one.scope for name, one in tasks.items() if primary in (None, name) and one.scope is not None}
    return None if not scopes else Claim.CHECKPOINTS if Claim.CHECKPOINTS in scopes else Claim.DATA
