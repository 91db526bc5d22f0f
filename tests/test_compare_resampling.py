"""One pair of checkpoints, and the crossed bootstrap as a check on the closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from harness.compare import bootstrap as module
from harness.compare import crossed, flipped, gap, mcnemar, paired_bootstrap
from harness.errors import InputError
from harness.randomness import rng

Scores = NDArray[np.float64]


def solved(seeds: int, items: int, name: str, lift: float = 0.0) -> Scores:
    """Return 0/1 answers to items of which most are nearly always solved or missed."""
    level = rng(0, "level").normal(0, 3, items)
    return (rng(0, name).random((seeds, items)) < 1 / (1 + np.exp(-level - lift))).astype(np.float64)


def test_five_gained_and_none_lost_of_164_is_the_published_p_value() -> None:
    reference, treated = np.zeros(164), np.zeros(164)
    reference[:15], treated[:20] = 1, 1
    found = mcnemar(reference, treated)
    assert (found.gained, found.lost, found.p_value) == (5, 0, 0.0625)
    # The interval of the gap says the same: not called, although a t interval over 164 items would be.
    whole = gap(reference[None, :], treated[None, :])
    assert not whole.called
    assert stats.ttest_rel(treated, reference).pvalue < 0.05


@settings(deadline=None, max_examples=50, derandomize=True, database=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test_and_the_same_both_ways(gained: int, lost: int) -> None:
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert flipped(gained, lost) == pytest.approx(expected)
    assert flipped(gained, lost) == flipped(lost, gained)


def test_mcnemar_refuses_partial_credit_and_unequal_shapes_by_name() -> None:
    with pytest.raises(InputError, match=r"treated: score 0.5 of item 1 is neither 0 nor 1"):
        mcnemar(np.zeros(3), np.array([0, 0.5, 1]))
    with pytest.raises(InputError, match="pair the arms first"):
        mcnemar(np.zeros(3), np.zeros(4))
    with pytest.raises(InputError, match="the scores of one run"):
        mcnemar(np.zeros((2, 3)), np.zeros((2, 3)))


def test_a_paired_bootstrap_of_one_pair_has_the_width_of_the_paired_t_interval() -> None:
    reference, treated = solved(1, 2000, "one")[0], solved(1, 2000, "two")[0]
    found, expected = paired_bootstrap(reference, treated, seed=0), stats.ttest_rel(treated, reference)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.0015)


def test_clusters_that_repeat_an_item_widen_the_bootstrap_by_their_size() -> None:
    reference, treated = solved(1, 400, "one"), solved(1, 400, "two")
    copies = np.repeat(reference, 9, axis=1)[0], np.repeat(treated, 9, axis=1)[0]
    alone = paired_bootstrap(*copies, seed=0)
    together = paired_bootstrap(*copies, np.repeat(np.arange(400), 9), seed=0)
    assert together.standard_error / alone.standard_error == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("seeds", [(5, 5), (2, 4), (1, 3)])
def test_the_short_way_for_answers_of_zero_and_one_draws_the_same_distribution(seeds: tuple[int, int]) -> None:
    reference, treated = solved(seeds[0], 700, "short"), solved(seeds[1], 700, "way", lift=0.4)
    short = crossed(reference, treated, seed=0, resamples=20_000)
    # The same scores, told to the method as partial credit.
    long = crossed(reference * 0.5, treated * 0.5, seed=1, resamples=20_000)
    assert short.standard_error == pytest.approx(2 * long.standard_error, rel=0.03)
    assert (short.low, short.high) == pytest.approx((2 * long.low, 2 * long.high), abs=0.003)
    assert (short.relative_low, short.relative_high) == pytest.approx(
        (long.relative_low, long.relative_high), abs=0.006
    )


def test_the_crossed_bootstrap_has_the_variance_that_it_should() -> None:
    """The expected variance: that of items, (S - 1)/S of that of runs, and their interaction in both."""
    g = rng(0, "components")
    seeds, items = 6, 300
    arms = [
        0.5 + g.normal(0, 0.05, items) + g.normal(0, 0.02, (seeds, 1)) + g.normal(0, 0.05, (seeds, items))
        for _ in range(2)
    ]
    found = crossed(arms[0], arms[1], seed=0, resamples=20_000)
    per_item = (arms[1].mean(axis=0) - arms[0].mean(axis=0)).var() / items
    runs = sum(arm.mean(axis=1).var() for arm in arms) / seeds
    rest = sum(float(((arm - arm.mean(1)[:, None] - arm.mean(0) + arm.mean()) ** 2).mean()) for arm in arms) / (
        seeds * items
    )
    assert found.standard_error == pytest.approx(math.sqrt(per_item + runs + rest), rel=0.03)


def test_with_many_runs_the_bootstrap_agrees_with_the_closed_form_on_both_gaps() -> None:
    g = rng(0, "many")
    luck = [g.normal(0, 0.01, (12, 1)) for _ in range(2)]
    arms = [0.4 + shift + each + g.normal(0, 0.05, (12, 800)) for shift, each in zip((0.0, 0.03), luck, strict=True)]
    closed, drawn = gap(arms[0], arms[1]), crossed(arms[0], arms[1], seed=0)
    assert (drawn.low, drawn.high) == pytest.approx((closed.low, closed.high), abs=0.002)
    assert closed.relative_low is not None
    assert (drawn.relative_low, drawn.relative_high) == pytest.approx(
        (closed.relative_low, closed.relative_high), abs=0.005
    )


def test_the_bootstrap_is_the_same_for_a_seed_and_another_for_another() -> None:
    for factor in (1.0, 0.5):
        reference, treated = factor * solved(3, 100, "a"), factor * solved(3, 100, "b")
        once = crossed(reference, treated, seed=3, resamples=500)
        assert crossed(reference, treated, seed=3, resamples=500) == once
        assert crossed(reference, treated, seed=4, resamples=500) != once


def test_the_bootstrap_in_parts_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, treated = solved(2, 50, "a"), solved(2, 50, "b")
    for factor in (1.0, 0.5):
        whole = crossed(factor * reference, factor * treated, seed=0, resamples=3000)
        monkeypatch.setattr(module, "CELLS", 7000)
        parts = crossed(factor * reference, factor * treated, seed=0, resamples=3000)
        monkeypatch.undo()
        assert parts.resamples == 3000
        assert parts.standard_error == pytest.approx(whole.standard_error, rel=0.1)


def test_a_reference_that_may_be_drawn_as_zero_has_no_relative_interval() -> None:
    reference, treated = np.zeros((2, 50)), np.ones((2, 50))
    reference[0, 0] = 1
    found = crossed(reference, treated, seed=0, resamples=200)
    assert (found.relative_low, found.relative_high) == (None, None)
    for bad in (np.full((2, 3), math.nan), np.zeros(3), np.full((2, 3), 2.0)):
        with pytest.raises(InputError):
            crossed(bad, bad, seed=0)
    with pytest.raises(InputError, match="pair the arms first"):
        crossed(np.zeros((2, 3)), np.zeros((2, 4)), seed=0)
    for asked in ({"resamples": 1}, {"confidence": 1.5}, {"confidence": math.nan}):
        with pytest.raises(InputError, match="resamples at confidence"):
            crossed(np.zeros((2, 3)), np.zeros((2, 3)), seed=0, **asked)
