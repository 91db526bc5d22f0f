"""The join: two arms are compared item by item, on the same prompts, or not at all.

Owns the decision whether two arms may be compared, and the item order they share afterwards. Does not
compute gaps, and never intersects: an item that one arm lacks refuses the pair. Invariant: column i of both
arrays of a `Paired` answers the same prompt.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError

Scores = NDArray[np.float64]


class Reason(enum.StrEnum):
    """Why two arms do not pair."""

    ITEMS_DIFFER = "items_differ"
    PROMPTS_DIFFER = "prompts_differ"
    UNSCORED = "unscored"


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """One arm's scores on one task.

    items: item ids, unique, one per column of `scores`, in any order.
    prompts: hash of the full prompt that each item was asked with, in the order of `items`.
    scores: float [seeds, items], each in [0, 1], or NaN where an item has no score.

    Raises:
        InputError: lengths that do not match, no items, no seeds, or an item id that occurs twice.
    """

    name: str
    items: Sequence[str]
    prompts: Sequence[str]
    scores: Scores

    def __post_init__(self) -> None:
        """Refuse an arm that is not a table."""
        if self.scores.ndim != 2 or self.scores.shape[0] == 0 or not self.items:
            raise InputError(
                f"arm '{self.name}': scores have shape {self.scores.shape}; give [seeds, items] "
                "with at least one of each"
            )
        if not len(self.items) == len(self.prompts) == self.scores.shape[1]:
            raise InputError(
                f"arm '{self.name}': {len(self.items)} item ids, {len(self.prompts)} prompt hashes and "
                f"{self.scores.shape[1]} score columns; give one of each per item"
            )
        if len(set(self.items)) < len(self.items):
            item, times = Counter(self.items).most_common(1)[0]
            raise InputError(f"arm '{self.name}': item '{item}' occurs {times} times; give every item an id of its own")

    def only(self, items: Collection[str]) -> Arm:
        """Return the arm on some of its items, in its own order; both arms of a pair must be cut alike."""
        places = [place for place, item in enumerate(self.items) if item in items]
        return Arm(
            name=self.name,
            items=[self.items[place] for place in places],
            prompts=[self.prompts[place] for place in places],
            scores=self.scores[:, places],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Paired:
    """Two arms over the same items, in the order of the sorted item ids; arrays are [seeds, items]."""

    items: tuple[str, ...]
    reference: Scores
    treated: Scores


@dataclass(frozen=True, kw_only=True)
class Incomparable:
    """A refusal to pair: how many items stand in the way, the first of them by id, and a sentence.

    only_reference and only_treated count item ids that one arm lacks, `differing` the shared items whose
    prompt hashes differ, `unscored` the (seed, item) cells without a score in either arm.
    """

    reason: Reason
    example: str
    message: str
    only_reference: int = 0
    only_treated: int = 0
    differing: int = 0
    unscored: int = 0


def pair(reference: Arm, treated: Arm) -> Paired | Incomparable:
    """Line both arms up item by item, or say why they cannot be compared.

    The arms may have different numbers of seeds. The answer does not depend on the order of the items.
    """
    left, right = set(reference.items), set(treated.items)
    if left != right:
        return _items_differ(reference, treated, sorted(left - right), sorted(right - left))
    asked, asked_treated = (dict(zip(arm.items, arm.prompts, strict=True)) for arm in (reference, treated))
    items = tuple(sorted(left))
    differing = [item for item in items if asked[item] != asked_treated[item]]
    if differing:
        first = differing[0]
        return Incomparable(
            reason=Reason.PROMPTS_DIFFER,
            example=first,
            differing=len(differing),
            message=(
                f"{len(differing)} of {len(items)} items were asked differently in '{reference.name}' "
                f"and '{treated.name}'; first: '{first}' (prompt "
                f"{asked[first][:12]} against {asked_treated[first][:12]}). "
                "Evaluate both arms with the same task version, shots and chat template."
            ),
        )
    ordered, ordered_treated = _in_order(reference, items), _in_order(treated, items)
    return _unscored(reference, treated, items, ordered, ordered_treated) or Paired(
        items=items, reference=ordered, treated=ordered_treated
    )


def _in_order(arm: Arm, items: tuple[str, ...]) -> Scores:
    """Return the arm's scores with columns in the order of `items`, as a copy."""
    column = {item: i for i, item in enumerate(arm.items)}
    ordered: NDArray[Any] = np.asarray(arm.scores, dtype=np.float64)[:, [column[item] for item in items]]
    return np.ascontiguousarray(ordered)


def _items_differ(reference: Arm, treated: Arm, lost: list[str], gained: list[str]) -> Incomparable:
    """Describe item sets that are not equal."""
    example = (lost or gained)[0]
    return Incomparable(
        reason=Reason.ITEMS_DIFFER,
        example=example,
        only_reference=len(lost),
        only_treated=len(gained),
        message=(
            f"{len(lost)} item{'s' * (len(lost) != 1)} only in '{reference.name}', "
            f"{len(gained)} only in '{treated.name}'; "
            f"first: '{example}' (only in '{reference.name if lost else treated.name}'). "
            "Evaluate both arms on the same items; they are not intersected silently."
        ),
    )


def _unscored(
    reference: Arm, treated: Arm, items: tuple[str, ...], scores: Scores, treated_scores: Scores
) -> Incomparable | None:
    """Refuse cells without a score: left out of a mean, they would flatter the arm that fails to answer."""
    missing = np.isnan(scores), np.isnan(treated_scores)
    counts = int(missing[0].sum()), int(missing[1].sum())
    if not any(counts):
        return None
    example = items[int(np.argmax(missing[0].any(axis=0) | missing[1].any(axis=0)))]
    return Incomparable(
        reason=Reason.UNSCORED,
        example=example,
        unscored=sum(counts),
        message=(
            f"{counts[0]} scores of '{reference.name}' and {counts[1]} of '{treated.name}' are missing "
            f"(NaN); first item: '{example}'. Score every item of every seed: a failed extraction scores 0."
        ),
    )
