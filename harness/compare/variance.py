"""The variance of a mean over training runs (seeds) x clustered test items, and how wide that makes an interval.

Owns the variance components, their degrees of freedom and the half-width. Does not know what an arm or a gap is
for. Invariant: nothing here depends, to the last bit, on the order of items, seeds or clusters, nor on the
sign of the values: every sum over items or seeds is exact (`sums`, `math.fsum`).

The model is y[a,s,i] = mean[a] + item[a,i] + run[a,s] + e[a,s,i] for arm a, run s of S[a], item i of N, with
items in clusters g that hold the shares w[g] of the items. With d[i] the difference of the arms' means over
runs, c[g] = sum_{i in g} (d[i] - mean d) and w = 1/S_r + 1/S_t:

    V_item = sum_g c[g]^2 / N^2 / (1 - sum_g w[g]^2)
    V_runs = sum_a sum_s (mean_i y[a,s,i] - mean y[a])^2 / (S_a (S_a - 1))
    V_both = sum_a sum_s V_item's formula on the run x item residuals / (S_a (S_a - 1))
    V      = V_item + max(0, V_runs - V_both)
    half^2 = t_item^2 V_item + max(0, t_nu^2 V_runs - min(t_item, t_nu)^2 V_both)

V_item and V_runs both hold the run x item noise, hence - V_both (two-way clustering, Cameron, Gelbach & Miller 2011).
V_runs has the degrees nu that it would have if the runs of both arms varied alike, S_r + S_t - 2 at equal numbers: with
one degree of freedom (paired seeds, S = 2) false positives reached 9 %. At unequal numbers see `run_degrees`.

The half-width weighs each variance by its own t quantile squared (Banerjee 1960), not their sum by one quantile
(Satterthwaite 1946). Why it holds: were the arms equal, half^2 >= t_nu^2 V_runs up to the noise in V_item, and that
alone has the nominal rate; where items add variance of their own, P(Z^2 < x) is concave in x, so that the average
of two allowances each of which is wide enough is wide enough. One quantile for the sum was right only on average:
where two runs happen to agree, V_runs is small and Satterthwaite's degrees of freedom large, 6.8 % at S = 2.

t_item has 1/sum w^2 - 1 degrees of freedom: for equal clusters the usual G - 1 (Miller, arXiv 2411.00640). Where few
of G clusters make up the variance (5 of 164 items changed), these few count, not the many zeros: where it is less,
max(2, 1/(1/(1/sum w^2 - 1) + k)) with k = sum c^4 / (sum c^2)^2 - (3 + 2 sqrt(24/G)) / G and G for 1/sum w^2. The first
term is 1/m for m equal changes, the second what normal values reach by chance, two standard deviations up. So 5 of 5
changes one way are not called and 6 of 6 are, as by a sign test.

With one run in either arm, V = V_item: that is about these checkpoints, not about the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.compare import sums
from harness.compare.degrees import degrees_of
from harness.errors import InputError

Scores = NDArray[np.float64]
Clusters = Sequence[str] | Sequence[int] | NDArray[Any]

SMALLEST_P = 1e-300
LARGEST_T = 1e150  # its square is still a number


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Groups:
    """The cluster of every item, [items], or None when every item is its own; `weights`, [items], have the mean 1.

    sizes: weighted items per cluster, [clusters]. effective: number of equal clusters with as much to say, 1/sum w^2.
    """

    codes: NDArray[np.intp] | None
    sizes: Scores
    effective: float
    weights: Scores | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Variance of one run's mean (seed) and the run x item part of it (both), per run, on `degrees`."""

    seed: float
    both: float
    degrees: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Components:
    """The variance of a mean or gap, split; variances are squared fractions.

    Attributes:
        item_total, run_total, remainder: V_item, V_runs and V_both of the module; the last two are None at one run.
        item_degrees: degrees of freedom of V_item, at most `clusters` - 1. run_degrees: of V_runs, 0 at one run.
        clusters: effective number of clusters of items; None where that is not known.
        weight: what one run's variance is multiplied by, 1/S_r + 1/S_t or 1/S.
        run_sd: standard deviation of one run's mean, a fraction, as observed; None at one run.
        item, seed: what items and seeds add of their own, without the run x item remainder that both totals hold;
            never below 0. At one run the remainder is part of `item`.
        variance: of the mean or gap, V. satterthwaite: degrees of freedom of V, to compare designs by.
    """

    item_total: float
    item_degrees: float
    run_total: float | None = None
    remainder: float | None = None
    run_degrees: float = 0.0
    weight: float = 1.0
    clusters: float | None = None

    @property
    def run_sd(self) -> float | None:
        """Standard deviation of one run's mean."""
        return None if self.run_total is None else math.sqrt(self.run_total / self.weight)

    @property
    def item(self) -> float:
        """Variance that items add."""
        return max(0.0, self.item_total - (self.remainder or 0.0))

    @property
    def seed(self) -> float:
        """Variance that training seeds add."""
        return max(0.0, (self.run_total or 0.0) - (self.remainder or 0.0))

    @property
    def variance(self) -> float:
        """Variance of the mean or gap over new runs and new items."""
        return self.item_total + self.seed

    @property
    def satterthwaite(self) -> float:
        """Degrees of freedom of `variance`."""
        if self.run_total is None or self.remainder is None:
            return self.item_degrees
        noise = self.item_total**2 / self.item_degrees + self.run_total**2 / self.run_degrees
        noise += self.remainder**2 / (self.run_degrees * self.item_degrees)
        return self.variance**2 / noise if noise > 0 else self.item_degrees

    def allowances(self, alpha: float) -> tuple[float, float]:
        """Return the squares that items and that runs add to the half-width; `alpha` is two-sided."""
        item = quantile(self.item_degrees, alpha) ** 2
        if self.run_total is None or self.remainder is None:
            return _times(item, self.item_total), 0.0
        run = quantile(self.run_degrees, alpha) ** 2
        runs = _times(run, self.run_total) - _times(min(item, run), self.remainder)
        return _times(item, self.item_total), max(0.0, runs)

    def half_width(self, alpha: float) -> float:
        """Return half the width of the interval that leaves out `alpha` on both sides together."""
        return math.sqrt(sum(self.allowances(alpha)))

    def p_value(self, distance: float) -> float:
        """Return the alpha whose half-width is `distance`: 1 for none, 0 where nothing varies."""
        if not distance > 0:
            return 1.0
        if self.half_width(SMALLEST_P) < distance:
            return 0.0
        low, high = math.log(SMALLEST_P), 0.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.half_width(math.exp(middle)) >= distance else (low, middle)
        return math.exp(high)


def quantile(degrees: float, alpha: float) -> float:
    """Return Student's t that is exceeded, on both sides together, with probability `alpha`."""
    from scipy.special import stdtrit  # slow to import

    return min(-float(stdtrit(degrees, alpha / 2)), LARGEST_T)


def _times(square: float, variance: float) -> float:
    return square * variance if variance > 0 else 0.0


def grouped(clusters: Clusters | None, items: int, weights: Scores | None = None) -> Groups:
    """Find which items form a cluster; refuse labels or weights that are not one per item."""
    codes = None if clusters is None else _codes(clusters, items)
    share = np.ones(items) if weights is None else _shares(weights, items)
    sizes = share if codes is None else sums.totals_of(share, codes, int(codes.max()) + 1)
    effective = items**2 / sums.total(sizes * sizes)
    return Groups(codes=codes, sizes=sizes, effective=effective, weights=None if weights is None else share)


def _shares(weights: Scores, items: int) -> Scores:
    """Return the weights with mean 1."""
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (items,) or not bool(((given > 0) & (given < math.inf)).all()):
        raise InputError(f"weights: shape {given.shape} for {items} items; give one number above 0 per item")
    share: Scores = given / given.max()
    return share / mean_of(share)


def _codes(clusters: Clusters, items: int) -> NDArray[np.intp] | None:
    """Return the number of every item's cluster; None where every item is its own."""
    shape = clusters.shape if isinstance(clusters, np.ndarray) else (len(clusters),)
    if shape != (items,):
        raise InputError(f"clusters: shape {shape} for {items} items; give one label per item")
    labels = clusters.tolist() if isinstance(clusters, np.ndarray) else clusters
    try:
        places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    except TypeError:
        raise InputError("clusters: labels that are lists; give one text or number per item") from None
    if any(label != label for label in places):  # each NaN would be a cluster of its own
        raise InputError("clusters: a label is NaN; give every item one, or None for all where items are independent")
    if len(places) == items:
        return None
    return np.fromiter((places[label] for label in labels), dtype=np.intp, count=items)


def mean_of(values: Scores) -> float:
    """Mean of all values; order changes no bit."""
    return sums.total(values) / values.size


def run_means(arm: Scores, groups: Groups) -> Scores:
    """Weighted mean of every run over the items, [seeds]."""
    means: Scores = sums.totals(arm if groups.weights is None else arm * groups.weights, 1) / arm.shape[1]
    return means


def item_means(arm: Scores) -> Scores:
    """Mean over seeds per item, [items]."""
    means: Scores = sums.totals(arm, 0) / arm.shape[0]
    return means


def totals(values: Scores, groups: Groups) -> Scores:
    """Return the weighted sum per cluster, [..., clusters], of values [..., items]."""
    weighted = values if groups.weights is None else values * groups.weights
    return weighted if groups.codes is None else sums.totals_of(weighted, groups.codes, len(groups.sizes))


def deviations(values: Scores, groups: Groups) -> Scores:
    """Return the sum per cluster of what values, [items], lie above their mean, [clusters]."""
    return totals(values - run_means(values[None, :], groups)[0], groups)


def covariance(left: Scores, right: Scores, groups: Groups) -> float:
    """Clustered covariance of the means of two per-item values, [items] each; infinite with one cluster."""
    if len(groups.sizes) == 1:
        return math.inf
    one = deviations(left, groups)
    two = one if right is left else deviations(right, groups)
    return sums.total(one * two) / (left.size**2 * (1 - 1 / groups.effective))


def item_degrees(values: Scores, groups: Groups) -> float:
    """Degrees of freedom of the clustered variance of the mean of `values`, [items]."""
    squares = deviations(values, groups) ** 2
    whole = sums.total(squares)
    if not whole > 0:
        return groups.effective - 1
    return degrees_of(groups.effective, sums.total(squares**2) / whole**2)


def run_variance(arms: Sequence[Scores], groups: Groups) -> Runs:
    """Return how the means of runs vary, and how much of that is run x item noise; not for one cluster.

    Every arm counts by what its runs add to the variance of the gap, 1/S: with 8 runs and 2, one variance for all runs
    would be that of the 8, and 19 % of equal means were called where the 2 varied twice as much (SD).
    """
    counts, seed, both = [len(arm) for arm in arms], [], []
    weight = sum(math.prod(counts) // count for count in counts)  # of w = weight / product, in whole numbers
    for arm, count in zip(arms, counts, strict=True):
        share = math.prod(counts) / (count * (count - 1) * weight)
        means = run_means(arm, groups)
        grand = mean_of(means)
        seed += [share * (mean - grand) ** 2 for mean in means.tolist()]
        rest = (arm - means[:, None]) - (item_means(arm) - grand)
        both += (share * sums.totals(totals(rest, groups) ** 2, 1)).tolist()
    scale = arms[0].shape[1] ** 2 * (1 - 1 / groups.effective)
    return Runs(seed=math.fsum(seed), both=math.fsum(both) / scale, degrees=run_degrees(counts))


def run_degrees(counts: Sequence[int]) -> float:
    """Return the degrees of freedom of the variance between runs of one arm or two, were all runs to vary alike.

    Satterthwaite's, which are S_r + S_t - 2 for equal numbers and fewer for others, since the arm with fewer runs makes
    up most of the variance; not less than without the further runs of the other arm, up to four times as many: equal
    arms of 2 and 8 runs are called in 2.1 % then, of 5 and 20 in 5.4 %.
    """
    least, most = min(counts), max(counts)
    if least == most:
        return len(counts) * (least - 1)
    found = (1 / least + 1 / most) ** 2 / (1 / (least**2 * (least - 1)) + 1 / (most**2 * (most - 1)))
    return max(found, 2.0 * least - 2) if most <= 4 * least else found


def components(values: Scores, groups: Groups, runs: Runs | None, weight: float) -> Components | None:
    """Return the variance of the mean of `values`, [items], split; None where one cluster leaves it unknown."""
    item = covariance(values, values, groups)
    if not math.isfinite(item):
        return None
    alone = Components(
        item_total=item, item_degrees=item_degrees(values, groups), weight=weight, clusters=groups.effective
    )
    if runs is None:
        return alone
    return replace(alone, run_total=weight * runs.seed, remainder=weight * runs.both, run_degrees=runs.degrees)
