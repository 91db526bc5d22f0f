"""Sums of several tasks' scores, with intervals over training runs and items: what one arm is worth.

Owns the arithmetic of a weighted sum of task means. Knows neither safety nor capability (see `tradeoff`) and does no
statistics of its own (see `harness.compare`). Invariant: of one task alone, the sum and its interval are its own.

The mean of sum_t k_t x_t over tasks t of n_t items is the mean over all N items of z = (N / n_t) k_t w (x - mean x_t),
plus sum_t k_t mean x_t; so the crossed intervals of `compare` hold for it, and what one training run does to several
tasks at once is in them. Tasks are no draws from more tasks, hence the centring. A task in which all items have one
score shows no spread at all; its exact interval is added in squares, as for independent means (Zou & Donner 2008).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness import compare

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One task's part of a sum, for one arm.

    Attributes:
        scores: [seeds, items] in [0, 1].
        clusters: label of every item.
        weights: what every item counts in the task's mean [items], 1 on average.
        factor: what the task's mean is multiplied by.
        shift: what is added to it after that.
    """

    scores: Floats
    clusters: Sequence[str]
    weights: Floats
    factor: float
    shift: float = 0.0

    @property
    def constant(self) -> bool:
        """Whether all items have one score under every seed."""
        return float(np.ptp(self.scores)) == 0

    @property
    def mean(self) -> float:
        """The task's own mean."""
        return float((self.scores * self.weights).mean())

    def scaled(self, factor: float) -> Term:
        """Return the term times a factor."""
        return Term(
            scores=self.scores,
            clusters=self.clusters,
            weights=self.weights,
            factor=self.factor * factor,
            shift=self.shift * factor,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sum:
    """A weighted sum of means, or a difference of two, and its interval."""

    value: float
    low: float
    high: float


def total(terms: Sequence[Term], *, confidence: float) -> Sum:
    """Return the sum of an arm's terms.

    Args:
        terms: at least one with a factor other than 0.
    """
    used = [term for term in terms if term.factor]
    value = math.fsum(term.factor * term.mean + term.shift for term in terms)
    below, above = [], []
    for term in used:
        if term.constant or len(used) == 1:
            own = compare.interval(term.scores, term.clusters, weights=term.weights, confidence=confidence)
            below.append(term.factor * (own.mean - own.low))
            above.append(term.factor * (own.high - own.mean))
    varying = [term for term in used if not term.constant] if len(used) > 1 else []
    if varying:
        stacked, clusters = _stacked(varying)
        (scaled,), size = _scaled([stacked])
        found = compare.interval(scaled, clusters, confidence=confidence)
        below.append(size * (found.mean - found.low))
        above.append(size * (found.high - found.mean))
    # What all scores 0, and all scores 1, would make.
    least = math.fsum(term.shift for term in terms)
    most = least + math.fsum(term.factor for term in terms)
    low, high = value - math.hypot(*below), value + math.hypot(*above)
    return Sum(value=value, low=max(low, least), high=min(high, most))


def difference(reference: Sequence[Term], treated: Sequence[Term], *, confidence: float) -> Sum:
    """Return treated minus reference, item by item; terms of the same tasks, items and factors in the same order."""
    pairs = [(left, right) for left, right in zip(reference, treated, strict=True) if left.factor]
    value = math.fsum(left.factor * (right.mean - left.mean) for left, right in pairs)
    below, above = [], []
    for left, right in pairs:
        if len(pairs) == 1 or (left.constant and right.constant):
            own = compare.gap(left.scores, right.scores, left.clusters, weights=left.weights, confidence=confidence)
            below.append(left.factor * (own.absolute - own.low))
            above.append(left.factor * (own.high - own.absolute))
    varying = [pair for pair in pairs if not (pair[0].constant and pair[1].constant)] if len(pairs) > 1 else []
    if varying:
        (one, clusters), (other, _) = (_stacked([pair[side] for pair in varying]) for side in (0, 1))
        (left_scaled, right_scaled), size = _scaled([one, other])
        found = compare.gap(left_scaled, right_scaled, clusters, confidence=confidence)
        below.append(size * (found.absolute - found.low))
        above.append(size * (found.high - found.absolute))
    return Sum(value=value, low=value - math.hypot(*below), high=value + math.hypot(*above))


def _stacked(terms: Sequence[Term]) -> tuple[Floats, list[str]]:
    """Return centred scores of all terms side by side [seeds, all items], and their clusters."""
    count = sum(term.scores.shape[1] for term in terms)
    parts = [
        count / term.scores.shape[1] * term.factor * (term.scores * term.weights - term.mean * term.weights)
        for term in terms
    ]
    clusters = [f"{place}/{label}" for place, term in enumerate(terms) for label in term.clusters]
    return np.concatenate(parts, axis=1), clusters


def _scaled(arrays: Sequence[Floats]) -> tuple[list[Floats], float]:
    """Return arrays moved and scaled into [0, 1] together, and by how much a difference there has to be multiplied."""
    low = min(float(array.min()) for array in arrays)
    size = max(float(array.max()) for array in arrays) - low
    return [np.clip((array - low) / size, 0, 1) for array in arrays], size
