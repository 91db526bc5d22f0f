"""A quick grid of simulated studies whose truth is known; the full one is `benchmarks/calibration.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from harness.compare.calibration import Calibration, Cell, Clusters, Generator, simulate, sizes

STUDIES = 100
SPREADS = (0.0, 0.004, 0.013)
KINDS = ((Generator.ADDITIVE, Clusters.NONE), (Generator.LOW, Clusters.SUBTASKS), (Generator.HIGH, Clusters.NONE))
POWER = {2: 0.50, 3: 0.75, 5: 0.88, 8: 0.91}


def grid(seeds: int, treated: int | None = None) -> list[Calibration]:
    """Return what happened in the cells of one number of seeds."""
    return [
        simulate(
            Cell(generator=kind, seeds=seeds, items=164, seed_sd=spread, clusters=clusters, treated_seeds=treated),
            STUDIES,
        )
        for kind, clusters in KINDS
        for spread in SPREADS
    ]


def slack(share: float, studies: int) -> float:
    """Return three standard errors of a simulated share."""
    return 3 * math.sqrt(share * (1 - share) / studies)


def over_all(found: Sequence[Calibration], what: str) -> float:
    return float(np.mean([getattr(one, what) for one in found]))


@pytest.mark.parametrize(("seeds", "treated"), [(2, None), (3, None), (5, None), (8, None), (2, 5)])
def test_equal_arms_are_rarely_called_and_planted_effects_are_covered_and_found(
    seeds: int, treated: int | None
) -> None:
    found = grid(seeds, treated)
    whole = sum(one.studies for one in found)
    assert over_all(found, "false") <= 0.055 + slack(0.055, whole)
    assert max(one.false for one in found) <= 0.055 + slack(0.055, STUDIES) * 1.2
    for what in ("same_items", "new_items"):
        assert over_all(found, what) >= 0.94 - slack(0.94, whole)
        assert min(getattr(one, what) for one in found) >= 0.94 - slack(0.94, STUDIES) * 1.2
    assert over_all(found, "about_data") == 1
    if treated is None:
        assert over_all(found, "power") >= POWER[seeds] - slack(POWER[seeds], whole)


def test_one_seed_never_yields_a_claim_about_the_data_and_would_be_wrong_if_it_did() -> None:
    cell = Cell(generator=Generator.ADDITIVE, seeds=1, items=1000, seed_sd=0.008)
    alone, several = (
        simulate(cell, 60),
        simulate(Cell(generator=Generator.ADDITIVE, seeds=1, items=1000, seed_sd=0.008, treated_seeds=5), 20),
    )
    assert alone.about_data == several.about_data == 0
    assert alone.false > 0.3


def test_a_planted_effect_is_four_true_standard_errors() -> None:
    # Additive, without clusters or training luck: the standard error is known on paper.
    cell = Cell(generator=Generator.ADDITIVE, seeds=4, items=400, seed_sd=0.0)
    runs = 2 / 4 * (0.08**2 + 0.01**2) / 400
    items = (0.06**2 + 0.01**2) / 400
    assert simulate(cell, 1).effect == pytest.approx(4 * math.sqrt(runs + items), rel=0.02)


def test_clusters_hold_all_items_and_are_unequal_where_they_say_so() -> None:
    for kind, count in ((Clusters.SUBJECTS, 57), (Clusters.SUBTASKS, 27), (Clusters.FEW, 8)):
        found = sizes(Cell(generator=Generator.LOW, seeds=2, items=6511, seed_sd=0.0, clusters=kind))
        assert (sum(found), len(found)) == (6511, count)
        assert max(found) > 5 * min(found) > 0


def test_a_simulation_gives_the_same_counts_again() -> None:
    cell = Cell(generator=Generator.MIDDLE, seeds=2, items=164, seed_sd=0.004, clusters=Clusters.FEW)
    assert simulate(cell, 10) == simulate(cell, 10)
    assert simulate(cell, 10, first=10) != simulate(cell, 10)
