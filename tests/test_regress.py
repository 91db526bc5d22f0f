"""The gate: its language, and what it says of simulated scores whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.commands.regress.language import Gate, Unit, parse
from harness.commands.regress.outcome import Outcome, Scores, Tested, judge
from harness.compare import Gap, Incomparable, Reason
from harness.errors import InputError

TASKS = ("mmlu", "bbh", "humaneval", "drop")

# --- the language ----------------------------------------------------------------------------------------


def test_a_gate_is_read_with_spaces_anywhere_and_both_units() -> None:
    gate = parse(" mmlu: -1%,bbh :-.5pt ,\n humaneval: + 2.5 %, *: -3 pt ", TASKS)
    assert [(one.task, one.amount, one.unit, one.text) for one in gate.checks] == [
        ("mmlu", -0.01, Unit.RELATIVE, "-1%"),
        ("bbh", pytest.approx(-0.005), Unit.POINTS, "-.5pt"),
        ("humaneval", pytest.approx(0.025), Unit.RELATIVE, "+2.5%"),
        ("*", -0.03, Unit.POINTS, "-3pt"),
    ]


def test_a_check_of_its_own_comes_before_the_star_and_without_either_a_task_is_not_gated() -> None:
    gate = parse("*: -3%, mmlu: -1%", TASKS)
    assert [one.text for name in ("mmlu", "bbh") if (one := gate.of(name))] == ["-1%", "-3%"]
    assert parse("mmlu: -1%", TASKS).of("bbh") is None


def test_a_definition_under_a_profile_is_gated_by_its_own_name_then_by_its_tasks() -> None:
    gate = parse("mmlu: -1%, mmlu_strict: -5%", [*TASKS, "mmlu_strict"])
    for names, text in ((("mmlu_strict", "mmlu"), "-5%"), (("mmlu_instructeval", "mmlu"), "-1%")):
        check = gate.of(*names)
        assert check is not None
        assert check.text == text


def test_a_margin_in_per_cent_is_of_the_reference_and_one_in_points_is_not() -> None:
    relative, points = parse("mmlu: -2%, bbh: -2pt", TASKS).checks
    assert relative.margin(0.5) == pytest.approx(-0.01)
    assert points.margin(0.5) == points.margin(0.1) == pytest.approx(-0.02)
    assert relative.words("old") == "a loss of at most 2 % of old's score"
    assert points.words("old") == "a loss of at most 2 points"
    assert parse("mmlu: +2%", TASKS).checks[0].words("old") == "a gain of at least 2 % of old's score"


@pytest.mark.parametrize(
    ("text", "mark", "expected"),
    [
        ("", "", "expected a check"),
        ("mmlu: -1%,", "", "expected a check"),
        ("mmlu", "", "expected ':'"),
        ("mmlu -1%", "", "expected ':'"),
        (": -1%", ": -1%", "expected the name of a task"),
        ("mmul: -1%", "mmul: -1%", "Did you mean 'mmlu'?"),
        ("MMLU: -1%", "MMLU: -1%", "no task that is asked is named 'MMLU'"),
        ("*: -3%, mmlu: 1%", "1%", "expected a sign: -1% is a loss that is tolerated, +1% a gain"),
        ("mmlu: -1", "", "expected '%' (of the reference's score) or 'pt'"),
        ("mmlu: -1pp", "-1pp", "expected a sign, a number and a unit"),
        ("mmlu: -1,5%", ",5%", "expected '%'"),
        ("mmlu: -1e-1%", "-1e-1%", "expected a sign, a number and a unit"),
        ("mmlu: -0%", "-0%", "a loss of nothing can never be shown"),
        ("mmlu: -100%", "-100%", "nothing can lose or gain as much"),
        ("mmlu: -1%, mmlu: -2%", "mmlu: -2%", "'mmlu' has a check already: '-1%'"),
        ("*: -1%, *: -2%", "*: -2%", "'*' has a check already"),
    ],
)
def test_a_fault_is_shown_at_its_place_with_what_was_expected(text: str, mark: str, expected: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(text, TASKS)
    _, shown, pointed, *_ = str(refused.value).split("\n")
    place = pointed.index("^")
    assert shown[place:] == mark
    assert expected in pointed


def test_all_faults_of_a_gate_are_reported_at_once() -> None:
    with pytest.raises(InputError) as refused:
        parse("mmul: -1%, bbh: 2%, drop -1%, humaneval: -1%", TASKS)
    assert str(refused.value).count("^") == 3


def test_control_characters_of_a_gate_are_not_repeated_to_the_terminal() -> None:
    with pytest.raises(InputError) as refused:
        parse("\x1b[31m: -1%", TASKS)
    assert "\x1b" not in str(refused.value)


# --- the tests -------------------------------------------------------------------------------------------


def simulated(
    *, items: int, seeds: int = 1, effect: float = 0.0, rate: float = 0.5, churn: float = 0.1, draw: int = 0
) -> Scores:
    """Return two arms that answer an item anew with probability `churn`; the true gap is `effect`."""
    random = np.random.default_rng(draw)
    base = random.random(items) < rate

    def arm(gain: float) -> Any:
        anew = random.random((seeds, items)) < churn
        return np.where(anew, random.random((seeds, items)) < rate + gain / churn, base).astype(float)

    return scores(arm(0.0), arm(effect))


def scores(reference: Any, treated: Any) -> Scores:
    """Return a pair whose items stand alone."""
    count = reference.shape[1]
    names = tuple(f"item-{number:05}" for number in range(count))
    return Scores(items=names, reference=reference, treated=treated, clusters=names, weights=np.ones(count))


def said(gate: str, **of: Scores | Incomparable) -> dict[str, Tested]:
    """Return what a gate says of tasks."""
    read: Gate = parse(gate, list(of))
    return {one.task: one for one in judge(of, {task: read.of(task) for task in of})}


@pytest.mark.parametrize("gate", ["*: -3%", "*: -1.5pt"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_loss_beyond_the_margin_regresses(gate: str, seeds: int) -> None:
    one = said(gate, mmlu=simulated(items=14_000, seeds=seeds, effect=-0.04))["mmlu"]
    assert one.outcome is Outcome.REGRESSED
    assert one.lost is not None
    assert one.lost < 0.001
    assert isinstance(one.gap, Gap)
    assert one.gap.absolute < (one.margin or 0.0) < 0


@pytest.mark.parametrize("gate", ["*: -3%", "*: -1.5pt"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_arms_with_enough_items_pass(gate: str, seeds: int) -> None:
    one = said(gate, mmlu=simulated(items=14_000, seeds=seeds))["mmlu"]
    assert one.outcome is Outcome.PASSED
    assert one.held is not None
    assert one.held < 0.05


@pytest.mark.parametrize("gate", ["*: -3%", "*: -1.5pt"])
def test_with_few_items_nothing_is_decided(gate: str) -> None:
    found = [said(gate, mmlu=simulated(items=30, draw=draw))["mmlu"].outcome for draw in range(60)]
    assert found.count(Outcome.INCONCLUSIVE) >= 54, "5 % may be wrong each way"


@pytest.mark.parametrize("gate", ["*: -3%", "*: -1.5pt"])
def test_a_handful_of_items_on_which_both_arms_agree_shows_nothing(gate: str) -> None:
    """Scaling by 1 + a gives equal answers a spread; a t test of that alone would pass six items."""
    same = np.array([[1.0, 0.0, 1.0, 1.0, 1.0, 1.0]])
    assert said(gate, mmlu=scores(same, same))["mmlu"].outcome is Outcome.INCONCLUSIVE


def test_a_loss_within_the_margin_passes_and_the_same_loss_regresses_under_a_smaller_one() -> None:
    lossy = simulated(items=14_000, effect=-0.01)
    assert said("*: -3pt", mmlu=lossy)["mmlu"].outcome is Outcome.PASSED
    assert said("*: -0.1pt", mmlu=lossy)["mmlu"].outcome is Outcome.REGRESSED


def test_a_loss_of_exactly_the_margin_is_hardly_ever_passed() -> None:
    """The size of the test: 5 % over one task, at the edge of what is allowed."""
    wrong = sum(
        said("*: -2pt", mmlu=simulated(items=2_000, effect=-0.02, draw=draw))["mmlu"].outcome is Outcome.PASSED
        for draw in range(300)
    )
    assert wrong <= 27, "15 expected, 3 standard deviations above"


def test_a_required_gain_passes_where_it_is_there_and_regresses_where_it_is_not() -> None:
    better = simulated(items=14_000, effect=0.04, rate=0.4)
    assert said("*: +2%", mmlu=better)["mmlu"].outcome is Outcome.PASSED
    assert said("*: +2%", mmlu=simulated(items=14_000))["mmlu"].outcome is Outcome.REGRESSED
    assert said("*: +2pt", mmlu=better)["mmlu"].outcome is Outcome.PASSED


def test_perfect_scores_can_be_gated_with_a_required_gain() -> None:
    ones = np.ones((1, 500))
    assert said("*: +2%", mmlu=scores(ones, ones))["mmlu"].outcome is not Outcome.PASSED


def test_more_tasks_ask_for_more_evidence() -> None:
    border = next(
        one
        for draw in range(200)
        if 0.03 < (said("*: -2pt", mmlu=(one := simulated(items=1_000, draw=draw)))["mmlu"].held or 1) < 0.05
    )
    alone = said("*: -2pt", mmlu=border)["mmlu"]
    beside = said("*: -2pt", mmlu=border, bbh=simulated(items=50))["mmlu"]
    assert alone.outcome is Outcome.PASSED
    assert beside.outcome is Outcome.INCONCLUSIVE
    assert alone.held is not None
    assert beside.held == pytest.approx(2 * alone.held)


def test_tasks_that_are_not_gated_are_reported_and_correct_nothing() -> None:
    gated, free = simulated(items=14_000), simulated(items=14_000, effect=-0.04)
    found = said("mmlu: -3%", mmlu=gated, bbh=free)
    assert found["bbh"].outcome is Outcome.NOT_GATED
    assert found["bbh"].held is found["bbh"].lost is None
    assert isinstance(found["bbh"].gap, Gap)
    assert found["mmlu"] == said("mmlu: -3%", mmlu=gated)["mmlu"]


def test_arms_that_do_not_pair_are_incomparable_where_gated_and_change_no_other_task() -> None:
    refused = Incomparable(reason=Reason.PROMPTS_DIFFER, example="x", message="asked differently")
    found = said("mmlu: -1%, bbh: -1%", mmlu=refused, bbh=simulated(items=14_000), drop=refused)
    assert found["mmlu"].outcome is Outcome.INCOMPARABLE
    assert found["drop"].outcome is Outcome.NOT_GATED
    assert found["bbh"].held == said("bbh: -1%", bbh=simulated(items=14_000))["bbh"].held


def test_items_that_changed_are_named_the_largest_change_first() -> None:
    reference = np.array([[1, 1, 0, 1, 0], [1, 1, 0, 1, 0], [1, 1, 0, 1, 1]], dtype=float)
    treated = np.array([[1, 0, 0, 0, 1], [1, 0, 1, 1, 1], [1, 0, 0, 1, 1]], dtype=float)
    flips = said("*: -3%", mmlu=scores(reference, treated))["mmlu"].flips
    assert flips is not None
    assert flips.lost == ("item-00001", "item-00003")
    assert flips.gained == ("item-00004", "item-00002")


def test_the_order_of_items_changes_nothing() -> None:
    one = simulated(items=500, effect=-0.02)
    back = Scores(
        items=one.items[::-1],
        reference=one.reference[:, ::-1],
        treated=one.treated[:, ::-1],
        clusters=list(one.clusters)[::-1],
        weights=one.weights,
    )
    assert said("*: -1%", mmlu=one) == said("*: -1%", mmlu=back)
