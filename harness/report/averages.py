"""From scores of items to averages, gaps and parts of one task.

Owns how items count (alike, or subtasks alike), and what a definition of a task says of itself. Does no statistics (see
`harness.compare`) and reads no records (see `join`). Invariant: arms are paired before they are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness import compare
from harness.errors import InputError
from harness.report.result import Part

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskHead:
    """What a report says of a definition of a task beside its scores.

    Attributes:
        title: for people.
        profile: the scoring profile.
        primary: the metric that is compared; more of it is better.
        chance: score of guessing, 0 to 1.
        average: over subtasks: "micro" (by their size) or "macro" (all alike).
        aspect: "capability", or "safety": without a verdict, read in the trade-off.
    """

    title: str
    profile: str
    primary: str
    chance: float
    average: str
    aspect: str = "capability"

    @classmethod
    def of(cls, info: Any) -> TaskHead:
        """Return the head of a `catalog.TaskInfo`."""
        own = {name: getattr(info, name) for name in cls.__slots__}
        return cls(**own | {"aspect": str(own["aspect"])})


def arm_of(name: str, head: TaskHead, facts: Sequence[Mapping[str, Any]]) -> compare.Arm:
    """Return the primary metric of one arm from the facts of its seeds, item by item.

    Its seeds need not have been asked alike: an item that one of them lacks has no score there, and prompts that differ
    from seed to seed stand side by side in the item's hash. So neither pairs with an arm that was asked otherwise.

    Raises:
        InputError: an item occurs twice; no item has the metric, such as one of a whole corpus, or it is no share.
    """
    runs = [
        compare.Arm(name=name, items=one["item"], prompts=one["prompt"], scores=_metric(head.primary, one))
        for one in facts
    ]
    asked: dict[str, dict[str, None]] = {}
    for run in runs:
        for item, prompt in zip(run.items, run.prompts, strict=True):
            asked.setdefault(item, {})[prompt] = None
    scores = np.full((len(runs), len(asked)), np.nan)
    place = {item: number for number, item in enumerate(asked)}
    for own, run in zip(scores, runs, strict=True):
        own[[place[item] for item in run.items]] = run.scores[0]
    _check_scores(scores, head)
    prompts = [next(iter(own)) if len(own) == 1 else f"by seed: {' '.join(own)}" for own in asked.values()]
    return compare.Arm(name=name, items=list(asked), prompts=prompts, scores=scores)


def _metric(name: str, facts: Mapping[str, Any]) -> Floats:
    """Return a metric of one checkpoint [1, items], NaN where an item has none."""
    return np.array([facts["scores"].get(name) or [None] * len(facts["item"])], dtype=float)


def _check_scores(scores: Floats, head: TaskHead) -> None:
    """Refuse scores that cannot be compared item by item."""
    if np.isnan(scores).all():
        raise InputError(
            f"Task '{head.title}' has no '{head.primary}' of single items, so arms cannot be compared item by item."
            " Leave it out with --tasks; `harness eval` gives a checkpoint's value for the whole task."
        )
    outside = scores[(scores < 0) | (scores > 1)]
    if outside.size:
        raise InputError(
            f"Task '{head.title}' gives an item a '{head.primary}' of {outside[0]:g}, and what is compared is shares"
            " between 0 and 1. Leave it out with --tasks; `harness eval` gives a checkpoint's value for the whole task."
        )


@dataclass(frozen=True, slots=True)
class Average:
    """How scores of items become one number: "micro" counts items alike, "macro" subtasks (InstructEval's BBH)."""

    average: str
    clusters: Mapping[str, str]
    subtasks: Mapping[str, str]
    confidence: float

    def interval(self, arm: compare.Arm) -> compare.Estimate:
        """Return the average of an arm over the items that have a score under every seed.

        Raises:
            InputError: there is no such item.
        """
        kept = {item for item, own in zip(arm.items, arm.scores.T, strict=True) if not np.isnan(own).any()}
        if not kept:
            raise InputError(
                f"Arm '{arm.name}' has no item with a score under every seed, so no average; the first without one is"
                f" '{arm.items[0]}'. Leave the task out with --tasks, or score its items again with `harness rescore`."
            )
        has = arm.only(kept)
        return compare.interval(
            has.scores, self._clusters(has.items), weights=self._weights(has.items), confidence=self.confidence
        )

    def gap(self, reference: compare.Arm, treated: compare.Arm) -> compare.Gap | compare.Incomparable:
        """Return the difference of two arms' averages."""
        paired = compare.pair(reference, treated)
        if isinstance(paired, compare.Incomparable):
            return paired
        return compare.gap(
            paired.reference,
            paired.treated,
            self._clusters(paired.items),
            weights=self._weights(paired.items),
            confidence=self.confidence,
        )

    def flips(self, reference: compare.Arm, treated: compare.Arm) -> compare.McNemar | None:
        """Return the items gained and lost between two single checkpoints; None for several runs or partial credit."""
        paired = compare.pair(reference, treated)
        if isinstance(paired, compare.Incomparable) or len(paired.reference) > 1 or len(paired.treated) > 1:
            return None
        one, two = paired.reference[0], paired.treated[0]
        if bool(((one != 0) & (one != 1) | (two != 0) & (two != 1)).any()):
            return None
        return compare.mcnemar(one, two)

    def parts(self, reference: compare.Arm, treated: compare.Arm) -> tuple[Part, ...]:
        """Return the gap of every subtask, in order of their names; nothing where there is one subtask.

        Within a subtask items count alike. Where all of it is one cluster, its items stand alone: the part is about
        this subtask, not about others like it.
        """
        members: dict[str, set[str]] = {}
        for item in reference.items:
            members.setdefault(self.subtasks[item], set()).add(item)
        if len(members) < 2:
            return ()
        return tuple(
            Part(name=name, items=len(items), gap=self._part(items, reference, treated))
            for name, items in sorted(members.items())
        )

    def _part(
        self, items: set[str], reference: compare.Arm, treated: compare.Arm
    ) -> compare.Gap | compare.Incomparable:
        asked = not items.isdisjoint(treated.items)
        paired = compare.pair(reference.only(items), treated.only(items)) if asked else compare.pair(reference, treated)
        if isinstance(paired, compare.Incomparable):
            return paired
        clusters = self._clusters(paired.items)
        return compare.gap(
            paired.reference,
            paired.treated,
            clusters if len(set(clusters)) > 1 else None,
            confidence=self.confidence,
        )

    def _clusters(self, items: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.array([self.clusters[item] for item in items])

    def _weights(self, items: Sequence[str]) -> Floats:
        return counts([self.subtasks[item] for item in items], self.average)


def counts(subtasks: Sequence[str], average: str) -> Floats:
    """Return what every item counts, mean 1 [items]: items alike ("micro"), or subtasks alike ("macro")."""
    if average == "micro":
        return np.ones(len(subtasks))
    names, place, sizes = np.unique(subtasks, return_inverse=True, return_counts=True)
    found: Floats = len(subtasks) / (len(names) * sizes[place])
    return found
