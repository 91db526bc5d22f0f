"""Comparison of two arms: what may be paired, what a gap says, and how often it is wrong."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from harness.compare import Arm, Claim, Incomparable, Paired, Reason, gap, interval, pair
from harness.errors import InputError
from harness.randomness import rng

Scores = NDArray[np.float64]
Study = tuple[Scores, Scores, list[str] | None]
examples = settings(deadline=None, max_examples=150, derandomize=True, database=None)


def arm(name: str, items: list[str], scores: list[list[float]], prompts: list[str] | None = None) -> Arm:
    hashes = prompts or [f"hash of {item}" for item in items]
    return Arm(name=name, items=items, prompts=hashes, scores=np.array(scores))


def refusal(reference: Arm, treated: Arm) -> Incomparable:
    result = pair(reference, treated)
    assert isinstance(result, Incomparable)
    return result


@st.composite
def studies(draw: st.DrawFn) -> Study:
    """Two arms of different sizes with partial credit, and clusters or none."""
    items = draw(st.integers(1, 24))
    g = rng(draw(st.integers(0, 10**6)), "study")
    levels = draw(st.sampled_from([1, 3, 1000]))
    sizes = draw(st.tuples(st.integers(1, 9), st.integers(1, 4)))
    arms = [np.round(g.random((size, items)) * levels) / levels for size in sizes]
    clusters = [f"c{i}" for i in g.integers(0, 5, items)] if draw(st.booleans()) else None
    return arms[0], arms[1], clusters


def test_arms_with_the_same_items_in_another_order_are_lined_up_item_by_item() -> None:
    treated = arm("b", ["z", "x", "y"], [[0.6, 0.4, 0.5]] * 2)
    result = pair(arm("a", ["x", "y", "z"], [[0.1, 0.2, 0.3]]), treated)
    assert isinstance(result, Paired)
    assert result.items == ("x", "y", "z")
    assert result.reference.tolist() == [[0.1, 0.2, 0.3]]
    assert result.treated.tolist() == [[0.4, 0.5, 0.6]] * 2


def test_unequal_item_sets_are_refused_with_counts_and_never_intersected() -> None:
    result = refusal(arm("a", ["x", "y", "w"], [[1, 1, 1]]), arm("b", ["y", "z"], [[1, 1]]))
    assert (result.reason, result.only_reference, result.only_treated) == (Reason.ITEMS_DIFFER, 2, 1)
    assert result.example == "w" and "only in 'a'" in result.message
    other = refusal(arm("a", ["x"], [[1]]), arm("b", ["x", "z"], [[1, 1]]))
    assert (other.example, other.only_reference, other.only_treated) == ("z", 0, 1)
    assert "only in 'b'" in other.message


def test_unequal_prompt_hashes_are_refused_and_the_first_item_is_named() -> None:
    reference = arm("a", ["x", "y", "z"], [[1, 1, 1]], ["1", "2", "3"])
    result = refusal(reference, arm("b", ["z", "y", "x"], [[1, 1, 1]], ["3", "9", "8"]))
    assert (result.reason, result.differing, result.example) == (Reason.PROMPTS_DIFFER, 2, "x")


@pytest.mark.parametrize("unscored", ["a", "b"])
def test_a_score_that_is_nan_refuses_the_pair_instead_of_leaving_the_mean(unscored: str) -> None:
    arms = [arm(name, ["x", "y"], [[1, math.nan if name == unscored else 0]]) for name in "ab"]
    result = refusal(arms[0], arms[1])
    assert (result.reason, result.example, result.unscored) == (Reason.UNSCORED, "y", 1)


def test_an_arm_that_is_not_a_table_of_unique_items_is_an_input_error() -> None:
    two, twice, flat = np.ones((1, 2)), ["x", "x"], np.ones(1)
    bad = [(twice, ["1", "2"], two), (["x", "y"], ["1"], two), (["x"], ["1"], two), (["x"], ["1"], flat)]
    for items, prompts, scores in [*bad, ([], [], np.ones((1, 0)))]:
        with pytest.raises(InputError):
            Arm(name="a", items=items, prompts=prompts, scores=scores)


@examples
@given(studies())
def test_exchanging_the_arms_exactly_negates_the_gap(study: Study) -> None:
    reference, treated, clusters = study
    there, back = gap(reference, treated, clusters), gap(treated, reference, clusters)
    assert (there.absolute, there.low, there.high) == (-back.absolute, -back.high, -back.low)
    assert there.called is back.called


@examples
@given(studies(), st.randoms(use_true_random=False))
def test_the_order_of_items_and_of_seeds_changes_no_bit(study: Study, random: Any) -> None:
    reference, treated, clusters = study
    order = random.sample(range(reference.shape[1]), reference.shape[1])
    moved = None if clusters is None else [clusters[i] for i in order]
    seeds = [random.sample(range(len(each)), len(each)) for each in (reference, treated)]
    left, right = reference[seeds[0]][:, order], treated[seeds[1]][:, order]
    expected = gap(reference, treated, clusters)
    assert gap(left, right, moved, seed=7) == expected
    assert gap(np.asfortranarray(left), np.asfortranarray(right), moved) == expected
    assert interval(left, moved) == interval(reference, clusters)


@examples
@given(studies())
def test_intervals_hold_their_estimate_and_stay_in_range(study: Study) -> None:
    reference, treated, clusters = study
    found = gap(reference, treated, clusters)
    assert -1 <= found.low <= found.absolute <= found.high <= 1
    if found.relative is not None:
        assert found.relative_low is not None and found.relative_high is not None
        assert -1 <= found.relative_low <= found.relative + 1e-9 <= found.relative_high + 2e-9
        # A relative finding is an absolute finding, and the other way round.
        edge = min(abs(found.low), abs(found.high)) < 1e-9
        assert edge or (found.relative_low > 0 or found.relative_high < 0) == found.called
    alone = interval(treated, clusters)
    assert 0 <= alone.low <= alone.mean <= alone.high <= 1


@examples
@given(studies())
def test_identical_arms_have_a_gap_of_exactly_zero_and_are_never_called(study: Study) -> None:
    reference, _, clusters = study
    found = gap(reference, reference.copy(), clusters)
    assert found.absolute == 0
    assert not found.called
    assert found.low == -found.high
    if found.relative_high is not None:
        assert found.relative_high >= found.high / found.reference


@examples
@given(studies())
def test_only_several_seeds_in_both_arms_support_a_claim_about_the_data(study: Study) -> None:
    reference, treated, clusters = study
    found = gap(reference, treated, clusters)
    assert found.seeds == min(len(reference), len(treated))
    assert (found.scope is Claim.DATA) == (len(reference) > 1 and len(treated) > 1)
    assert gap(reference[:1], treated, clusters).scope is Claim.CHECKPOINTS
    assert gap(reference, treated[:1], clusters).scope is Claim.CHECKPOINTS


def test_one_seed_without_clusters_is_the_paired_t_interval_of_scipy() -> None:
    g = rng(0, "paired t")
    reference, treated = g.random((1, 40)), g.random((1, 40))
    expected = stats.ttest_rel(treated[0], reference[0]).confidence_interval(0.9)
    found = gap(reference, treated, confidence=0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    alone = stats.ttest_1samp(treated[0], 0).confidence_interval(0.95)
    assert dataclasses.astuple(interval(treated))[1:] == pytest.approx((alone.low, alone.high))


def test_where_items_agree_on_the_gap_only_the_pooled_runs_remain() -> None:
    levels = np.linspace(0.3, 0.5, 50)
    shifts = np.array([0.0, 0.03, 0.04]), np.array([0.11, 0.10, 0.17])
    reference, treated = (levels + shift[:, None] for shift in shifts)
    treated[:, 0] += 1e-6  # some spread over items, so that the exact bound is not used
    expected = stats.ttest_ind(shifts[1], shifts[0]).confidence_interval()
    found = gap(reference, treated)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-5)
    assert found.degrees == pytest.approx(4, abs=1e-3)
    assert found.relative_low is not None and found.relative_high is not None
    assert found.relative_high - found.relative_low > (found.high - found.low) / found.reference
    # The same runs in both arms leave no spread over items; noise between runs is still wider than the bound.
    noisy = np.full((3, 50), 0.2) + 4 * shifts[1][:, None]
    same = stats.ttest_ind(noisy[:, 0], noisy[:, 0]).confidence_interval()
    assert gap(noisy, noisy).high == pytest.approx(same.high)


def test_the_crossed_variance_of_a_small_study_is_the_one_worked_out_by_hand() -> None:
    reference = np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    treated = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    # d = 1/2, 1/2, -1/2; run means 1/3, 1 and 1, 2/3; run x item residuals +-(1/6, 1/6, -1/3) in every run.
    item = (1 / 9 + 1 / 9 + 4 / 9) / 6
    seed = (2 * (1 / 3) ** 2 + 2 * (1 / 6) ** 2) / 2
    both = 4 * (6 / 36 / 6) / 2
    found = gap(reference, treated)
    assert found.standard_error == pytest.approx(math.sqrt(item + seed - both))
    assert found.degrees == pytest.approx((7 / 36) ** 2 / (item**2 / 2 + seed**2 / 2 + both**2 / 4))


def test_copies_of_an_item_in_one_cluster_count_once() -> None:
    g = rng(0, "copies")
    reference, treated = g.random((2, 30)), g.random((2, 30))
    copied, copied_treated = np.repeat(reference, 4, axis=1), np.repeat(treated, 4, axis=1)
    clusters = [f"passage {i // 4}" for i in range(120)]
    once, clustered = gap(reference, treated), gap(copied, copied_treated, clusters)
    assert (clustered.low, clustered.high) == pytest.approx((once.low, once.high))
    naive, honest = gap(copied[:1], copied_treated[:1]), gap(copied[:1], copied_treated[:1], clusters)
    assert naive.high - naive.low < 0.6 * (honest.high - honest.low)


def test_one_cluster_that_holds_nearly_all_items_allows_no_finding() -> None:
    g = rng(0, "dominant")
    reference, treated = g.random((1, 100)) * 0.1, 0.5 + g.random((1, 100)) * 0.1
    assert gap(reference, treated, ["big"] * 98 + ["small"] * 2).called is False
    assert gap(reference, treated, ["big"] * 50 + ["small"] * 50).called is True


@pytest.mark.parametrize(("items", "called"), [(1, False), (5, False), (6, True), (100, True)])
def test_a_gap_without_spread_needs_as_many_items_as_a_sign_test(items: int, called: bool) -> None:
    found = gap(np.zeros((1, items)), np.ones((1, items)))
    assert (found.absolute, found.high, found.called) == (1, 1, called)
    assert found.standard_error is found.relative is None


def test_one_item_or_one_cluster_gives_the_whole_range() -> None:
    g = rng(0, "one")
    one_item = gap(g.random((3, 1)), g.random((3, 1)))
    for found in (one_item, gap(g.random((2, 9)), g.random((2, 9)), ["all"] * 9)):
        assert (found.low, found.high, found.relative, found.degrees) == (-1, 1, None, None)
    assert dataclasses.astuple(interval(g.random((2, 9)), ["all"] * 9))[1:] == (0, 1)


def test_intervals_of_scores_are_clamped_and_no_solved_item_of_164_reads_as_up_to_two_percent() -> None:
    none = interval(np.zeros((1, 164)))
    assert (none.mean, none.low) == (0, 0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 164))
    few = interval(np.array([[1.0] + [0.0] * 19]))
    assert few.low == 0 < few.mean < few.high


@pytest.mark.parametrize("solved", [0, 1, 3])
def test_a_relative_gap_is_not_stated_over_a_reference_that_may_be_zero(solved: int) -> None:
    reference, treated = np.zeros((1, 200)), np.ones((1, 200))
    reference[0, :solved] = 1
    found = gap(reference, treated)
    assert found.called and (found.relative, found.relative_low, found.relative_high) == (None, None, None)
    assert gap(np.full((1, 200), 0.0099), treated).relative is None
    assert gap(np.full((1, 200), 0.0101), treated).relative is not None


def test_the_relative_interval_is_that_of_the_ratio_of_the_means() -> None:
    g = rng(0, "ratio")
    scale = 0.4 + 0.2 * g.random((1, 4000))
    found = gap(scale, 1.25 * scale)
    assert found.relative == pytest.approx(0.25)
    assert (found.relative_low, found.relative_high) == pytest.approx((0.25, 0.25), abs=1e-6)
    noisy = gap(scale, 1.25 * scale + 0.1 * g.random((1, 4000)))
    assert noisy.relative_low is not None and noisy.relative_high is not None
    assert noisy.relative_low < noisy.absolute / noisy.reference < noisy.relative_high


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_scores_outside_the_unit_interval_are_refused_with_their_place(bad: float) -> None:
    scores = np.full((2, 3), 0.5)
    scores[1, 2] = bad
    for call in (lambda: gap(scores, scores), lambda: interval(scores)):
        with pytest.raises(InputError, match="seed 1, item 2"):
            call()


def test_shapes_labels_and_confidences_that_make_no_sense_are_refused() -> None:
    fine = np.full((2, 3), 0.5)
    bad = [(fine, fine[:, :2], None, 0.95), (fine[0], fine[0], None, 0.95), (fine[:0], fine, None, 0.95)]
    for reference, treated, clusters, confidence in [*bad, (fine, fine, ["a"], 0.95), (fine, fine, None, 95)]:
        with pytest.raises(InputError):
            gap(reference, treated, clusters, confidence=confidence)


def same_data_twice(study: int, *, seeds: int, items: int, spread: float) -> list[Scores]:
    """Two arms trained on the same data: 0/1 answers, each run lucky or unlucky by `spread` (SD of its mean).

    Most items are nearly always solved or missed: about 9 % of the answers change from run to run.
    """
    g = rng(study, "null")
    solved = g.beta(0.12, 0.12, items)
    # A run's luck moves undecided items only; divided by their weight, it moves the mean by `spread`.
    undecided = 4 * solved * (1 - solved)
    luck = g.normal(0, spread / undecided.mean(), (2, seeds, 1))
    return list((g.random((2, seeds, items)) < solved + luck * undecided).astype(np.float64))


def test_same_data_is_called_at_the_nominal_rate_although_items_alone_would_call_it_often() -> None:
    trials, nominal = 600, 0.05
    wrong, wrong_items_only = 0, 0
    for study in range(trials):
        reference, treated = same_data_twice(study, seeds=3, items=1000, spread=0.008)
        wrong += gap(reference, treated).called
        # Averaged over seeds first, an arm looks like one run: pooling seeds does not help items-only tests.
        averaged = [each.mean(axis=0, keepdims=True) for each in (reference, treated)]
        wrong_items_only += gap(averaged[0], averaged[1]).called
    noise = math.sqrt(nominal * (1 - nominal) / trials)
    assert wrong / trials <= nominal + 2 * noise
    assert wrong_items_only / trials > 0.10


def test_a_real_difference_of_four_points_is_found_with_three_seeds() -> None:
    found = 0
    for study in range(100):
        reference, treated = same_data_twice(study, seeds=3, items=1000, spread=0.004)
        gained = rng(study, "gain").random(1000) < 0.12
        found += gap(reference, np.maximum(treated, gained)).called
    assert found >= 90
