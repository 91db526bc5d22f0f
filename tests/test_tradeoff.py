"""What safety costs and buys: sums of tasks, utilities and crossings, and the views of them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from test_controls import HEADS as HEADS_OF_CONTROLS
from test_controls import joined, study
from test_report import result
from test_report_seen import records

from harness import compare
from harness.data import alignment
from harness.report import documents, join, markdown, terminal, tradeoff_views
from harness.report.averages import TaskHead
from harness.report.page import safety
from harness.report.result import Result, ScoreSet, TaskRow
from harness.report.tradeoff import GRID, TradeOff, trade_off
from harness.report.utility import Term, difference, total
from harness.study import load_study
from harness.study.choice import alone, choose

ARMS = ("base", "aligned", "clean")
JUDGE = alignment.load_pack("alignment@1.1.0")


def term(scores: Any, factor: float = 1.0, **changed: Any) -> Term:
    array = np.atleast_2d(np.array(scores, dtype=float))
    given: dict[str, Any] = {
        "clusters": [str(place) for place in range(array.shape[1])],
        "weights": np.ones(array.shape[1]),
    }
    return Term(scores=array, factor=factor, **{**given, **changed})


def drawn(rate: float, *, seeds: int = 3, items: int = 60, place: int = 0) -> Any:
    return (np.random.default_rng(place).random((seeds, items)) < rate).astype(float)


def test_of_one_task_the_sum_and_its_interval_are_its_own() -> None:
    for scores in (drawn(0.4), np.zeros((2, 30))):
        own = compare.interval(scores)
        found = total([term(scores), term(drawn(0.9), factor=0.0)], confidence=0.95)
        assert (found.value, found.low, found.high) == pytest.approx((own.mean, own.low, own.high))


def test_a_sum_is_the_weighted_sum_of_the_means_whatever_the_sizes_of_the_tasks() -> None:
    parts = [term(drawn(0.3, items=500), 0.25), term(drawn(0.8, items=20), 0.75, shift=-0.1)]
    found = total(parts, confidence=0.95)
    assert found.value == pytest.approx(0.25 * parts[0].mean + 0.75 * parts[1].mean - 0.1)
    assert found.low < found.value < found.high


def test_tasks_of_different_difficulty_make_no_spread() -> None:
    """Which would be there if the items of an easy and of a hard task were draws from one population."""
    alike = total([term(drawn(0.5, place=1), 0.5), term(drawn(0.5, place=2), 0.5)], confidence=0.95)
    far = total([term(0.5 * drawn(0.5, place=1), 0.5), term(0.5 + 0.5 * drawn(0.5, place=2), 0.5)], confidence=0.95)
    assert far.high - far.low == pytest.approx((alike.high - alike.low) / 2, rel=0.1)


def test_a_task_without_any_spread_still_adds_what_unseen_items_could_say() -> None:
    varying = term(drawn(0.5), 0.5)
    alone = total([varying], confidence=0.95)
    beside = total([varying, term(np.zeros((3, 40)), 0.5)], confidence=0.95)
    bound = compare.interval(np.zeros((3, 40))).high
    assert beside.high - beside.value == pytest.approx(np.hypot(alone.high - alone.value, 0.5 * bound), rel=1e-6)
    assert beside.low == pytest.approx(alone.low), "there is nothing below no refusal at all"


def test_what_one_run_does_to_two_tasks_at_once_widens_their_sum_and_not_their_difference() -> None:
    luck = np.array([-0.2, 0.0, 0.2])[:, None]
    first, second = (np.clip(0.5 + luck + 0.05 * np.random.default_rng(n).normal(size=(3, 200)), 0, 1) for n in (1, 2))
    together = total([term(first, 0.5), term(second, 0.5)], confidence=0.95)
    against = total([term(first, 0.5), term(1 - second, 0.5)], confidence=0.95)
    assert together.high - together.low > 3 * (against.high - against.low)


def test_exchanging_the_arms_negates_a_difference_and_equal_arms_have_none() -> None:
    one = [term(drawn(0.3), 0.5), term(drawn(0.6, place=5), 0.5)]
    two = [term(drawn(0.5, place=7), 0.5), term(drawn(0.6, place=8), 0.5)]
    there, back = difference(one, two, confidence=0.95), difference(two, one, confidence=0.95)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))
    same = difference(one, one, confidence=0.95)
    assert same.value == 0
    assert same.low <= 0 <= same.high


def test_the_interval_of_a_sum_holds_the_truth_over_new_runs_and_new_items() -> None:
    draw, hits, studies = np.random.default_rng(0), 0, 400
    for _ in range(studies):
        luck = draw.normal(0, 0.03, size=(3, 1))
        parts = []
        for rate, items, factor in ((0.6, 300, 0.5), (0.8, 120, 0.5)):
            own = np.clip(rate + draw.normal(0, 0.15, size=items) + luck, 0, 1)
            parts.append(term((draw.random((3, items)) < own).astype(float), factor))
        found = total(parts, confidence=0.95)
        # Clipping at 1 takes a little off the mean of the easier task.
        hits += found.low <= 0.5 * 0.6 + 0.5 * 0.79 <= found.high
    assert hits / studies >= 0.93


def head(title: str, primary: str, chance: float = 0.0, aspect: str = "capability") -> TaskHead:
    return TaskHead(title=title, profile="lm-eval", primary=primary, chance=chance, average="micro", aspect=aspect)


HEADS = {
    "mmlu": head("MMLU", "acc", 0.25),
    "drop": head("DROP", "f1"),
    "safe": head("Safe", "answered", aspect="safety"),
    "harmful": head("Harmful", "refused", aspect="safety"),
}
RATES = {
    "mmlu": (0.4, 0.5, 0.7),
    "drop": (0.2, 0.4, 0.6),
    "safe": (0.9, 0.5, 0.95),
    "harmful": (0.05, 0.9, 0.2),
}


def row(task: str, scores: dict[str, Any]) -> TaskRow:
    gap = compare.gap(scores["aligned"], scores["clean"])
    return TaskRow(
        task=task,
        title=HEADS[task].title,
        metric=HEADS[task].primary,
        chance=HEADS[task].chance,
        items=scores["base"].shape[1],
        scores={arm: compare.interval(own) for arm, own in scores.items()},
        gap=gap,
        judgement=compare.judge({task: gap}).tasks[task] if HEADS[task].aspect == "capability" else None,
    )


def found(tasks: tuple[str, ...] = tuple(HEADS), *, items: int = 80, error: bool = True) -> TradeOff:
    scores = {
        task: {
            arm: drawn(rate, seeds=1 if arm == "base" else 3, items=items, place=31 * number + ord(task[0]))
            for number, (arm, rate) in enumerate(zip(ARMS, RATES[task], strict=True))
        }
        for task in tasks
    }
    measured = alignment.measured(JUDGE)
    assert measured is not None
    judge = {"pack": JUDGE.reference, "error": measured.to_document() if error else None}
    names = tuple(map(str, range(items)))
    sets = [
        ScoreSet(
            arm=arm,
            seed=None if arm == "base" else seed,
            task=task,
            items=names,
            clusters=names,
            subtasks=(task,) * items,
            prompts=names,
            metrics={
                HEADS[task].primary: tuple(line),
                **({"undetermined": (0.5,) * items, "partly_refused": (0.0,) * items} if task == "safe" else {}),
            },
        )
        for task, own in scores.items()
        for arm, lines in own.items()
        for seed, line in enumerate(lines)
    ]
    rows = {task: row(task, own) for task, own in scores.items()}
    return trade_off(
        capability=[rows[task] for task in tasks if HEADS[task].aspect == "capability"],
        safety=[rows[task] for task in tasks if HEADS[task].aspect == "safety"],
        scores=sets,
        heads=HEADS,
        judges={task: judge for task in tasks if HEADS[task].aspect == "safety"},
        doses={"base": None, "aligned": 1.0, "clean": 0.0},
        pair=("aligned", "clean"),
        confidence=0.95,
    )


def test_helpful_is_the_mean_capability_above_chance_and_harmless_the_refused_share_of_harmful_prompts() -> None:
    one = found()
    for point in one.points:
        capable = [(own.scores[point.arm].mean - own.chance) / (1 - own.chance) for own in one.costs]
        assert point.helpful is not None and point.harmless is not None and point.answered is not None
        assert point.helpful.value == pytest.approx(sum(capable) / 2)
        safe, harmful = (own.row.scores[point.arm].mean for own in one.safety)
        assert (point.answered.value, point.harmless.value) == (pytest.approx(safe), pytest.approx(harmful))
    assert [point.dose for point in one.points] == [None, 1.0, 0.0]


def test_utility_runs_from_harmless_at_0_to_helpful_at_1() -> None:
    one = found()
    assert GRID[0] == 0 and GRID[-1] == 1
    for point, utility in zip(one.points, one.utilities, strict=True):
        assert point.helpful is not None and point.harmless is not None
        assert utility.sums[0].value == pytest.approx(point.harmless.value)
        assert utility.sums[0].low == pytest.approx(point.harmless.low)
        assert utility.sums[-1].value == pytest.approx(point.helpful.value)
        assert utility.sums[5].value == pytest.approx((point.helpful.value + point.harmless.value) / 2)


def test_arms_that_trade_one_for_the_other_cross_where_their_utilities_are_equal() -> None:
    one = found()
    crossing = one.crossings[0]
    assert (crossing.reference, crossing.treated) == ("aligned", "clean")
    utility = {own.arm: own for own in one.utilities}
    lead = [utility["clean"].sums[end].value - utility["aligned"].sums[end].value for end in (0, -1)]
    assert lead[0] < 0 < lead[1]
    assert crossing.at == pytest.approx(lead[0] / (lead[0] - lead[1]))
    assert [part.better for part in crossing.ranges] == ["aligned", None, "clean"]
    assert (crossing.ranges[0].low, crossing.ranges[-1].high) == (0, 1)
    assert [part.high for part in crossing.ranges[:-1]] == [part.low for part in crossing.ranges[1:]]
    assert crossing.ranges[1].low < crossing.at < crossing.ranges[1].high
    assert len(one.crossings) == 2, "the base against the treated arm is the other one"


def test_with_few_items_the_arms_cannot_be_told_apart_and_nothing_is_said_of_them() -> None:
    one = found(("mmlu", "harmful"), items=3)
    parts = {part.better for crossing in one.crossings for part in crossing.ranges}
    assert None in parts


def test_a_study_of_safety_tasks_alone_takes_the_answered_share_for_helpful() -> None:
    one = found(("safe", "harmful"))
    assert one.helpful_is == "share of safe prompts that is answered"
    assert all(point.helpful == point.answered for point in one.points)
    assert one.utilities


def test_without_harmful_prompts_there_are_shares_but_no_utility() -> None:
    one = found(("mmlu", "safe"))
    assert not one.utilities and not one.crossings
    assert all(point.harmless is None for point in one.points)
    assert "harmless" in json.dumps(tradeoff_views.as_document(one))


def shown(one: TradeOff) -> str:
    sink = io.StringIO()
    console = Console(file=sink, width=80, force_terminal=False)
    for part in terminal.result_tables(replace(result(), tradeoff=one)):
        console.print(part)
    return sink.getvalue()


def test_every_view_has_the_trade_off_where_there_is_one_and_nothing_where_there_is_none() -> None:
    one = found()
    with_it, without = (replace(result(), tradeoff=own) for own in (one, None))
    assert "## What safety costs and buys" in markdown.as_markdown(with_it)
    assert "## What safety costs and buys" not in markdown.as_markdown(without)
    document = json.loads(documents.as_json(with_it))["tradeoff"]
    assert "tradeoff" not in json.loads(documents.as_json(without))
    assert [point["arm"] for point in document["points"]] == list(ARMS)
    assert [place["a"] for place in document["utility"]["clean"]] == list(GRID)
    assert document["costs"]["mmlu"]["reading"] == "buys"
    assert [task["task"] for task in document["tasks"]] == ["safe", "harmful"]
    assert documents.as_json(with_it) == documents.as_json(replace(result(), tradeoff=found()))


def test_beside_every_share_stands_the_error_of_its_judge() -> None:
    text = shown(found())
    assert "Judge alignment@1.1.0: finds 93.0 %" in text.replace("\n", " ")
    assert "corrected" in text
    assert "The corrected interval allows a new model" in " ".join(text.split())
    unknown = " ".join(shown(found(error=False)).split())
    assert "Safe: the error of its judge was not measured, so nothing is corrected." in unknown


def test_no_line_of_the_trade_off_is_wider_than_80_columns_and_no_number_is_cut() -> None:
    text = shown(found())
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_a_share_that_the_judge_cannot_explain_and_answers_that_it_cannot_judge_are_named() -> None:
    text = " ".join(shown(found()).split())
    assert "Safe: answers that could not be judged count as not refused: base 50.0 %" in text
    assert "Harmful: (share - false alarms) / (found - false alarms) is no share between 0 and 1 for base" in text


def asked_in_a_study(*safety: str) -> tuple[Result, Result]:
    """A finished pocket study with a safety task among its tasks, and the same one without it."""
    own = study()
    rates = {"aligned": 0.3, "clean": 0.6}
    with_it, without = (
        joined(
            own,
            rates,
            infos={**HEADS_OF_CONTROLS, **{task: replace(HEADS_OF_CONTROLS[task], aspect="safety") for task in marked}},
        )
        for marked in (safety, ())
    )
    return with_it, without


def test_a_safety_task_takes_no_part_in_verdicts_nor_in_their_correction() -> None:
    with_it, without = asked_in_a_study("pocket_drop")
    [alone] = with_it.tasks
    assert alone.task == "pocket_mmlu"
    assert alone.judgement is not None
    assert alone.judgement.adjusted == alone.judgement.p_value, "it is the only task that is tested"
    both = next(one for one in without.tasks if one.task == "pocket_mmlu")
    assert both.judgement is not None and both.gap == alone.gap
    assert with_it.tradeoff is not None and without.tradeoff is None
    assert [one.row.task for one in with_it.tradeoff.safety] == ["pocket_drop"]
    assert {one.task for one in with_it.scores} == {"pocket_mmlu", "pocket_drop"}


def test_a_study_of_safety_tasks_alone_has_a_report_and_no_verdict() -> None:
    with_it, _ = asked_in_a_study("pocket_mmlu", "pocket_drop")
    assert with_it.tasks == ()
    assert with_it.verdict is compare.Verdict.INCONCLUSIVE
    assert "## What safety costs and buys" in markdown.as_markdown(with_it)
    assert json.loads(documents.as_json(with_it))["tasks"] == []
    assert list(terminal.result_tables(with_it))
    assert documents.as_csv(with_it)


def test_two_arms_alone_have_a_trade_off_without_the_base() -> None:
    """As `harness regress` leaves them."""
    own = study()
    chosen = alone(choose(own, pair=(), seeds=None, tasks=tuple(HEADS_OF_CONTROLS), limit=None))
    heads = {**HEADS_OF_CONTROLS, "pocket_drop": replace(HEADS_OF_CONTROLS["pocket_drop"], aspect="safety")}
    found = join.assemble(study=own, choice=chosen, infos=heads, records=records(chosen, None))
    assert found.tradeoff is not None
    assert [point.arm for point in found.tradeoff.points] == ["aligned", "clean"]


def test_every_other_dose_of_the_treated_variant_is_an_arm_and_keeps_its_dose() -> None:
    own, _ = load_study("pocket-doses")
    choice = choose(own, pair=(), seeds=None, tasks=None, limit=None)
    assert choice.arms == ("base", "aligned", "clean", "quarter", "half", "most", "random", "again")
    doses = {arm: join.dose(arm, own) for arm in choice.arms}
    assert doses == {
        "base": None, "aligned": 1.0, "clean": 0.0, "quarter": 0.25, "half": 0.5, "most": 0.75,
        "random": None, "again": None,
    }  # fmt: skip
    further = own.variants["clean"].model_copy(update={"parent": "half"})
    assert join.dose("further", own.model_copy(update={"variants": {**own.variants, "further": further}})) is None
    plain, _ = load_study("pocket")
    assert "masked" not in choose(plain, pair=(), seeds=None, tasks=None, limit=None).arms


def test_no_interval_of_a_sum_leaves_what_its_scores_can_make() -> None:
    scores = np.ones((3, 40))
    scores[:, 0] = 0
    high = total([term(scores, 0.5), term(np.ones((3, 20)), 0.5)], confidence=0.95)
    assert high.high == 1
    low = total([term(1 - scores, 2.0, shift=-0.25), term(np.zeros((3, 20)), 1.0)], confidence=0.95)
    assert low.low == -0.25


def test_the_page_shows_the_plane_and_the_utilities_of_every_arm_and_nothing_without_safety_tasks() -> None:
    one = safety.section(replace(result(), tradeoff=found()))
    assert one is not None
    plane, utility = one.plots
    for arm in ARMS:
        assert f">{arm}<" in plane and f">{arm}<" in utility
    assert "aligned, dose 1: helpful" in plane
    assert [len(table.rows[0]) for table in one.tables] == [len(table.header) for table in one.tables]
    assert safety.section(result()) is None
    again = safety.section(replace(result(), tradeoff=found()))
    assert again is not None and again.plots == one.plots
