"""The variance of a mean over training runs (seeds) x clustered test items.

Owns the variance components, degrees of freedom and the t quantile. Does not know what an arm or a gap is
for. Invariant: nothing here depends, to the last bit, on the order of items, seeds or clusters, nor on the
sign of the values: every sum over items or seeds is `math.fsum`.

The model is y[a,s,i] = mean[a] + item[a,i] + run[a,s] + e[a,s,i] for arm a, run s of S[a], item i of N, with
items in clusters g that hold the shares w[g] of the items. With d[i] the difference of the arms' means over
runs:

    V_item = sum_g (sum_{i in g} (d[i] - mean d))^2 / N^2 / (1 - sum_g w[g]^2)    nu_item = 1/sum w^2 - 1
    V_seed = (1/S_r + 1/S_t) * sum_{a,s} (mean_i y[a,s,i] - mean y[a])^2 / nu     nu = S_r + S_t - 2
    V_both = (1/S_r + 1/S_t) * sum_{a,s} V_item's formula on the run x item residuals / nu
    V      = V_item + max(0, V_seed - V_both)
    df     = V^2 / (V_item^2/nu_item + V_seed^2/nu + V_both^2/(nu nu_item))       (Satterthwaite 1946)

For one arm, 1/S and S - 1 stand for 1/S_r + 1/S_t and nu. V_item and V_seed both hold the run x item noise,
hence - V_both (two-way clustering, Cameron, Gelbach & Miller 2011). The runs of both arms share one variance:
with one degree of freedom (paired seeds, S = 2) false positives reached 9 %. 1/sum w^2 is the effective
number of clusters, N where there are none; for equal clusters it gives the usual G/(G-1) and G - 1 (Miller,
arXiv 2411.00640).

Simulated, nominal 5 %: false positives 1.3 - 6.8 % at S = 2, 1.4 - 5.8 % at 3 and more. V_seed stays in df
where the maximum is 0; without it there, 7.3 % instead of 4.8 % (S = 2, run variance twice the run x item
noise). With one run in either arm, V = V_item and df = nu_item: that is about these checkpoints, not about
the data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError

Scores = NDArray[np.float64]
Clusters = Sequence[str] | Sequence[int] | NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """Clusters as item positions; `members` is None when every item is its own cluster."""

    members: tuple[NDArray[np.intp], ...] | None
    shares: tuple[float, ...]
    effective: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Variance of one run's mean (seed) and the run x item part of it (both), per run, on `degrees`."""

    seed: float
    both: float
    degrees: int


def grouped(clusters: Clusters | None, items: int) -> Groups:
    """Find which items form a cluster; refuse labels that are not one per item."""
    if clusters is None:
        return Groups(members=None, shares=(1 / items,) * items, effective=float(items))
    labels = np.asarray(clusters)
    if labels.shape != (items,):
        raise InputError(f"clusters: shape {labels.shape} for {items} items; give one label per item")
    codes = np.unique(labels, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    members = tuple(np.split(order, np.flatnonzero(np.diff(codes[order])) + 1))
    if len(members) == items:
        return grouped(None, items)
    shares = tuple(len(group) / items for group in members)
    return Groups(members=members, shares=shares, effective=1 / math.fsum(w * w for w in shares))


def mean_of(values: Scores) -> float:
    """Mean of a flat array; exactly rounded sum, so that order changes no bit."""
    return math.fsum(values.tolist()) / values.size


def item_means(arm: Scores) -> Scores:
    """Mean over seeds per item, [items]; sorted first, so that the order of seeds changes no bit."""
    means: Scores = np.sort(arm, axis=0).sum(axis=0) / arm.shape[0]
    return means


def totals(values: Scores, groups: Groups) -> Scores:
    """Return the sum per cluster, [clusters]."""
    if groups.members is None:
        return values
    return np.array([math.fsum(values[group].tolist()) for group in groups.members])


def covariance(left: Scores, right: Scores, groups: Groups) -> float:
    """Clustered covariance of the means of two per-item values, [items] each; infinite with one cluster."""
    if len(groups.shares) == 1:
        return math.inf
    one, two = (totals(values - mean_of(values), groups) for values in (left, right))
    return math.fsum((one * two).tolist()) / (left.size**2 * (1 - 1 / groups.effective))


def run_variance(arms: Sequence[Scores], groups: Groups) -> Runs:
    """Pool over the arms how the means of runs vary, and how much of that is run x item noise."""
    seed, both = [], []
    for arm in arms:
        means, items, grand = [mean_of(row) for row in arm], item_means(arm), mean_of(arm.ravel())
        seed += [(mean - grand) ** 2 for mean in means]
        rest = [(row - mean) - (items - grand) for row, mean in zip(arm, means, strict=True)]
        both += [covariance(row, row, groups) for row in rest]
    degrees = len(seed) - len(arms)
    return Runs(seed=math.fsum(seed) / degrees, both=math.fsum(both) / degrees, degrees=degrees)


def spread(
    values: Scores, groups: Groups, runs: Runs | None, weight: float, confidence: float
) -> tuple[float, float, float]:
    """Return standard error, degrees of freedom and t quantile of the mean of `values`, [items]."""
    from scipy.special import stdtrit  # slow to import

    variance = item = covariance(values, values, groups)
    degrees = groups.effective - 1
    if math.isfinite(item) and runs is not None:
        seed, both = weight * runs.seed, weight * runs.both
        variance = item + max(0.0, seed - both)
        noise = item**2 / degrees + seed**2 / runs.degrees + both**2 / (runs.degrees * degrees)
        degrees = variance**2 / noise if noise > 0 else degrees
    if not math.isfinite(variance):
        return math.inf, 0.0, math.inf
    return math.sqrt(variance), degrees, float(stdtrit(degrees, (1 + confidence) / 2))
