"""The crossed bootstrap: runs and items are drawn anew, with replacement, in both arms.

Owns resampling. Does not decide anything: verdicts rest on the closed form (`variance`), which keeps its level with two
runs, where a bootstrap over runs cannot; this checks it, and gives the relative gap an interval that assumes no shape.
Invariant: the same arrays and seed give the same bits; the arms share their items in every resample, never their runs.

Resampling n clusters is the same as drawing how often each is taken, a multinomial count, and means over resamples are
then products of matrices: counts x scores. For 0/1 scores without clusters there is a shorter way to the same
distribution: once the runs are drawn, an item has one of (S_r + 1)(S_t + 1) pairs of sums, and how often each pair is
taken is a multinomial count over these few.

With few runs the bootstrap is not calibrated: it has (S - 1)/S of the variance between runs, and counts run x item
noise more than once (Owen 2007).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.compare.variance import Clusters, Groups, Scores, grouped, totals
from harness.errors import InputError
from harness.randomness import rng

CELLS = 3_000_000
"""Counts held at once: at most about 100 MB with what is computed from them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resampled:
    """Percentile intervals over resamples, fractions; no relative one where a reference mean was drawn as 0."""

    low: float
    high: float
    relative_low: float | None
    relative_high: float | None
    standard_error: float
    resamples: int


def crossed(
    reference: Scores,
    treated: Scores,
    clusters: Clusters | None = None,
    *,
    seed: int,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Resampled:
    """Resample runs x items of both arms, float [seeds, items] each; with one run in each, the plain paired bootstrap.

    Raises:
        InputError: arrays that are not [seeds, items] over the same items, scores outside [0, 1], fewer than 2
            resamples, an impossible confidence.
    """
    if resamples < 2 or not 0 < confidence < 1:
        raise InputError(
            f"{resamples} resamples at confidence {confidence}; give 2 or more, and a fraction such as 0.95"
        )
    arms = _checked(reference, "reference"), _checked(treated, "treated")
    if arms[0].shape[1] != arms[1].shape[1]:
        raise InputError(f"reference has {arms[0].shape[1]} items, treated {arms[1].shape[1]}; pair the arms first")
    groups, g = grouped(clusters, arms[0].shape[1]), rng(seed, "crossed bootstrap")
    table = _Patterns.of(arms) if groups.codes is None else None
    parts = _by_counts(arms, groups, g, resamples) if table is None else table.means(g, resamples)
    means = np.concatenate(list(parts), axis=0)
    gaps = means[:, 1] - means[:, 0]
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    low, high = (float(value) for value in np.percentile(gaps, tails))
    ratio: tuple[float | None, float | None] = (None, None)
    if float(means[:, 0].min()) > 0:
        ends = np.percentile(gaps / means[:, 0], tails)
        ratio = float(ends[0]), float(ends[1])
    return Resampled(
        low=low,
        high=high,
        relative_low=ratio[0],
        relative_high=ratio[1],
        standard_error=float(gaps.std(ddof=1)),
        resamples=resamples,
    )


def _checked(scores: Scores, name: str) -> Scores:
    array = np.ascontiguousarray(scores, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape or not bool(((array >= 0) & (array <= 1)).all()):
        raise InputError(f"{name}: shape {array.shape}; give [seeds, items], every score in [0, 1]")
    return array


def _drawn(g: np.random.Generator, runs: int, rows: int) -> NDArray[np.int64]:
    """Return how often each run is taken, [rows, runs]."""
    return g.multinomial(runs, np.full(runs, 1 / runs), size=rows)


def _by_counts(arms: tuple[Scores, Scores], groups: Groups, g: np.random.Generator, resamples: int) -> Iterator[Scores]:
    """Yield the means of both arms, [resamples, 2], by counts of clusters times their sums."""
    sums = np.concatenate([totals(arm, groups) for arm in arms] + [groups.sizes[None, :]]).T
    count, split = len(sums), arms[0].shape[0]
    rows = max(1, CELLS // count)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        places = g.integers(0, count, size=(size, count))
        places += count * np.arange(size)[:, None]
        taken = np.bincount(places.ravel(), minlength=size * count).reshape(size, count)
        found = taken.astype(np.float64) @ sums
        runs = found[:, :-1] / found[:, -1:]
        pair = [
            (part * _drawn(g, part.shape[1], size)).sum(axis=1) / part.shape[1]
            for part in (runs[:, :split], runs[:, split:])
        ]
        yield np.stack(pair, axis=1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Patterns:
    """0/1 scores: the rows of answers in each arm, [patterns, seeds], and how many items have each pair of them."""

    reference: Scores
    treated: Scores
    items: Scores

    @classmethod
    def of(cls, arms: tuple[Scores, Scores]) -> _Patterns | None:
        """Return the table, or None for partial credit and for arms with too many patterns."""
        if not all(bool(((arm == 0) | (arm == 1)).all()) for arm in arms) or max(len(arm) for arm in arms) > 12:
            return None
        found = []
        for arm in arms:
            codes = (2 ** np.arange(len(arm))) @ arm
            names, places = np.unique(codes.astype(np.int64), return_inverse=True)
            bits = (names[:, None] >> np.arange(len(arm))) & 1
            found.append((bits.astype(np.float64), places))
        shape = len(found[0][0]), len(found[1][0])
        if shape[0] * shape[1] > CELLS // 10:
            return None
        pairs = np.bincount(found[0][1] * shape[1] + found[1][1], minlength=shape[0] * shape[1])
        return cls(reference=found[0][0], treated=found[1][0], items=pairs.reshape(shape).astype(np.float64))

    def means(self, g: np.random.Generator, resamples: int) -> Iterator[Scores]:
        """Yield the means of both arms, [resamples, 2]."""
        seeds = self.reference.shape[1], self.treated.shape[1]
        items = int(self.items.sum())
        widest = max(self.items.shape) * (max(seeds) + 1)
        for rows in _chunks(resamples, max(1, CELLS // widest)):
            drawn = [_drawn(g, count, rows) for count in seeds]
            left, right = (
                _sums(part, taken) for part, taken in zip((self.reference, self.treated), drawn, strict=True)
            )
            # Items by (sum in the reference, sum in the treated arm), [rows, S_r + 1, S_t + 1].
            shares = left.transpose(0, 2, 1) @ (self.items @ right)
            taken = g.multinomial(items, shares.reshape(rows, -1) / items).reshape(shares.shape)
            below = taken.sum(axis=2) @ np.arange(seeds[0] + 1) / (items * seeds[0])
            above = taken.sum(axis=1) @ np.arange(seeds[1] + 1) / (items * seeds[1])
            yield np.stack([below, above], axis=1)


def _sums(patterns: Scores, taken: NDArray[np.int64]) -> Scores:
    """Return which sum each pattern has when runs are taken so often, as 0/1 [rows, patterns, seeds + 1]."""
    sums = taken @ patterns.T
    found: Scores = (sums[:, :, None] == np.arange(patterns.shape[1] + 1)).astype(np.float64)
    return found


def _chunks(whole: int, size: int) -> Iterator[int]:
    """Yield sizes of parts that make up the whole."""
    for start in range(0, whole, size):
        yield min(size, whole - start)
