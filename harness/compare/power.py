"""What a design can see: the smallest true gap that it would call, and what it takes to see a given one.

Owns power. Does not estimate variances (`variance`): it takes them, measured in a study or assumed before one.
Invariant: more seeds or more items never make the smallest effect larger.

The chance that |D| exceeds the half-width of `variance`, with D normal around the true gap: V_item and V_runs vary as
chi-squares on their degrees of freedom, V_both hardly does (its degrees of freedom are the product of theirs). The mean
over a fixed grid of quantiles takes the place of drawing them, so equal inputs give equal numbers.

Before a study (`planned`) a gap has to be possible, too. Of items that are right or wrong, a gap d changes a share of d
at least, so that the variance of one item's difference is at least d - d^2, also where two runs of a design differ on
fewer items. What a gap changes beyond these is taken to stay changed over the seeds and to be spread over the items: it
raises the variance, and takes the weight off the few items that made it up, as `degrees` counts them.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from harness.compare.degrees import NORMAL, degrees_of
from harness.compare.gap import Gap
from harness.compare.variance import Components, Scores, quantile
from harness.errors import InputError

POWER = 0.8
CHANGED = 0.09
"""Share of the items whose answer differs between two runs, assumed before a study."""
SEED_SD = 0.004
"""Standard deviation of a run's mean from training luck, a fraction: 0.4 points."""

MOST_SEEDS, MOST_ITEMS = 1000, 100_000_000
_GRID_ITEMS, _GRID_RUNS = 16, 64


class Method(enum.StrEnum):
    """How the arms are compared."""

    CROSSED = "seeds x items"
    PAIRED_RUNS = "t test over paired runs"
    ITEMS = "items only"


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """A study before it is run; shares and standard deviations are fractions.

    Attributes:
        items: test items. seeds: training seeds per arm.
        clusters: equal clusters of items, or None when items are independent.
        changed: share of items that two runs answer differently: the variance of one item's difference.
        seed_sd: of one run's mean, from training luck.
        persists: share of the changed items that stay changed over the seeds, so that seeds do not average them out.
        inflation: how much clusters inflate the variance over items, as a factor of the variance (design effect).
        kurtosis: of what clusters, or items without any, differ by: 3 for normal values, 1/m for a share m that changes
            by the same while all others stay as they are.
    """

    items: int
    seeds: int
    clusters: int | None = None
    changed: float = CHANGED
    seed_sd: float = SEED_SD
    persists: float = 0.0
    inflation: float = 1.0
    kurtosis: float = NORMAL

    def __post_init__(self) -> None:
        """Refuse what is no design."""
        shares = 0 < self.changed <= 1 and 0 <= self.persists <= 1 and self.inflation >= 1
        if self.items < 2 or self.seeds < 1 or not (self.clusters is None or 2 <= self.clusters <= self.items):
            raise InputError(
                f"A design of {self.items} items, {self.seeds} seeds and {self.clusters} clusters; give 2 items, "
                "1 seed and 2 clusters at least, and no more clusters than items"
            )
        if not (shares and 0 <= self.seed_sd <= 0.5 and NORMAL <= self.kurtosis < math.inf):
            raise InputError(
                f"changed {self.changed}, persists {self.persists}, seed SD {self.seed_sd}, inflation "
                f"{self.inflation}, kurtosis {self.kurtosis}; give changed in (0, 1], persists in [0, 1], the SD as a "
                "fraction up to 0.5, inflation from 1, kurtosis from 3"
            )


def planned(
    design: Design, *, method: Method = Method.CROSSED, confidence: float = 0.95, power: float = POWER
) -> float:
    """Return the smallest true gap, a fraction, that a design would call with a probability of `power`.

    With one seed, and by `Method.ITEMS`, it is about these checkpoints only: what training luck adds is not counted.
    `Method.PAIRED_RUNS` takes the differences of the runs as S values: all variance has S - 1 degrees of freedom.
    """
    alpha, seeds = 1 - confidence, design.seeds
    if method is Method.PAIRED_RUNS and seeds > 1:
        item = design.changed * design.inflation / design.items
        runs = item * (design.persists + (1 - design.persists) / seeds) + 2 * design.seed_sd**2 / seeds
        return smallest(Components(item_total=runs, item_degrees=seeds - 1.0), alpha=alpha, power=power)
    alone = method is not Method.CROSSED or seeds == 1
    return _smallest(lambda effect: _parts(design, effect, alone=alone), alpha, power)


def _parts(design: Design, effect: float, *, alone: bool) -> Components:
    """Return the variances of a design were this the true gap; `alone`: of one run in each arm, without its luck."""
    seeds = 1 if alone else design.seeds
    pair, share = design.changed * design.inflation, min(abs(effect), 0.5)
    noise = (1 - design.persists) * pair / seeds
    further = max(0.0, share * (1 - share) - pair)
    clusters = design.clusters or design.items
    # Second and fourth moments of what clusters of two runs differ by: what changes anyway, and items that change by 1.
    size = design.items / clusters
    one, two = size * pair, size * further
    fourth = design.kurtosis * one**2 + 6 * one * two + two + 3 * size * (size - 1) * further**2
    item = Components(
        item_total=(design.persists * pair + noise + further) / design.items,
        item_degrees=degrees_of(clusters, fourth / (one + two) ** 2 / clusters),
    )
    if alone:
        return item
    noise /= design.items
    runs = 2 * design.seed_sd**2 / seeds + noise
    return replace(item, run_total=runs, remainder=noise, run_degrees=2 * seeds - 2)


def smallest(parts: Components, *, alpha: float = 0.05, power: float = POWER) -> float:
    """Return the smallest true gap, a fraction, called with a probability of `power` at these variances."""
    return _smallest(lambda _: parts, alpha, power)


def _smallest(at: Callable[[float], Components], alpha: float, power: float) -> float:
    """Return the smallest true gap called with a probability of `power`; `at` gives the variances at a gap."""
    low, high = 0.0, math.sqrt(at(0.0).variance)
    if not high > 0:
        return 0.0
    while chance(at(high), high, alpha=alpha) < power:
        low, high = high, 2 * high
        if high > 1e6:
            return math.inf
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(at(middle), middle, alpha=alpha) < power else (low, middle)
    return high


def chance(parts: Components, effect: float, *, alpha: float = 0.05) -> float:
    """Return the probability that a true gap of `effect` is called, in either direction, at these variances."""
    from scipy.special import ndtr  # slow to import

    halves, error = _half_widths(parts, alpha), math.sqrt(parts.variance)
    if not error > 0:
        return float(np.mean(abs(effect) > halves))
    return float(np.mean(ndtr((effect - halves) / error) + ndtr((-effect - halves) / error)))


def _half_widths(parts: Components, alpha: float) -> Scores:
    """Return the half-widths that a design draws, as equally likely values, [grid]."""
    square = quantile(parts.item_degrees, alpha) ** 2
    items = square * parts.item_total * _chi_squares(parts.item_degrees, _GRID_ITEMS)
    if parts.run_total is None or parts.remainder is None:
        return np.sqrt(items)
    run = quantile(parts.run_degrees, alpha) ** 2
    drawn = run * (parts.seed + parts.remainder) * _chi_squares(parts.run_degrees, _GRID_RUNS)
    halves: Scores = np.sqrt(items[:, None] + np.maximum(0.0, drawn - min(square, run) * parts.remainder))
    return halves


@functools.lru_cache(maxsize=1024)
def _chi_squares(degrees: float, count: int) -> Scores:
    """Return `count` equally likely values of a chi-square over its degrees of freedom."""
    from scipy.special import chdtri  # slow to import

    values: Scores = chdtri(degrees, 1 - (np.arange(count) + 0.5) / count) / degrees
    return values


def smallest_called(gap: Gap, *, power: float = POWER) -> float | None:
    """Return the smallest true gap that a study like this one would call; None where nothing varied or is known."""
    if gap.components is None or gap.unanimous is not None:
        return None
    found = smallest(gap.components, alpha=1 - gap.confidence, power=power)
    return found if found <= 1 else None


def seeds_needed(gap: Gap, effect: float, *, seed_sd: float = SEED_SD, power: float = POWER) -> int | None:
    """Return the seeds per arm with which a true gap of `effect` would be called; None where no number does it.

    One run says nothing of training luck: `seed_sd` is assumed then, and that other seeds change other items.
    """
    parts = gap.components
    if parts is None or gap.unanimous is not None or not effect > 0:
        return None
    arms = 1 if gap.paired else 2
    if parts.remainder is None:
        item, seed, noise = 0.0, seed_sd**2, parts.item_total / parts.weight
    else:
        item, seed, noise = parts.item, parts.seed / parts.weight, parts.remainder / parts.weight
    # What is not the items' own; less than the noise where that was measured larger than all of V_item.
    averaged = (parts.item_total - item) / parts.weight

    def enough(seeds: int) -> bool:
        weight = arms / seeds
        design = Components(
            item_total=item + weight * averaged,
            item_degrees=parts.item_degrees,
            run_total=weight * (seed + noise),
            remainder=weight * noise,
            run_degrees=arms * (seeds - 1),
            weight=weight,
        )
        return chance(design, effect, alpha=1 - gap.confidence) >= power

    return _least(enough, 2, MOST_SEEDS)


def items_needed(gap: Gap, effect: float, *, power: float = POWER) -> int | None:
    """Return the items with which a true gap of `effect` would be called at the seeds there are; None as above.

    More items come in more clusters of the same size. One run: about these checkpoints, as the gap is.
    """
    parts = gap.components
    if parts is None or gap.unanimous is not None or not effect > 0:
        return None

    def enough(items: int) -> bool:
        factor = gap.items / items
        design = Components(
            item_total=factor * parts.item_total,
            item_degrees=max(1.0, parts.item_degrees / factor),
            run_total=None if parts.remainder is None else parts.seed + factor * parts.remainder,
            remainder=None if parts.remainder is None else factor * parts.remainder,
            run_degrees=parts.run_degrees,
            weight=parts.weight,
        )
        return chance(design, effect, alpha=1 - gap.confidence) >= power

    return _least(enough, 2, MOST_ITEMS)


def _least(enough: Callable[[int], bool], first: int, last: int) -> int | None:
    """Return the least number that is enough, or None where `last` is not."""
    low, high = first - 1, first
    while not enough(high):
        if high >= last:
            return None
        low, high = high, min(last, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
