"""Power: what a design can see, against published figures, an exact case and simulation."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from harness.compare import Components, Design, Method, gap, judge, planned
from harness.compare.degrees import degrees_of, kurtosis_of
from harness.compare.power import chance, items_needed, seeds_needed, smallest, smallest_called
from harness.errors import InputError
from harness.randomness import rng

MMLU, BBH, DROP, HUMANEVAL = 14042, 6511, 9536, 164


@pytest.mark.parametrize(
    ("items", "expected"),
    [(MMLU, (0.7, 2.2, 1.3)), (BBH, (1.0, 2.7, 1.7)), (DROP, (0.9, 2.4, 1.5)), (HUMANEVAL, (6.6, 12.7, 8.8))],
)
def test_a_seed_paired_t_test_needs_the_published_effects(items: int, expected: tuple[float, float, float]) -> None:
    # The first table: 9 % of the items change and stay changed over the seeds; t test over S differences of runs.
    assert 100 * planned(Design(items=items, seeds=1)) == pytest.approx(expected[0], abs=0.05, rel=0.1)
    for seeds, effect in ((3, expected[1]), (5, expected[2])):
        design = Design(items=items, seeds=seeds, persists=1.0)
        assert 100 * planned(design, method=Method.PAIRED_RUNS) == pytest.approx(effect, abs=0.05, rel=0.1)
        assert planned(design, method=Method.ITEMS) == planned(Design(items=items, seeds=1))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (164, (9.6, 5.2, 3.4, 2.6)),
        (1000, (4.4, 2.4, 1.6, 1.2)),
        (6511, (2.7, 1.5, 1.0, 0.7)),
        (14042, (2.5, 1.3, 0.9, 0.7)),
    ],
)
def test_seeds_and_items_crossed_need_the_published_effects(items: int, expected: tuple[float, ...]) -> None:
    # The second table: 9 % of the items change from run to run; both arms' runs pooled.
    for seeds, effect in zip((2, 3, 5, 8), expected, strict=True):
        assert 100 * planned(Design(items=items, seeds=seeds)) == pytest.approx(effect, abs=0.05, rel=0.1)


def test_one_variance_with_few_degrees_of_freedom_is_the_noncentral_t() -> None:
    for degrees in (2.0, 4.0, 14.0):
        parts = Components(item_total=0.0004, item_degrees=degrees)
        threshold = stats.t.ppf(0.975, degrees)
        for effect in (0.02, 0.06, 0.1):
            exact = stats.nct.sf(threshold, degrees, effect / 0.02) + stats.nct.cdf(-threshold, degrees, effect / 0.02)
            assert chance(parts, effect) == pytest.approx(exact, abs=0.02)


def test_a_planned_effect_is_called_about_as_often_as_planned() -> None:
    seeds, items, trials = 3, 400, 300
    design = Design(items=items, seeds=seeds, seed_sd=0.01)
    effect, called = planned(design), 0
    for study in range(trials):
        g = rng(study, "power")
        # 9 % of the items change from run to run: variance .045 of one run's answer.
        arms = [0.5 + g.normal(0, math.sqrt(0.045), (seeds, items)) + g.normal(0, 0.01, (seeds, 1)) for _ in range(2)]
        arms[1] += effect
        called += gap(np.clip(arms[0] / 2 + 0.2, 0, 1), np.clip(arms[1] / 2 + 0.2, 0, 1)).called
    assert called / trials == pytest.approx(0.8, abs=3 * math.sqrt(0.16 / trials))


def test_more_seeds_and_more_items_never_need_a_larger_effect() -> None:
    by_seeds = [planned(Design(items=1000, seeds=seeds)) for seeds in range(2, 20)]
    by_items = [planned(Design(items=items, seeds=3)) for items in (50, 100, 1000, 10_000)]
    by_clusters = [planned(Design(items=1000, seeds=3, clusters=clusters)) for clusters in (3, 10, 100, 1000)]
    for effects in (by_seeds, by_items, by_clusters):
        assert effects == sorted(effects, reverse=True)
    for changed, kurtosis in itertools.product((0.005, 0.04, 0.3), (3.0, 40.0)):
        few = Design(items=10, seeds=2, changed=changed, kurtosis=kurtosis, persists=0.3)
        more_items = [planned(replace(few, items=items)) for items in (10, 20, 40, 80, 160, 640)]
        more_seeds = [planned(replace(few, seeds=seeds)) for seeds in range(2, 12)]
        assert more_items == sorted(more_items, reverse=True)
        assert more_seeds == sorted(more_seeds, reverse=True)
    assert planned(Design(items=1000, seeds=3, inflation=4.0)) > planned(Design(items=1000, seeds=3))
    assert planned(Design(items=1000, seeds=3, persists=1.0)) > planned(Design(items=1000, seeds=3))


# --- where a gap is larger than what changes anyway ---------------------------------------------------------


def test_a_gap_cannot_be_smaller_than_the_items_that_it_takes_to_show_one() -> None:
    # Of 40 items 6 have to change one way, as by an exact sign test, however few change between two runs.
    for changed in (0.001, 0.01, 0.04):
        assert 6 / 40 < planned(Design(items=40, seeds=1, changed=changed)) < 0.25
    # At 20 changes among 14,042 items there is no such limit.
    assert planned(Design(items=MMLU, seeds=1, changed=0.01)) == pytest.approx(2.8 * math.sqrt(0.01 / MMLU), rel=0.02)


@pytest.mark.parametrize(("items", "seeds"), [(20, 3), (40, 1), (40, 3), (40, 5), (100, 3)])
@pytest.mark.parametrize("stay", [True, False])
def test_a_gap_among_few_items_is_called_about_as_often_as_planned(items: int, seeds: int, stay: bool) -> None:
    # Two runs differ on 4 % of the items, and these are few of all: what pocket MMLU was measured with at 210 items.
    effect = planned(Design(items=items, seeds=seeds, changed=0.04, kurtosis=39.0, persists=0.3, seed_sd=0.007))
    called, trials = 0, 200
    for study in range(trials):
        g = rng(study, "few items")
        stays, changes = g.random((2, 1, items)) < 0.006, g.random((2, seeds, items)) < 0.014
        arms = (stays | changes).astype(float)
        arms[1] = np.maximum(arms[1], g.random((1 if stay else seeds, items)) < effect)
        called += gap(arms[0], arms[1]).low > 0
    assert called / trials >= 0.75, "of one kind or the other, the items that a gap takes stay the same or do not"
    if stay:
        assert called / trials <= 0.95


def test_the_kurtosis_behind_degrees_of_freedom_gives_them_back() -> None:
    for effective, degrees in itertools.product((12.0, 57.3, 210.0, 14042.0), (2.0, 5.75, 9.5)):
        assert degrees_of(effective, kurtosis_of(effective, degrees) / effective) == pytest.approx(degrees)
        assert kurtosis_of(effective, effective - 1) == 3.0
    # 8 equal changes among very many items: as many degrees of freedom.
    assert degrees_of(1e9, 1 / 8) == pytest.approx(8, rel=1e-3)
    assert degrees_of(1.5, 0.9) == 0.5


def noisy(seeds: int, *, items: int = 500, luck: float = 0.01) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    g = rng(seeds, "noisy")
    arms = [0.5 + g.normal(0, 0.1, (seeds, items)) + g.normal(0, luck, (seeds, 1)) for _ in range(2)]
    return np.clip(arms[0], 0, 1), np.clip(arms[1], 0, 1)


def test_the_seeds_and_items_needed_are_the_fewest_that_do() -> None:
    found = gap(*noisy(3))
    effect = smallest_called(found)
    assert effect is not None
    seeds = seeds_needed(found, effect * 0.999)
    assert seeds is not None and seeds > 3
    assert seeds_needed(found, effect * 1.001) in (2, 3)
    # Without training luck items decide alone; with it there is an end to what they can do.
    lucky = gap(*noisy(3, luck=0.0))
    assert lucky.components is not None
    needed = items_needed(lucky, 0.002)
    assert needed is None or needed > 500
    assert items_needed(gap(*noisy(3, luck=0.05)), 0.002) is None
    assert seeds_needed(gap(*noisy(3, luck=0.2)), 0.001) is None


def test_what_a_study_sees_already_needs_no_more_seeds_or_items() -> None:
    negative = 0
    for study in range(40):
        g = rng(study, "small")
        seeds, solved = 2 + study % 3, g.beta(0.5, 0.5, 120)
        found = gap(*((g.random((seeds, 120)) < solved).astype(float) for _ in range(2)))
        effect = smallest_called(found)
        assert found.components is not None and effect is not None
        negative += found.components.item == 0  # less variance over items than run x item noise explains
        assert (seeds_needed(found, effect * 1.001) or math.inf) <= seeds
        assert (items_needed(found, effect * 1.001) or math.inf) <= 120
    assert negative > 10


def test_one_run_assumes_training_luck_and_says_so() -> None:
    found = gap(*noisy(1, items=5000))
    one = judge({"task": found}, margin=0.01).tasks["task"]
    assert one.seeds_assumed and one.seeds_needed is not None and one.seeds_needed >= 2
    assert one.smallest == smallest_called(found)
    assert not judge({"task": gap(*noisy(3))}).tasks["task"].seeds_assumed


def test_where_nothing_varied_or_one_cluster_holds_all_nothing_is_promised() -> None:
    for found in (gap(np.zeros((2, 9)), np.zeros((2, 9))), gap(np.zeros((2, 9)), np.ones((2, 9)), ["a"] * 9)):
        assert smallest_called(found) is seeds_needed(found, 0.1) is items_needed(found, 0.1) is None
    assert seeds_needed(gap(*noisy(3)), 0.0) is None
    assert smallest(Components(item_total=0.0, item_degrees=5.0)) == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"items": 1},
        {"seeds": 0},
        {"clusters": 1},
        {"clusters": 101},
        {"changed": 0.0},
        {"seed_sd": 1.3},
        {"persists": 2.0},
        {"inflation": 0.5},
        {"kurtosis": 2.0},
        {"kurtosis": math.inf},
    ],
)
def test_a_design_that_is_none_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Design(**({"items": 100, "seeds": 3} | bad))  # type: ignore[arg-type]
