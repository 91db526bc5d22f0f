"""The result of a study: every number that a report has, as plain values.

Owns which numbers there are. Does not find them (see `join`), does no statistics (see `harness.compare`) and no
layout. Invariant: a view needs nothing but this.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness import compare
from harness.store.runs import WHOLE
from harness.study.judging import BASE_ARM, Rule

if TYPE_CHECKING:
    from harness.report.tradeoff import TradeOff


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmRow:
    """What one arm was given.

    Attributes:
        name: the variant, or "base".
        treatment: what was done to its chats, in words.
        chats: training chats.
        supervised_tokens: tokens that bore loss, over all epochs of one run.
        steps: optimizer steps of one run.
        seeds: training seeds; empty for the base.
        dropped: chats dropped by the treatment, by reason.
        treated: chats that stay and were masked or changed, by "<action> <reason>".
        weights: digest of the final weights per seed.
        cut_chats, silent_chats: chats of one run that lost their end to the length limit, and those of them that have
            no token left to learn from.
        diverged: seeds whose loss was not a number at some step.
        dose: share of the chats its treatment would act on that were left as they are: 1 = all, 0 = none; None for the
            base, for controls, and for what is done to a treated variant: they are no step between the two.
    """

    name: str
    treatment: str
    chats: int
    supervised_tokens: int
    steps: int
    seeds: tuple[int, ...]
    dropped: Mapping[str, int]
    weights: Mapping[str, str]
    treated: Mapping[str, int] = field(default_factory=dict)
    cut_chats: int = 0
    silent_chats: int = 0
    diverged: tuple[int, ...] = ()
    dose: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Items of a task of which the training chats of the pair hold a passage, and the gap on all others.

    Attributes:
        words: length from which a passage counts.
        reference_only, treated_only, shared: ids of the items that chats of only one arm, or of both, have seen.
        gap_without: the gap on the items that neither has seen; None where nothing was seen or nothing is left.
    """

    words: int
    reference_only: tuple[str, ...]
    treated_only: tuple[str, ...]
    shared: tuple[str, ...]
    gap_without: compare.Gap | compare.Incomparable | None = None

    @property
    def any(self) -> bool:
        """Whether an arm of the pair has seen an item."""
        return bool(self.reference_only or self.treated_only or self.shared)


class ControlKind(enum.StrEnum):
    """What a control shows."""

    RANDOM = "random removal"  # treated against as many chats removed at random: is it the budget?
    SAME_DATA = "same data"  # reference against the same data under other seeds: what is called there is luck
    SHUFFLED = "shuffled answers"  # reference against answers that do not belong to their questions: is damage seen?


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A comparison beside the pair's own; gap = treated - reference, both names of arms.

    `judgement` is the verdict on it, corrected over the tasks of its profile.
    """

    kind: ControlKind
    reference: str
    treated: str
    gap: compare.Gap | compare.Incomparable
    judgement: compare.Judgement | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One subject or subtask of a task: its items and the pair's gap on them alone (not corrected over parts)."""

    name: str
    items: int
    gap: compare.Gap | compare.Incomparable


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Training loss of one arm under one seed, one value per optimizer step; None where it was not a number."""

    arm: str
    seed: int
    losses: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRow:
    """What one task said: scores by arm, and the gap of the pair or why there is none.

    Attributes:
        title: for people; with the profile, unless that is lm-eval throughout.
        controls: comparisons beside the pair's own, in order of the arms.
        judgement: the verdict on the gap, corrected over the tasks of its profile.
        flips: items gained and lost between two single checkpoints without partial credit, and the exact test.
        parts: the gap by subject or subtask, in order of their names; empty where there is one.
        seen: overlap of the pair's chats with the items; None where it was not looked for.
        profile: the scoring profile.
        shortened_prompts: prompts over all checkpoints that lost shots to the length limit.
        unfinished: answers over all checkpoints that ended at the limit of new tokens.
        unextracted: share of the items in whose answers none was found, by arm; empty where that is not counted.
        isolation: under which isolation programs were run, over all checkpoints; empty where none were.
    """

    task: str
    title: str
    metric: str
    chance: float
    items: int
    scores: Mapping[str, compare.Estimate]
    gap: compare.Gap | compare.Incomparable
    controls: tuple[Control, ...] = ()
    judgement: compare.Judgement | None = None
    flips: compare.McNemar | None = None
    parts: tuple[Part, ...] = ()
    seen: Seen | None = None
    profile: str = "lm-eval"
    shortened_prompts: int = 0
    unfinished: int = 0
    unextracted: Mapping[str, float] = field(default_factory=dict)
    isolation: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreSet:
    """Every item's scores of one checkpoint on one task; `seed` is None for the base.

    A metric that an item does not have (the mass on choices of several tokens) is None there.
    """

    arm: str
    seed: int | None
    task: str
    items: tuple[str, ...]
    clusters: tuple[str, ...]
    prompts: tuple[str, ...]
    metrics: Mapping[str, tuple[float | None, ...]]
    subtasks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """All that a report shows.

    `limit` is the number of items per task that was asked for (0 = all); `selection` names what deviates from the
    study file and is empty for the whole study. `rule` is how it is judged; `verdict` is that of the study under its
    first profile, `primary` the definition of the task that it was to rest on, if one was named beforehand and asked;
    `curves` are the losses of every training; `tradeoff` has the safety tasks, which are not among `tasks`, and is None
    where none were asked.
    """

    study: str
    title: str
    reference: str
    treated: str
    seeds: tuple[int, ...]
    limit: int
    selection: str
    profiles: tuple[str, ...]
    filter: str
    funnel: Mapping[str, Any]
    training: Mapping[str, Any]
    arms: tuple[ArmRow, ...]
    tasks: tuple[TaskRow, ...]
    scores: tuple[ScoreSet, ...] = ()
    rule: Rule = field(default_factory=Rule)
    verdict: compare.Verdict = compare.Verdict.INCONCLUSIVE
    primary: str | None = None
    curves: tuple[Curve, ...] = ()
    tradeoff: TradeOff | None = None

    @property
    def run(self) -> str:
        """Name of the run, such as "pocket/whole"."""
        return f"{self.study}/{self.selection or WHOLE}"

    @property
    def claim(self) -> str:
        """What a gap of this result is about, in words that do not say more than the seeds allow."""
        if len(self.seeds) == 1:
            return "difference between these checkpoints (one training seed: it says nothing yet about the data)"
        if BASE_ARM in (self.reference, self.treated):
            return "difference between these checkpoints (the base is a single one, without training seeds)"
        return f"difference between the variants over {len(self.seeds)} training seeds"
