"""Verdicts: what is said of a gap over several tasks, and the p-values it rests on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.compare import (
    Claim,
    Gap,
    Incomparable,
    Overall,
    Reason,
    Verdict,
    Why,
    equivalence,
    gap,
    holm,
    judge,
)
from harness.errors import InputError
from harness.randomness import rng

Scores = NDArray[np.float64]
examples = settings(deadline=None, max_examples=100, derandomize=True, database=None)
APART = Incomparable(reason=Reason.ITEMS_DIFFER, example="x", message="1 item is only in 'a'.", only_reference=1)


def measured(shift: float, *, noise: float = 0.01, seeds: int = 3, items: int = 400, name: str = "one") -> Gap:
    """Return the gap of two arms whose items and runs scatter by `noise` around 0.5 and 0.5 + shift, exactly."""
    arms = []
    for arm in ("reference", "treated"):
        scatter = rng(0, name, arm).normal(0, noise, (seeds, items))
        scatter += rng(1, name, arm).normal(0, noise / 4, (seeds, 1))
        arms.append(0.5 + scatter - scatter.mean() + (shift if arm == "treated" else 0.0))
    return gap(arms[0], arms[1])


@st.composite
def gaps(draw: st.DrawFn) -> Gap:
    """A gap of any kind: few or many items, clusters, ties, one seed or several."""
    g = rng(draw(st.integers(0, 10**6)), "gap")
    items, levels = draw(st.integers(1, 30)), draw(st.sampled_from([1, 3, 1000]))
    sizes = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    arms = [np.round(g.random((size, items)) * levels) / levels for size in sizes]
    if draw(st.booleans()):
        arms[1] = np.full_like(arms[1], draw(st.sampled_from([0.0, 1.0])))
        arms[0] = np.full_like(arms[0], draw(st.sampled_from([0.0, 0.25, 1.0])))
    clusters = [f"c{i}" for i in g.integers(0, 5, items)] if draw(st.booleans()) else None
    return gap(arms[0], arms[1], clusters, confidence=draw(st.sampled_from([0.8, 0.95, 0.999])))


@examples
@given(gaps(), st.floats(-1, 1))
def test_the_p_value_is_below_the_level_exactly_where_the_interval_excludes_the_shift(found: Gap, shift: float) -> None:
    level = 1 - found.confidence
    for value in (0.0, shift, found.low, found.high, math.nextafter(found.low, -2), math.nextafter(found.high, 2)):
        excluded = value < found.low or value > found.high
        assert (found.p_value(shift=value) < level) is excluded
    assert (found.p_value() < level) is found.called


@examples
@given(gaps(), st.floats(-1, 1), st.floats(0, 1))
def test_p_values_fall_with_distance_and_the_two_sides_complete_each_other(
    found: Gap, shift: float, further: float
) -> None:
    away = shift + further if shift >= found.absolute else shift - further
    assert found.p_value(shift=away) <= found.p_value(shift=shift) + 1e-12
    above = found.p_value(shift=shift, alternative="greater")
    below = found.p_value(shift=shift, alternative="less")
    if found.components is None:
        assert above == below == found.p_value(shift=shift) == 1
    else:
        assert above + below == pytest.approx(1)
        assert found.p_value(shift=shift) == pytest.approx(2 * min(above, below))


@examples
@given(gaps(), st.floats(1e-9, 0.9))
def test_the_p_value_inverts_the_half_width_at_every_level(found: Gap, alpha: float) -> None:
    if found.components is None or not found.components.half_width(alpha) > 0:
        return
    assert found.components.p_value(found.components.half_width(alpha)) == pytest.approx(alpha, rel=1e-6)


def test_the_exact_bound_is_inverted_in_closed_form() -> None:
    # 6 of 6 items gained: 2 / 2^6; none of 164 changed: a gap of 2 points in unseen items.
    gained = gap(np.zeros((1, 6)), np.ones((1, 6)))
    assert gained.p_value() == pytest.approx(2 / 2**6)
    assert gap(np.zeros((1, 5)), np.ones((1, 5))).p_value() == pytest.approx(2 / 2**5)
    same = gap(np.zeros((1, 164)), np.zeros((1, 164)))
    assert same.p_value() == 1
    assert same.p_value(shift=0.02) == pytest.approx(2 * 0.98**164)
    assert same.p_value(shift=-0.02, alternative="greater") == pytest.approx(0.98**164)


def test_one_cluster_has_p_values_of_one() -> None:
    found = gap(np.zeros((2, 9)), np.ones((2, 9)), ["all"] * 9)
    for alternative in ("two-sided", "greater", "less"):
        assert found.p_value(alternative=alternative) == 1  # type: ignore[arg-type]


def test_holm_orders_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_each_verdict_is_given_where_it_belongs() -> None:
    judged = judge({"up": measured(0.03), "down": measured(-0.03), "same": measured(0.0), "apart": APART}, margin=0.01)
    verdicts = {task: one.verdict for task, one in judged.tasks.items()}
    assert verdicts == {
        "up": Verdict.IMPROVED,
        "down": Verdict.REGRESSED,
        "same": Verdict.EQUIVALENT,
        "apart": Verdict.INCOMPARABLE,
    }
    assert (judged.study, judged.why) == (Verdict.INCONCLUSIVE, Overall.DISAGREE)
    wide = judge({"wide": measured(0.0, noise=0.1)}, margin=0.001)
    assert (wide.tasks["wide"].verdict, wide.tasks["wide"].why) == (Verdict.INCONCLUSIVE, Why.TOO_UNCERTAIN)
    tiny = judge({"tiny": measured(0.005, noise=0.001)}, margin=0.01)
    assert (tiny.study, tiny.tasks["tiny"].why) == (Verdict.IMPROVED, Why.CALLED_WITHIN_MARGIN)


def test_a_margin_of_its_own_decides_the_task() -> None:
    found = {"a": measured(0.0), "b": measured(0.0)}
    judged = judge(found, margin=0.0001, margins={"b": 0.05})
    assert [judged.tasks[task].verdict for task in "ab"] == [Verdict.INCONCLUSIVE, Verdict.EQUIVALENT]
    assert (judged.tasks["a"].margin, judged.tasks["b"].margin) == (0.0001, 0.05)
    assert judge({"a": measured(0.0)}, margin=0.0).tasks["a"].verdict is Verdict.INCONCLUSIVE


def shifted_to(p: float, name: str) -> Gap:
    """Return a gap above 0 whose two-sided p-value is about `p`."""
    low, high = 0.0, 0.2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if measured(middle, name=name, items=50).p_value() > p else (low, middle)
    return measured(high, name=name, items=50)


def test_what_is_found_alone_may_not_survive_the_correction_over_tasks() -> None:
    weak = shifted_to(0.03, "weak")
    assert judge({"weak": weak}, margin=0.0).tasks["weak"].verdict is Verdict.IMPROVED
    judged = judge({"weak": weak, "null": measured(0.0, name="null")}, margin=0.0)
    assert judged.tasks["weak"].adjusted == pytest.approx(0.06, abs=0.001)
    assert (judged.tasks["weak"].verdict, judged.tasks["weak"].why) == (
        Verdict.INCONCLUSIVE,
        Why.NOT_AFTER_CORRECTION,
    )


def test_a_primary_task_is_tested_alone_and_opens_the_gate_for_the_others() -> None:
    weak, strong = shifted_to(0.03, "weak"), measured(0.05)
    first = judge({"weak": weak, "strong": strong}, margin=0.0, primary="weak")
    assert first.tasks["weak"].verdict is first.tasks["strong"].verdict is first.study is Verdict.IMPROVED
    assert first.tasks["weak"].adjusted == first.tasks["weak"].p_value
    assert first.tasks["strong"].adjusted == first.tasks["weak"].p_value
    assert (first.primary, first.why) == ("weak", Overall.PRIMARY)
    closed = judge({"null": measured(0.0, noise=0.05), "strong": strong}, margin=0.0, primary="null")
    assert closed.tasks["strong"].verdict is closed.study is Verdict.INCONCLUSIVE
    assert closed.tasks["strong"].why is Why.PRIMARY_FIRST
    apart = judge({"apart": APART, "strong": strong}, primary="apart")
    assert (apart.study, apart.tasks["strong"].why) == (Verdict.INCOMPARABLE, Why.PRIMARY_FIRST)


@pytest.mark.parametrize(
    ("tasks", "verdict", "why"),
    [
        ({"a": 0.03, "b": 0.0}, Verdict.IMPROVED, Overall.AGREE),
        ({"a": -0.03, "b": None}, Verdict.REGRESSED, Overall.AGREE),
        ({"a": -0.03, "b": 0.03}, Verdict.INCONCLUSIVE, Overall.DISAGREE),
        ({"a": 0.0, "b": 0.0}, Verdict.EQUIVALENT, Overall.ALL_EQUIVALENT),
        ({"a": 0.0, "b": None}, Verdict.INCONCLUSIVE, Overall.SOME_NOT_PAIRED),
        ({"a": None, "b": None}, Verdict.INCOMPARABLE, Overall.NONE_PAIRED),
        ({}, Verdict.INCOMPARABLE, Overall.NONE_PAIRED),
    ],
)
def test_the_study_says_what_its_tasks_agree_on(tasks: dict[str, float | None], verdict: Verdict, why: Overall) -> None:
    judged = judge({task: APART if shift is None else measured(shift) for task, shift in tasks.items()})
    assert (judged.study, judged.why) == (verdict, why)


@examples
@given(st.lists(gaps(), min_size=1, max_size=4), st.booleans())
def test_exchanging_the_arms_exchanges_improved_and_regressed_and_nothing_else(found: list[Gap], named: bool) -> None:
    def turned(one: Gap) -> Gap:
        changed: dict[str, Any] = {"absolute": -one.absolute, "low": -one.high, "high": -one.low}
        changed |= {"reference": one.treated, "treated": one.reference}
        return Gap(**{name: getattr(one, name) for name in Gap.__slots__} | changed)

    swap = {Verdict.IMPROVED: Verdict.REGRESSED, Verdict.REGRESSED: Verdict.IMPROVED}
    primary = "0" if named else None
    there = judge({str(i): one for i, one in enumerate(found)}, margin=0.3, primary=primary)
    back = judge({str(i): turned(one) for i, one in enumerate(found)}, margin=0.3, primary=primary)
    assert back.study is swap.get(there.study, there.study)
    for task, one in there.tasks.items():
        assert back.tasks[task].verdict is swap.get(one.verdict, one.verdict)
        assert (back.tasks[task].why, back.tasks[task].adjusted) == (one.why, one.adjusted)


@examples
@given(gaps(), st.integers(1, 5))
def test_one_seed_in_either_arm_never_yields_a_verdict_about_the_data(found: Gap, tasks: int) -> None:
    judged = judge({str(i): found for i in range(tasks)}, margin=0.2)
    assert (judged.scope is Claim.DATA) is (found.seeds > 1)
    assert all(one.scope is found.scope for one in judged.tasks.values())
    mixed = judge({"one": found, "single": measured(0.1, seeds=1)})
    assert mixed.scope is Claim.CHECKPOINTS


def test_an_improved_primary_task_does_not_open_the_way_to_equivalent() -> None:
    """Either test may settle it, but each is a sequence of its own; together they would err twice as often."""
    found = judge({"first": measured(0.1, name="first"), "same": measured(0.0, name="same")}, primary="first")
    assert found.study is found.tasks["first"].verdict is Verdict.IMPROVED
    same = found.tasks["same"]
    assert (same.verdict, same.why) == (Verdict.INCONCLUSIVE, Why.PRIMARY_FIRST)
    assert same.equivalence is not None and same.equivalence < 0.05
    assert judge({"same": measured(0.0, name="same")}).study is Verdict.EQUIVALENT


def test_identical_arms_are_equivalent_within_a_wide_margin_and_never_called() -> None:
    scores = rng(0, "same").random((3, 200))
    found = gap(scores, scores.copy())
    assert equivalence(found, 0.2) < 0.05
    assert judge({"same": found}, margin=0.2).study is Verdict.EQUIVALENT
    assert judge({"same": found}, margin=0.0001).study is Verdict.INCONCLUSIVE


def test_names_and_margins_that_make_no_sense_are_refused() -> None:
    found = {"mmlu": measured(0.0)}
    with pytest.raises(InputError, match=r"no task 'mlu' in this comparison[.] Did you mean 'mmlu'"):
        judge(found, primary="mlu")
    with pytest.raises(InputError, match="margin: there is no task 'bbh'"):
        judge(found, margins={"bbh": 0.01})
    for bad in (-0.01, 1.5, math.nan):
        with pytest.raises(InputError, match="margin of 'mmlu'"):
            judge(found, margin=bad)
