"""Ranks as ranges: what all pairs together allow to say, and nothing that they do not."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from harness import compare
from harness.compare.ranks import Rank, ranks
from harness.errors import InputError


def table(rows: int, p: dict[tuple[int, int], float]) -> Any:
    """Return p-values of 0.5 but for those given; (i, j): row i is not above row j."""
    found = np.full((rows, rows), 0.5)
    for place, value in p.items():
        found[place] = value
        found[place[::-1]] = 1 - value
    return found


def test_one_row_is_first_and_no_row_has_no_rank() -> None:
    assert ranks(np.ones((1, 1))) == (Rank(best=1, worst=1, tied=()),)
    assert ranks(np.ones((0, 0))) == ()


def test_rows_that_nothing_tells_apart_share_all_ranks() -> None:
    found = ranks(table(4, {}))
    assert {(rank.best, rank.worst) for rank in found} == {(1, 4)}
    assert [rank.tied for rank in found] == [(1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2)]


def test_rows_that_all_differ_have_one_rank_each() -> None:
    found = ranks(table(3, dict.fromkeys([(0, 1), (0, 2), (1, 2)], 1e-9)))
    assert [(rank.best, rank.worst, rank.tied) for rank in found] == [(1, 1, ()), (2, 2, ()), (3, 3, ())]


def test_a_range_counts_those_that_were_called_above_and_below() -> None:
    """First and last differ, the middle one is told from neither: it may have any rank, the others two each."""
    found = ranks(table(3, {(0, 2): 1e-6}))
    assert [(rank.best, rank.worst) for rank in found] == [(1, 2), (1, 3), (2, 3)]
    assert [rank.tied for rank in found] == [(1,), (0, 2), (1,)]


def test_the_correction_is_over_both_directions_of_all_pairs() -> None:
    """Two rows: 2 hypotheses, so 0.025 one-sided, as a two-sided test at 0.05. Three: 6, so 0.05 / 6 for the first."""
    assert ranks(table(2, {(0, 1): 0.0249}))[0].worst == 1
    assert ranks(table(2, {(0, 1): 0.0251}))[0].worst == 2
    assert ranks(table(3, {(0, 1): 0.0083}))[0].worst == 2
    assert ranks(table(3, {(0, 1): 0.0084}))[0].worst == 3


def test_a_rejection_eases_the_next_one() -> None:
    """Holm: after one of 6, the next has to be below 0.05 / 5 alone."""
    assert [rank.worst for rank in ranks(table(3, {(0, 2): 0.008, (1, 2): 0.0099}))] == [2, 2, 3]
    assert [rank.worst for rank in ranks(table(3, {(0, 2): 0.008, (1, 2): 0.0101}))] == [2, 3, 3]


def test_rows_that_were_not_tested_count_in_the_correction_and_as_not_told_apart() -> None:
    found = ranks(table(2, {(0, 1): 0.05 / 12 - 1e-9}), among=4)
    assert [(rank.best, rank.worst) for rank in found] == [(1, 3), (2, 4)]
    assert ranks(table(2, {(0, 1): 0.05 / 12 + 1e-9}), among=4)[0].worst == 4


def test_the_order_of_rows_changes_nothing() -> None:
    draw = np.random.default_rng(0)
    given = draw.random((4, 4)) ** 6
    whole = ranks(given)
    for order in itertools.permutations(range(4)):
        turned = ranks(given[np.ix_(order, order)])
        assert [(one.best, one.worst) for one in turned] == [(whole[i].best, whole[i].worst) for i in order]


@pytest.mark.parametrize("given", [np.ones((2, 3)), np.full((2, 2), np.nan), np.full((2, 2), 1.5)])
def test_what_is_no_table_of_p_values_is_refused(given: Any) -> None:
    with pytest.raises(InputError):
        ranks(given)


def test_equal_rows_are_rarely_told_apart_and_ranges_hold_the_true_ranks() -> None:
    """Five rows over 200 items and 3 seeds; 100 studies: of a true 5 %, 13 or more in one of 500."""
    draw, wrong, rows, items = np.random.default_rng(1), 0, 5, 200
    effects = np.array([0.0, 0.0, 0.0, 0.03, 0.03])
    for _ in range(100):
        shared = draw.normal(size=items)
        arms = [
            (shared + draw.normal(size=(3, items)) + 3 * effect < 0.2 + 6 * effect).astype(float) for effect in effects
        ]
        not_above = np.ones((rows, rows))
        for i, j in itertools.permutations(range(rows), 2):
            not_above[i, j] = compare.gap(arms[j], arms[i]).p_value(alternative="greater")
        found = ranks(not_above)
        # True ranks: the two better rows share 1 and 2, the others 3 to 5.
        truth = [(3, 5)] * 3 + [(1, 2)] * 2
        wrong += any(one.worst < true[1] or one.best > true[0] for one, true in zip(found, truth, strict=True))
    assert wrong < 13
