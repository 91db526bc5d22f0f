"""The variance of a gap: exact sums, components, few changes, weights, shared seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from harness.compare import Gap, gap, interval, sums
from harness.compare.seeds import correlated
from harness.compare.variance import run_degrees
from harness.errors import InputError
from harness.randomness import rng

Scores = NDArray[np.float64]
examples = settings(deadline=None, max_examples=150, derandomize=True, database=None)
numbers = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=1, max_size=60)


@examples
@given(numbers, st.randoms(use_true_random=False), st.integers(-60, 10))
def test_sums_are_those_of_fsum_in_any_order_and_sign(values: list[float], random: Any, power: int) -> None:
    terms = np.array(values) * 2.0**power
    found = sums.total(terms)
    # Hypothesis also draws numbers that it finds in the loaded code, so also some far below the smallest scale.
    scale = max(float(np.abs(terms).max()), sums._SMALLEST)
    assert found == pytest.approx(math.fsum(terms.tolist()), rel=1e-15, abs=len(values) * scale * 2**-60)
    moved = terms[random.sample(range(len(terms)), len(terms))]
    assert sums.total(moved) == found
    assert sums.total(-moved) == -found


def test_sums_per_group_and_along_axes_are_exact() -> None:
    g = rng(0, "sums")
    table, codes = g.random((3, 200)), g.integers(0, 7, 200)
    expected = [[math.fsum(row[codes == group].tolist()) for group in range(7)] for row in table]
    assert sums.totals_of(table, codes, 7).tolist() == expected
    assert sums.totals_of(table[0], codes, 7).tolist() == expected[0]
    assert sums.totals(table, 1).tolist() == [math.fsum(row.tolist()) for row in table]
    assert sums.totals(table, 0).tolist() == [math.fsum(column.tolist()) for column in table.T]
    assert sums.total(np.zeros(3)) == sums.total(np.full(3, 5e-324)) == 0


def arms(seeds: int, items: int, name: str, *, run: float, item: float, noise: float) -> tuple[Scores, Scores]:
    """Two arms around 0.5 with the given standard deviations; items differ between the arms, too."""
    g = rng(0, name)
    found = [
        0.5 + g.normal(0, item, items) + g.normal(0, run, (seeds, 1)) + g.normal(0, noise, (seeds, items))
        for _ in range(2)
    ]
    return np.clip(found[0], 0, 1), np.clip(found[1], 0, 1)


def test_the_components_are_those_that_were_put_in() -> None:
    found = [gap(*arms(4, 200, f"parts {i}", run=0.02, item=0.05, noise=0.1)).components for i in range(200)]
    parts = [one for one in found if one is not None]
    assert len(parts) == 200
    means = {name: float(np.mean([getattr(one, name) for one in parts])) for name in ("item_total", "run_total")}
    noise = 2 * 0.1**2 / 200 / 4
    assert float(np.mean([one.remainder or 0.0 for one in parts])) == pytest.approx(noise, rel=0.02)
    assert means["item_total"] == pytest.approx(2 * 0.05**2 / 200 + noise, rel=0.05)
    assert means["run_total"] == pytest.approx(2 * 0.02**2 / 4 + noise, rel=0.1)
    assert float(np.mean([(one.run_sd or 0.0) ** 2 for one in parts])) == pytest.approx(0.02**2 + 0.01 / 200, rel=0.1)
    for one in parts:
        assert one.variance == pytest.approx(one.item_total + one.seed)
        assert one.seed == pytest.approx(max(0.0, (one.run_total or 0.0) - (one.remainder or 0.0)))


def test_one_run_has_no_run_variance_and_one_cluster_no_components() -> None:
    one = gap(*arms(1, 50, "one", run=0.1, item=0.1, noise=0.1)).components
    assert one is not None and (one.run_total, one.remainder, one.run_sd, one.seed) == (None, None, None, 0.0)
    assert one.variance == one.item == one.item_total
    assert gap(*arms(2, 9, "all", run=0.1, item=0.1, noise=0.1), ["all"] * 9).components is None


def flips(gained: int, lost: int, items: int = 164) -> Gap:
    reference, treated = np.zeros((1, items)), np.zeros((1, items))
    treated[0, :gained] = 1
    reference[0, gained : gained + lost] = 1
    return gap(reference, treated)


@pytest.mark.parametrize("items", [164, 14042])
def test_few_changes_are_called_about_where_a_sign_test_calls_them(items: int) -> None:
    for gained, lost in ((5, 0), (4, 0), (7, 1), (9, 2), (1, 0), (3, 3)):
        assert stats.binomtest(gained, gained + lost).pvalue > 0.05
        assert not flips(gained, lost, items).called
    for gained, lost in ((6, 0), (7, 0), (10, 1), (13, 2), (20, 4)):
        assert stats.binomtest(gained, gained + lost).pvalue < 0.05
        assert flips(gained, lost, items).called


def test_where_many_items_change_the_quantile_is_the_usual_one() -> None:
    found = gap(*arms(1, 500, "usual", run=0.0, item=0.05, noise=0.1))
    assert found.components is not None and found.components.item_degrees == 499


def test_items_that_weigh_their_clusters_alike_give_the_t_interval_over_cluster_means() -> None:
    g = rng(0, "macro")
    labels = np.repeat(np.arange(6), [3, 5, 8, 13, 21, 34])
    scores = 0.3 + 0.1 * g.random(6)[labels] + 0.3 * g.random((1, len(labels)))
    weights = len(labels) / (6 * np.bincount(labels)[labels])
    means = [float(scores[0, labels == label].mean()) for label in range(6)]
    expected = stats.ttest_1samp(means, 0).confidence_interval()
    found = interval(scores, labels, weights=weights)
    assert found.mean == pytest.approx(float(np.mean(means)))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    # Items alone: a weight is no spread of its own.
    flat = interval(np.full((1, len(labels)), 0.9), weights=weights)
    assert flat.high - flat.mean < 0.02
    with pytest.raises(InputError, match="weights"):
        interval(scores, labels, weights=weights[:5])


def shared(seeds: int, correlation: float, name: str, shift: float = 0.0) -> tuple[Scores, Scores]:
    """Two arms whose runs share a part of their luck."""
    g = rng(0, name)
    luck = g.normal(0, 0.02, (seeds, 1))
    own = [math.sqrt(1 - correlation) * g.normal(0, 0.02, (seeds, 1)) for _ in range(2)]
    found = [0.5 + math.sqrt(correlation) * luck + each + g.normal(0, 0.005, (seeds, 60)) for each in own]
    return found[0], found[1] + shift


def test_runs_that_go_together_beyond_doubt_are_paired_and_others_are_not() -> None:
    together, apart = gap(*shared(8, 0.99, "pairs", 0.01)), gap(*shared(8, 0.0, "pairs", 0.01))
    assert together.paired and together.correlation is not None and together.correlation > 0.9
    assert not apart.paired and apart.correlation is not None and abs(apart.correlation) < 0.9
    reference, treated = shared(8, 0.99, "pairs", 0.01)
    expected = stats.ttest_rel(treated.mean(axis=1), reference.mean(axis=1)).confidence_interval()
    assert (together.low, together.high) == pytest.approx((expected.low, expected.high), rel=0.2)
    # In another order the seeds are not shared: pooled, and wider.
    moved = gap(reference[::-1], treated)
    assert not moved.paired and moved.high - moved.low > 2 * (together.high - together.low)
    assert together.relative_low is not None and together.relative_high is not None
    assert together.relative_low * together.reference == pytest.approx(together.low, rel=0.1)
    back = gap(treated, reference)
    assert back.paired and (back.low, back.high) == (-together.high, -together.low)


def test_the_correlation_is_that_of_the_run_means_and_needs_three_shared_seeds() -> None:
    reference, treated = shared(5, 0.5, "five")
    found = gap(reference, treated).correlation
    assert found == pytest.approx(np.corrcoef(reference.mean(axis=1), treated.mean(axis=1))[0, 1])
    for left, right in ((reference[:2], treated[:2]), (reference[:3], treated), (np.full((4, 9), 0.5),) * 2):
        assert gap(left[:, :9], right[:, :9]).correlation is None
    assert correlated(np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.4, 0.6])) == 1


def test_independent_arms_are_paired_less_than_once_in_three_hundred() -> None:
    switched = sum(gap(*shared(5 + i % 4, 0.0, f"apart {i}")).paired for i in range(900))
    assert switched <= 3


def test_counts_that_agree_by_chance_are_not_paired() -> None:
    # One run of each arm solved one item more: correlation 1, and nothing that chance would not do.
    reference, treated = np.zeros((4, 50)), np.zeros((4, 50))
    reference[:, 0] = treated[:, 1] = 1
    reference[2, 2] = treated[2, 3] = treated[2, 4] = 1
    found = gap(reference, treated)
    assert found.correlation == pytest.approx(1)
    assert not found.paired
    # Five runs of 57 items that vary far more than noise explains: three of them are taken as independent, still.
    for runs, paired in ((3, False), (5, True)):
        solved = np.array([[12, 13], [17, 15], [17, 15], [7, 11], [22, 17]])[:runs]
        arms = [(np.arange(57) < own[:, None]).astype(float) for own in solved.T]
        found = gap(*arms)
        assert found.correlation == pytest.approx(1)
        assert found.paired is paired


def test_a_shift_of_numpys_kind_is_tested_like_any_other_number() -> None:
    found = flips(20, 5)
    for alternative in ("two-sided", "greater", "less"):
        for shift in (-0.1, 0.0, 0.05, 0.3):
            expected = found.p_value(shift=shift, alternative=alternative)  # type: ignore[arg-type]
            assert found.p_value(shift=np.float64(shift), alternative=alternative) == expected  # type: ignore[arg-type]
    assert (
        found.p_value(shift=-0.1, alternative="greater") < 0.001 < 0.999 < found.p_value(shift=-0.1, alternative="less")
    )
    with pytest.raises(InputError, match="shift is nan"):
        found.p_value(shift=math.nan)


# --- unequal numbers of runs -----------------------------------------------------------------------------


def test_every_arm_counts_by_what_its_own_runs_add_to_the_variance() -> None:
    g = rng(0, "unequal")
    reference, treated = g.random((8, 40)), g.random((3, 40))
    parts = gap(reference, treated).components
    assert parts is not None and parts.run_total is not None
    own = [arm.mean(axis=1).var(ddof=1) / len(arm) for arm in (reference, treated)]
    assert parts.run_total == pytest.approx(sum(own))
    assert parts.run_degrees == run_degrees([8, 3]) == run_degrees([3, 8])


def test_the_arm_with_fewer_runs_sets_the_degrees_of_freedom() -> None:
    assert [run_degrees([count]) for count in (2, 5)] == [1, 4]
    assert [run_degrees([count, count]) for count in (2, 3, 5, 8)] == [2, 4, 8, 14]
    # Satterthwaite's for equal variances, worked out by hand: (1/3 + 1/5)^2 / (1/18 + 1/100).
    assert run_degrees([3, 5]) == pytest.approx((8 / 15) ** 2 / (1 / 18 + 1 / 100))
    assert run_degrees([2, 8]) == 2, "eight runs say no less than two of them"
    assert 1 < run_degrees([2, 50]) < 1.2


@pytest.mark.parametrize(("runs", "luck"), [((8, 2), (0.01, 0.02)), ((2, 8), (0.02, 0.01)), ((8, 2), (0.01, 0.01))])
def test_the_arm_with_fewer_runs_may_vary_twice_as_much(runs: tuple[int, int], luck: tuple[float, float]) -> None:
    level = np.linspace(0.3, 0.7, 20)
    called = 0
    for study in range(1000):
        g = rng(study, "unequal luck", *map(str, (*runs, *luck)))
        arms = [level + g.normal(0, sd, (count, 1)) for count, sd in zip(runs, luck, strict=True)]
        arms[1][:, 0] += 1e-6  # so that the exact bound is not used
        called += gap(arms[0], arms[1]).called
    assert called / 1000 < 0.09, "one variance for all runs: 0.19"


def test_labels_weights_and_scores_that_are_no_numbers_are_named() -> None:
    fine = np.full((2, 3), 0.5)
    with pytest.raises(InputError, match="a label is NaN"):
        gap(fine, fine, [1.0, math.nan, math.nan])
    for bad in ([1.0, math.inf, 1.0], [1.0, math.nan, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0]):
        with pytest.raises(InputError, match="one number above 0 per item"):
            gap(fine, fine, weights=np.array(bad))
    with pytest.raises(InputError, match="treated: no table of numbers"):
        gap(fine, [[1, 0, 1], [1]])  # type: ignore[arg-type]
    assert gap(fine, fine, weights=np.full(3, 1e-300)) == gap(fine, fine, weights=np.full(3, 1e300))
