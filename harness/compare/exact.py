"""One pair of checkpoints: which items flipped, and whether that is more than chance.

Owns McNemar's exact test and the paired bootstrap of one pair. About these checkpoints only, never about data: for
that see `gap` with several seeds. Invariant: exchanging the arms exchanges gained and lost and changes no p-value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.compare.bootstrap import Resampled, crossed
from harness.compare.variance import Clusters, Scores
from harness.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class McNemar:
    """Items that only the treated arm solved (gained), only the reference (lost), and the two-sided p-value."""

    gained: int
    lost: int
    p_value: float


def mcnemar(reference: Scores, treated: Scores) -> McNemar:
    """Test whether as many items were gained as lost (McNemar 1947, exact binomial form).

    15 against 20 of 164 solved, all changes one way: 5 gained, none lost, p = 0.0625.

    Args:
        reference: 0 or 1, [items], of one checkpoint.
        treated: 0 or 1, [items], of the other, the same items in the same order.

    Raises:
        InputError: shapes that differ, or scores that are neither 0 nor 1 (partial credit has no such test).
    """
    one, two = _items(reference, "reference"), _items(treated, "treated")
    if one.shape != two.shape:
        raise InputError(f"reference has {len(one)} items, treated {len(two)}; pair the arms first")
    for name, scores in (("reference", one), ("treated", two)):
        other = (scores != 0) & (scores != 1)
        if bool(other.any()):
            item = int(np.argmax(other))
            raise InputError(
                f"{name}: score {scores[item]} of item {item} is neither 0 nor 1; use gap for partial credit"
            )
    gained, lost = int((two > one).sum()), int((two < one).sum())
    return McNemar(gained=gained, lost=lost, p_value=flipped(gained, lost))


def flipped(gained: int, lost: int) -> float:
    """Return the two-sided p-value of so many items gained and lost, were both equally likely."""
    from scipy.special import bdtr  # slow to import

    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def paired_bootstrap(
    reference: Scores,
    treated: Scores,
    clusters: Clusters | None = None,
    *,
    seed: int,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Resampled:
    """Resample the items, or whole clusters of them, of one pair of checkpoints; scores [items] in [0, 1]."""
    one, two = _items(reference, "reference")[None, :], _items(treated, "treated")[None, :]
    return crossed(one, two, clusters, seed=seed, resamples=resamples, confidence=confidence)


def _items(scores: Scores, name: str) -> Scores:
    """Return the scores of one run, [items]."""
    array: Scores = np.asarray(scores, dtype=np.float64)
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name}: shape {array.shape}; give the scores of one run, [items]")
    return array
