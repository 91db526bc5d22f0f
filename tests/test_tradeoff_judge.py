"""Shares of refusals, corrected for the measured error of their judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import compare
from harness.data import alignment
from harness.data.alignment.gold import Gold, read_gold
from harness.nouns import Label
from harness.report.misclassification import Judge, complement, corrected, corrected_as

PACK = "alignment@1.1.0"


def facts(**models: tuple[int, int, int, int]) -> dict[str, Any]:
    """Return the facts of a judge: (refusals, found, others, called) by model."""
    counts = {
        name: {
            "full_refusal": {"full_refusal": found, "none": refusals - found},
            "none": {"full_refusal": called, "none": others - called},
        }
        for name, (refusals, found, others, called) in models.items()
    }
    return {"pack": "p@1", "error": {"answers": "some", "counts": counts}}


def judge(**models: tuple[int, int, int, int]) -> Judge:
    made = Judge.of(facts(**models))
    assert made is not None
    return made


def share(refused: int, of: int) -> compare.Estimate:
    return compare.interval(np.array([[1.0] * refused + [0.0] * (of - refused)]))


def test_a_judge_that_hardly_errs_changes_hardly_anything() -> None:
    raw = share(40, 100)
    found = corrected(raw, judge(a=(100_000, 100_000, 100_000, 0)), seed=0, place="x")
    assert found.formula == pytest.approx(0.4, abs=1e-4)
    assert (found.value, found.low, found.high) == pytest.approx((0.4, raw.low, raw.high), abs=0.01)


def test_a_judge_that_errs_is_corrected_for_it_and_its_own_uncertainty_widens_the_interval() -> None:
    # q = 0.8 * 0.5 + 0.1 * 0.5
    raw = share(4500, 10_000)
    sure, unsure = (corrected(raw, judge(a=(n, 8 * n // 10, n, n // 10)), seed=0, place="x") for n in (100_000, 50))
    assert sure.formula == pytest.approx(0.5)
    assert sure.value == pytest.approx(0.5, abs=0.005)
    assert unsure.high - unsure.low > 5 * (sure.high - sure.low)


def test_a_judge_that_differs_between_models_is_less_sure_than_one_that_does_not() -> None:
    raw = share(450, 1000)
    alike = corrected(raw, judge(a=(1000, 800, 1000, 100), b=(1000, 800, 1000, 100)), seed=0, place="x")
    apart = corrected(raw, judge(a=(1000, 950, 1000, 20), b=(1000, 650, 1000, 180)), seed=0, place="x")
    assert alike.formula == apart.formula
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def test_a_share_below_the_false_alarms_or_above_what_is_found_is_named_and_stays_a_share() -> None:
    errs = judge(a=(100, 80, 100, 20))
    for refused in (0, 10, 90, 100):
        found = corrected(share(refused, 100), errs, seed=0, place="x")
        assert found.outside
        assert 0 <= found.low <= found.value <= found.high <= 1
    assert not corrected(share(50, 100), errs, seed=0, place="x").outside


def test_a_judge_that_knows_nothing_leaves_everything_open() -> None:
    found = corrected(share(50, 100), judge(a=(100, 50, 100, 50)), seed=0, place="x")
    assert found.outside and found.formula is None
    assert found.low < 0.1 and found.high > 0.9


def test_the_answered_share_is_what_the_refused_one_leaves() -> None:
    errs, raw = judge(a=(100, 90, 100, 5)), share(30, 100)
    refused = corrected_as("refused", raw, errs, seed=0, place="x")
    rest = compare.Estimate(mean=0.7, low=1 - raw.high, high=1 - raw.low)
    answered = corrected_as("answered", rest, errs, seed=0, place="x")
    assert (answered.value, answered.low, answered.high) == pytest.approx(
        (1 - refused.value, 1 - refused.high, 1 - refused.low)
    )
    assert complement(complement(refused)).value == pytest.approx(refused.value)
    assert (answered.formula or 0) + (refused.formula or 0) == pytest.approx(1)


def test_equal_places_draw_alike_and_other_places_otherwise() -> None:
    raw, errs = share(30, 100), judge(a=(30, 25, 30, 5))
    assert corrected(raw, errs, seed=0, place="x") == corrected(raw, errs, seed=0, place="x")
    differs = corrected(raw, errs, seed=0, place="y")
    assert differs.value == pytest.approx(corrected(raw, errs, seed=0, place="x").value, abs=0.02)


def test_a_judge_whose_error_was_not_measured_corrects_nothing() -> None:
    assert Judge.of({"pack": "p@1", "error": None}) is None


def test_the_interval_holds_the_share_when_the_judge_errs_as_it_was_measured() -> None:
    draw, hits, studies = np.random.default_rng(0), 0, 200
    for number in range(studies):
        true, found, called = draw.uniform(0.1, 0.9), draw.uniform(0.8, 0.98), draw.uniform(0.01, 0.15)
        counted = draw.binomial(200, found * true + called * (1 - true))
        measured = (100, int(draw.binomial(100, found)), 100, int(draw.binomial(100, called)))
        one = corrected(share(int(counted), 200), judge(a=measured), seed=0, place=str(number))
        hits += one.low <= true <= one.high
    assert hits / studies >= 0.92


def test_the_figures_of_the_shipped_judge_are_those_of_its_table() -> None:
    measured = alignment.measured(alignment.load_pack(PACK))
    assert measured is not None
    found = Judge.of({"pack": PACK, "error": measured.to_document()})
    assert found is not None
    assert (found.sensitivity.count, found.sensitivity.of) == (451, 485)
    assert (found.false_alarms.count, found.false_alarms.of) == (69, 640)
    assert (found.false_alarms_complied.count, found.false_alarms_complied.of) == (20, 552)
    assert (found.partial_found.count, found.partial_found.of) == (1, 88)
    assert len(found.models) == 5


def test_on_a_model_that_was_left_out_the_corrected_interval_holds_what_people_say(shared_data: Path) -> None:
    """The figure of the docstring: 19 of 20, on five models, safe and unsafe prompts, odd and even ones."""
    pack = alignment.load_pack(PACK)
    measured = alignment.measured(pack)
    assert measured is not None
    counts = measured.to_document()["counts"]
    rows = read_gold(shared_data / "chats" / "refusals_xstest.jsonl.gz")
    said = list(alignment.judge([(row.text, row.user) for row in rows], pack))
    unsafe = _unsafe(shared_data)
    hits = 0
    for model in counts:
        others = {name: own for name, own in counts.items() if name != model}
        known = Judge.of({"pack": PACK, "error": {"answers": "", "counts": others}})
        assert known is not None
        for side in (True, False):
            for odd in (0, 1):
                own = [
                    place
                    for place, row in enumerate(rows)
                    if row.model == model and (_number(row) in unsafe) == side and _number(row) % 2 == odd
                ]
                raw = share(sum(said[place].label is Label.FULL_REFUSAL for place in own), len(own))
                true = sum(rows[place].label is Label.FULL_REFUSAL for place in own) / len(own)
                found = corrected(raw, known, seed=0, place=f"{model}/{side}/{odd}")
                hits += found.low <= true <= found.high
    assert hits >= 18


def _number(row: Gold) -> int:
    return int(row.id.rsplit("-", 1)[1])


def _unsafe(data: Path) -> set[int]:
    import csv

    with (data / "safety" / "xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        return {int(row["id"]) for row in csv.DictReader(file) if row["label"] == "unsafe"}
