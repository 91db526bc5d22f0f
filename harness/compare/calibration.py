"""Simulated studies in which the truth is known: how often the method is wrong, and how often it finds what is there.

Owns the generators and the counting. Does not know the method beyond `gap`, and sets no targets (tests, benchmarks do).
Invariant: a cell and a number of studies give the same counts on every machine.

Two generators, so that nothing is tuned to one. Both arms' seed noise is independent; every study has runs x clusters
noise (a run may be lucky in one subject) and, where an effect is planted, items and clusters differ in how much they
gain: a new set of items has another effect than this one.

ADDITIVE: partial credit, y = item + run + run x cluster [+ gain] + e; items and e are uniform: no score is clipped.
BINARY: 0 or 1 with P = sigmoid(item + run + run x cluster [+ gain]); most items are nearly always solved or missed, and
the base rate is low, middle or high.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.compare.gap import Claim, Gap, gap
from harness.compare.variance import Scores
from harness.randomness import rng

ERRORS = 4.0
"""Size of a planted effect in true standard errors."""

_POPULATION = 32_768  # items that stand for all items: evenly spread values, combined at random
_SPREAD, _CLUSTER_SPREAD = 3.5, 1.0  # SD of the items' logits, and of the clusters' part in it
_LEVEL, _LEVEL_SPREAD = 0.42, 0.02  # mean and SD of the items' partial credit
_NOISE = 0.08  # SD of a partial credit from run to run
# SDs of what items and clusters gain beside the planted effect, and of a run's luck in one cluster: scores, logits.
_GAIN, _CLUSTER_GAIN, _RUN_CLUSTER = {True: 0.06, False: 0.7}, {True: 0.01, False: 0.15}, {True: 0.01, False: 0.1}


class Generator(enum.StrEnum):
    """How scores come about."""

    ADDITIVE = "additive"
    LOW = "binary, low"
    MIDDLE = "binary, middle"
    HIGH = "binary, high"


# Mean of the items' logits: 8, 50 and 88 % solved.
_HARD = {Generator.LOW: -6.0, Generator.MIDDLE: 0.0, Generator.HIGH: 5.0}


class Clusters(enum.StrEnum):
    """How items hang together."""

    NONE = "none"
    SUBJECTS = "57 unequal"
    SUBTASKS = "27 unequal"
    PASSAGES = "passages"
    FEW = "8 unequal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One place of the grid; `seed_sd` is that of a run's mean, a fraction. Arms may have unequal numbers of runs."""

    generator: Generator
    seeds: int
    items: int
    seed_sd: float
    clusters: Clusters = Clusters.NONE
    treated_seeds: int | None = None

    @property
    def runs(self) -> tuple[int, int]:
        """Runs of the reference and of the treated arm."""
        return self.seeds, self.treated_seeds or self.seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What happened in a number of studies; shares of all studies.

    false: of equal arms that were called. same_items, new_items: intervals that hold the planted effect over new runs
    on the same items, and over new runs and items. power: planted effects that were called in the right direction.
    about_data: claims about the data among them. effect: what was planted, a fraction.
    """

    studies: int
    false: float
    same_items: float
    new_items: float
    power: float
    about_data: float
    paired: float
    effect: float


def simulate(cell: Cell, studies: int, *, first: int = 0) -> Calibration:
    """Run `studies` studies of one cell, numbered from `first`."""
    truth = _truth(cell)
    counts = np.zeros(6)
    for study in range(first, first + studies):
        null, planted, same = _study(cell, truth, study)
        counts += (
            null.called,
            planted.low <= same <= planted.high,
            planted.low <= truth.effect <= planted.high,
            planted.low > 0,
            (null.scope is Claim.DATA) + (planted.scope is Claim.DATA),
            null.paired,
        )
    shares = [float(count) / studies for count in counts]
    return Calibration(
        studies=studies,
        false=shares[0],
        same_items=shares[1],
        new_items=shares[2],
        power=shares[3],
        about_data=shares[4] / 2,
        paired=shares[5],
        effect=truth.effect,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Truth:
    """What a cell plants: shift of all items (score or logit), its mean effect, and the SD of runs on that scale."""

    shift: float
    effect: float
    run: float
    run_cluster: float


def sizes(cell: Cell) -> list[int]:
    """Return the items per cluster; unequal ones fall off geometrically, the largest about ten times the smallest."""
    kinds = {Clusters.SUBJECTS: 57, Clusters.SUBTASKS: 27, Clusters.FEW: 8, Clusters.PASSAGES: max(2, cell.items // 16)}
    count = min(kinds.get(cell.clusters, cell.items), cell.items)
    if cell.clusters in (Clusters.NONE, Clusters.PASSAGES):
        shares = np.ones(count)
    else:
        shares = np.exp(-2.3 * np.arange(count) / count)
    ends = np.rint(np.cumsum(shares) / shares.sum() * cell.items).astype(int)
    return [int(size) for size in np.diff(ends, prepend=0)]


def _study(cell: Cell, truth: _Truth, study: int) -> tuple[Gap, Gap, float]:
    """Return the gap of equal arms, that with a planted effect, and the effect on these items over new runs."""
    g = rng(study, "calibration", *(str(part) for part in _named(cell)))
    members = np.repeat(np.arange(len(sizes(cell))), sizes(cell))
    count = int(members[-1]) + 1
    item, gain = _items(cell, g, members, count)
    levels = []
    for runs in cell.runs:
        luck = g.normal(0, truth.run, (runs, 1)) + g.normal(0, truth.run_cluster, (runs, count))[:, members]
        levels.append((item + luck, g.random((runs, cell.items))))
    scores = [_scores(cell, level, draws) for level, draws in levels]
    raised = _scores(cell, levels[1][0] + truth.shift + gain, levels[1][1])
    labels = None if cell.clusters is Clusters.NONE else members
    spread = math.hypot(truth.run, truth.run_cluster)
    same = float(np.mean(_expected(cell, item + truth.shift + gain, spread) - _expected(cell, item, spread)))
    return gap(scores[0], scores[1], labels, seed=0), gap(scores[0], raised, labels, seed=0), same


def _named(cell: Cell) -> Iterator[Any]:
    yield from (cell.generator.value, cell.items, cell.seed_sd, cell.clusters.value, *cell.runs)


def _items(cell: Cell, g: np.random.Generator, members: NDArray[np.intp], count: int) -> tuple[Scores, Scores]:
    """Return how easy each item is and what it gains beside the planted effect, on the generator's scale, [items]."""
    additive = cell.generator is Generator.ADDITIVE
    gain = _GAIN[additive] * _even(g, len(members)) + _CLUSTER_GAIN[additive] * _even(g, count)[members]
    if additive:
        return _LEVEL + _LEVEL_SPREAD * _even(g, len(members)), gain
    own = math.sqrt(_SPREAD**2 - _CLUSTER_SPREAD**2)
    return _HARD[cell.generator] + own * g.normal(size=len(members)) + _CLUSTER_SPREAD * g.normal(size=count)[
        members
    ], gain


def _population(generator: Generator) -> tuple[Scores, Scores]:
    """Return the same for items that stand for all there could be."""
    from scipy.special import ndtri  # slow to import

    g, additive = rng(0, "population"), generator is Generator.ADDITIVE
    places = [(g.permutation(_POPULATION) + 0.5) / _POPULATION for _ in range(3)]
    even = [math.sqrt(12) * (place - 0.5) for place in places]
    gain = _GAIN[additive] * even[0] + _CLUSTER_GAIN[additive] * even[1]
    if additive:
        return _LEVEL + _LEVEL_SPREAD * even[2], gain
    return _HARD[generator] + _SPREAD * ndtri(places[2]), gain


def _even(g: np.random.Generator, count: int) -> Scores:
    """Return uniform draws with mean 0 and standard deviation 1."""
    return g.uniform(-math.sqrt(3), math.sqrt(3), count)


def _scores(cell: Cell, level: Scores, draws: Scores) -> Scores:
    """Return scores [seeds, items]: 0 or 1, or partial credit with uniform noise."""
    if cell.generator is Generator.ADDITIVE:
        return level + _NOISE * math.sqrt(12) * (draws - 0.5)
    return (draws < 1 / (1 + np.exp(-level))).astype(np.float64)


def _expected(cell: Cell, level: Scores, spread: float) -> Scores:
    """Return the expected score of every item over new runs whose luck has the SD `spread`, [items]."""
    if cell.generator is Generator.ADDITIVE:
        return level
    found = np.zeros_like(level)
    for node, weight in _normal_nodes():
        found += weight / (1 + np.exp(-(level + spread * node)))
    return found


@functools.cache
def _normal_nodes() -> list[tuple[float, float]]:
    """Return values and weights whose sums stand for the mean over a normal variable (Gauss-Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    return list(zip(nodes.tolist(), (weights / weights.sum()).tolist(), strict=True))


@functools.lru_cache(maxsize=4096)
def _truth(cell: Cell) -> _Truth:
    """Find the shift whose mean effect over all items is `ERRORS` true standard errors."""
    item, gain = _population(cell.generator)
    additive = cell.generator is Generator.ADDITIVE
    slope = 1.0 if additive else float(_slopes(item).mean())
    run, cluster = cell.seed_sd / slope, _RUN_CLUSTER[additive]
    spread = math.hypot(run, cluster)
    share = float(np.sum((np.array(sizes(cell)) / cell.items) ** 2))

    def variance(shift: float | Scores) -> float:
        """Variance of one run's mean: its luck, that of clusters, and the noise of its answers."""
        steep = np.ones(1) if additive else _slopes(item + shift + gain)
        noise = _NOISE**2 if additive else float(steep.mean())
        return float(steep.mean()) ** 2 * (run**2 + cluster**2 * share) + noise / cell.items

    low, high = (-0.1, 0.5) if additive else (-2.0, 8.0)
    for _ in range(24):
        middle = (low + high) / 2
        gained = _expected(cell, item + middle + gain, spread) - _expected(cell, item, spread)
        mean = float(gained.mean())
        # Items differ in their gain; those of a cluster share a part of it.
        together = (_CLUSTER_GAIN[additive] * (1.0 if additive else float(_slopes(item + middle + gain).mean()))) ** 2
        between = (float(gained.var()) - together) / cell.items + together * share
        runs = variance(-gain) / cell.runs[0] + variance(middle) / cell.runs[1]
        low, high = (middle, high) if mean < ERRORS * math.sqrt(runs + between) else (low, middle)
    return _Truth(shift=high, effect=mean, run=run, run_cluster=cluster)


def _slopes(level: Scores) -> Scores:
    """Return how fast the chance of every item rises with its logit: the variance of its answer, too."""
    chance: Scores = 1 / (1 + np.exp(-level))
    return chance * (1 - chance)
