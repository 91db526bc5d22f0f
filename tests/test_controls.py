"""Controls and verdicts from a study file to a result: arms with seeds of their own, rules that change no score."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from test_report_seen import INFOS, ITEMS, TASKS, records

from harness import compare
from harness.compare import Verdict
from harness.errors import InputError
from harness.report import join, verdicts, wording
from harness.report.averages import TaskHead
from harness.report.result import ControlKind, Result
from harness.store import Record, Runs
from harness.study import Study, load_study
from harness.study.choice import Choice, choose, completed, runs

HEADS = {name: TaskHead.of(info) for name, info in INFOS.items()}


def study(**sections: Any) -> Study:
    """The pocket study of two tasks, with other sections."""
    raw = load_study("pocket")[0].model_dump(mode="json", exclude_unset=True)
    own = {"tasks": list(TASKS), "verdict": {"margin": 5.0}}
    return Study.model_validate(raw | own | sections)


def chosen(own: Study, **asked: Any) -> Choice:
    return choose(own, **{"pair": (), "seeds": None, "tasks": None, "limit": None, **asked})


Rates = Mapping[str, float]


def drawn(own: Study, choice: Choice, rates: Rates, *, items: int = 240, sd: float = 0.0) -> dict[str, Record]:
    """The records of a finished study whose arms are right at these rates, the more alike the closer they are.

    Args:
        rates: by arm, or by "<arm>/<task>".
        sd: how much the rate of one run varies.
    """
    found = records(choice, None)
    names = [f"item-{number:04}" for number in range(items)]
    for place, (arm, seed, _) in enumerate(runs(choice)):
        for number, task in enumerate(choice.definitions):
            level = np.random.default_rng([1, number]).random(items)
            rate = rates.get(f"{arm}/{task}", rates.get(arm, 0.5)) + sd * np.random.default_rng([2, place]).normal()
            own_level = level + 0.05 * np.random.default_rng([3, place, number]).normal(size=items)
            name = f"score/{arm}/{task}" if seed is None else f"score/{arm}/{seed}/{task}"
            facts = {
                "item": names,
                "cluster": names,
                "subtask": [("even", "odd")[n % 2] for n in range(items)],
                "prompt": names,
                "scores": {"acc": [float(value) for value in own_level < rate]},
            }
            found[name] = replace(found[name], facts=facts)
    return found


def joined(own: Study, rates: Rates, *, infos: Mapping[str, Any] = HEADS, sd: float = 0.0, **asked: Any) -> Result:
    choice = chosen(own, **asked)
    return join.assemble(study=own, choice=choice, infos=infos, records=drawn(own, choice, rates, sd=sd))


# --- the arms --------------------------------------------------------------------------------------------


def test_the_same_data_are_trained_again_under_the_seeds_after_the_studys_last_one() -> None:
    own = study(seeds=[7, 3, 5])
    assert chosen(own).again == (8, 9, 10)
    fewer = chosen(own, seeds=1)
    assert (fewer.again, fewer.seeds, fewer.seeds_of("again")) == ((8,), (7,), (8,))
    assert (chosen(own).data_of("again"), chosen(own, pair=("clean", "aligned")).data_of("again")) == (
        "aligned",
        "clean",
    )
    assert chosen(own).variants == ("aligned", "clean", "random")
    assert [run for run in runs(fewer) if run[0] == "again"] == [("again", 8, "train/again/8")]


def test_a_study_can_do_without_controls_and_the_base_has_none() -> None:
    own = study(controls={"same_data": False})
    assert chosen(own).arms == ("base", "aligned", "clean", "random")
    every = study(controls={"shuffled": 0.3})
    assert chosen(every).arms == ("base", "aligned", "clean", "random", "again", "shuffled")
    against_base = chosen(every, pair=("base", "clean"))
    assert against_base.arms == ("base", "clean", "random")
    assert against_base.again == ()


def test_the_arm_of_shuffled_answers_is_a_variant_on_the_reference_whichever_that_is() -> None:
    own = study(controls={"shuffled": 0.3})
    for pair in (("aligned", "clean"), ("masked", "clean")):
        whole = completed(own, chosen(own, pair=pair))
        assert whole.lineage_names("shuffled") == [pair[0], "shuffled"]
        assert whole.variants["shuffled"].share == 0.3
        assert completed(whole, chosen(own, pair=pair)) is whole
    assert "shuffled" not in own.variants
    assert completed(study(), chosen(study())).variants.keys() == study().variants.keys()


@pytest.mark.parametrize("name", ["again", "shuffled", "base"])
def test_the_names_of_controls_are_no_names_of_variants(name: str) -> None:
    with pytest.raises(ValidationError, match=f"'{name}' is the .* and cannot be the name of a variant"):
        study(variants={"aligned": {"treatment": "keep"}, name: {"treatment": "keep"}})


@pytest.mark.parametrize("name", ["again", "shuffled"])
def test_a_control_is_no_half_of_a_pair_and_the_error_says_where_it_stands(name: str) -> None:
    with pytest.raises(InputError, match=f"no variant named '{name}'. It is compared with the reference in every"):
        chosen(study(), pair=("aligned", name))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"verdict": {"margin": 0}}, "verdict.margin"),
        ({"verdict": {"margin": 101.0}}, "verdict.margin"),
        ({"verdict": {"confidence": 1.0}}, "verdict.confidence"),
        ({"verdict": {"confidence": 0.05}}, "verdict.confidence"),
        ({"verdict": {"primary": "pocket_mmul"}}, "which is not one of the tasks. Did you mean 'pocket_mmlu'?"),
        ({"verdict": {"margins": {"mmlu": 1.0}}}, "[verdict] names 'mmlu', which is not one of the tasks"),
        ({"verdict": {"margins": {"pocket_drop": -1.0}}}, "verdict.margins.pocket_drop"),
        ({"verdict": {"margn": 1.0}}, "verdict.margn"),
        ({"controls": {"shuffled": 1.5}}, "controls.shuffled"),
        ({"controls": {"same_data": "no"}}, "controls.same_data"),
        ({"controls": {"again": True}}, "controls.again"),
        ({"seeds": [2**32 - 1]}, "leaves no room"),
    ],
)
def test_what_is_wrong_with_the_new_sections_is_named(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        study(**sections)
    assert message in str(caught.value)
    assert study(seeds=[2**32 - 1], controls={"same_data": False}).seeds == (2**32 - 1,)


# --- the result ------------------------------------------------------------------------------------------


def test_a_report_has_the_comparison_that_each_control_is_for() -> None:
    shown = joined(study(controls={"shuffled": 0.3}), {"shuffled": 0.2})
    kinds = [(one.kind, one.reference, one.treated) for one in shown.tasks[0].controls]
    assert kinds == [
        (ControlKind.RANDOM, "random", "clean"),
        (ControlKind.SAME_DATA, "aligned", "again"),
        (ControlKind.SHUFFLED, "aligned", "shuffled"),
    ]
    damage = shown.tasks[0].controls[2]
    assert isinstance(damage.gap, compare.Gap)
    assert damage.gap.absolute == pytest.approx(-0.3, abs=0.1)
    assert damage.judgement is not None
    assert damage.judgement.verdict is Verdict.REGRESSED
    [again, shuffled] = shown.arms[-2:]
    assert (again.treatment, again.seeds, again.chats) == ("as 'aligned', under other seeds", (3, 4, 5), 80)
    assert list(again.weights) == ["3", "4", "5"]
    assert shuffled.treatment == "answers shuffled in 30% of the chats, on 'aligned'"
    assert shuffled.seeds == (0, 1, 2)
    assert {(one.arm, one.seed) for one in shown.scores if one.arm == "again"} == {
        ("again", seed) for seed in (3, 4, 5)
    }
    assert {one.seed for one in shown.curves if one.arm == "again"} == {3, 4, 5}


def test_the_warning_on_luck_stands_where_the_same_data_differ_and_nowhere_else() -> None:
    assert verdicts.warnings(joined(study(), {})) == []
    [line] = verdicts.warnings(joined(study(), {"again/pocket_drop": 0.2}))
    assert line.startswith("The same data under other seeds differ too: pocket DROP -")
    assert "pocket MMLU" not in line


def test_the_warning_on_blindness_names_the_tasks_on_which_damage_does_not_show() -> None:
    own = study(controls={"shuffled": 0.3})
    assert verdicts.warnings(joined(own, {"shuffled": 0.2})) == []
    [line] = verdicts.warnings(joined(own, {"shuffled/pocket_drop": 0.2}))
    assert "(answers shuffled in 30% of the chats, on 'aligned') does not differ from aligned on pocket MMLU:" in line
    [line] = verdicts.warnings(joined(own, {}))
    assert "does not differ from aligned on any task" in line


def test_the_gap_of_every_subtask_is_there_and_one_item_is_no_reason_to_fail() -> None:
    parts = joined(study(), {"clean": 0.9}).tasks[0].parts
    assert [(part.name, part.items) for part in parts] == [("even", 120), ("odd", 120)]
    whole = joined(study(), {"clean": 0.9}).tasks[0].gap
    assert isinstance(whole, compare.Gap)
    gaps = [part.gap for part in parts]
    assert all(isinstance(gap, compare.Gap) for gap in gaps)
    mean = sum(gap.absolute for gap in gaps if isinstance(gap, compare.Gap)) / 2
    assert mean == pytest.approx(whole.absolute)
    own = study()
    choice = chosen(own)
    found = records(choice, None)
    for name in [name for name in found if name.startswith("score/")]:
        subtask = ["large"] * (len(ITEMS) - 1) + ["lonely"]
        found[name] = replace(found[name], facts={**found[name].facts, "subtask": subtask, "cluster": subtask})
    result = join.assemble(study=own, choice=choice, infos=HEADS, records=found)
    [large, lonely] = result.tasks[0].parts
    assert (lonely.name, lonely.items) == ("lonely", 1)
    for part in (large, lonely):
        assert isinstance(part.gap, compare.Gap)
    assert large.gap.high - large.gap.low < 2, "within its only cluster the items stand alone"  # type: ignore[union-attr]
    assert join.assemble(study=own, choice=choice, infos=HEADS, records=records(choice, None)).tasks[0].parts == ()


# --- the rule --------------------------------------------------------------------------------------------


def test_margins_are_points_and_a_task_may_have_its_own() -> None:
    shown = joined(study(verdict={"margin": 2.0, "margins": {"pocket_drop": 8.5}}), {})
    assert [row.judgement.margin for row in shown.tasks if row.judgement] == [pytest.approx(0.02), pytest.approx(0.085)]


def test_the_confidence_of_the_study_is_that_of_every_interval() -> None:
    usual, wide = (joined(study(verdict={"confidence": level}), {}, sd=0.02) for level in (0.95, 0.99))
    for one, other in zip(usual.tasks, wide.tasks, strict=True):
        assert isinstance(one.gap, compare.Gap)
        assert isinstance(other.gap, compare.Gap)
        assert (one.gap.confidence, other.gap.confidence) == (0.95, 0.99)
        assert other.gap.high - other.gap.low > one.gap.high - one.gap.low
        assert (
            other.scores["clean"].high - other.scores["clean"].low > one.scores["clean"].high - one.scores["clean"].low
        )
    assert "intervals 99 %" in wording.footnotes(wide)[0]
    assert wording.scores_heading(wide) == "scores in per cent, 99 % interval below"


def test_the_primary_task_is_the_first_of_the_answer_and_one_that_was_not_asked_is_named() -> None:
    own = study(verdict={"primary": "pocket_drop", "margin": 5.0})
    shown = joined(own, {"clean/pocket_mmlu": 0.8, "clean/pocket_drop": 0.2})
    assert shown.primary == "pocket_drop"
    assert shown.verdict is Verdict.REGRESSED
    answer = wording.headline(shown)
    assert "clean against aligned is worse on pocket DROP (the primary task; -2" in answer
    assert "; better on pocket MMLU (+3" in answer
    partial = joined(own, {}, tasks=["pocket_mmlu"], infos=HEADS)
    assert partial.primary is None
    assert "The study's primary task, pocket_drop, was not asked." in wording.footnotes(partial)


def test_a_second_profile_changes_no_verdict_of_the_first() -> None:
    strict = {f"{name}_strict": replace(head, profile="strict") for name, head in HEADS.items()}
    own = study()
    rates = {"clean/pocket_mmlu": 0.58, "clean/pocket_drop": 0.55}
    alone = joined(own, rates)
    both = joined(own, rates, infos={**HEADS, **strict}, profiles=("lm-eval", "strict"))
    assert [row.judgement for row in both.tasks[:2]] == [row.judgement for row in alone.tasks]
    assert both.verdict is alone.verdict
    assert wording.headline(both).replace(", lm-eval", "") == wording.headline(alone)
    assert len(both.tasks) == 4
    assert all(row.judgement for row in both.tasks)


# --- runs ------------------------------------------------------------------------------------------------


def test_a_run_with_controls_is_read_back_as_it_was(tmp_path: Path) -> None:
    own = study(controls={"shuffled": 0.3}, verdict={"margin": 2.0, "margins": {"pocket_drop": 3.0}, "confidence": 0.9})
    choice = chosen(own, pair=("masked", "clean"), seeds=2)
    whole = completed(own, choice)
    found = drawn(own, choice, {})
    result = join.assemble(study=whole, choice=choice, infos=HEADS, records=found)
    places = {name: ("kind", name) for name in found}
    written = join.run_of(study=whole, choice=choice, heads=HEADS, records=places)
    assert "shuffled" not in written.study["variants"], "it is the control that adds it"
    store = Runs(tmp_path)
    path = store.put(written)
    read = store.read(path)
    assert read.name == "pocket/clean-against-masked_seeds-2"
    assert join.again(read, found) == result
    assert join.again(read, found).arms[-2].seeds == (3, 4)


def test_a_run_that_was_written_before_there_were_controls_is_read_too() -> None:
    own = study(controls={"same_data": False})
    choice = chosen(own)
    found = drawn(own, choice, {})
    run = join.run_of(study=own, choice=choice, heads=HEADS, records={})
    old = {name: value for name, value in json.loads(json.dumps(run.content()))["choice"].items() if name != "again"}
    before = {name: value for name, value in run.study.items() if name not in ("controls", "verdict")}
    result = join.again(replace(run, choice=old, study=before), found)
    assert [arm.name for arm in result.arms] == ["base", "aligned", "clean", "random"]


def test_a_study_of_one_variant_has_a_run_too() -> None:
    own = study(variants={"only": {"treatment": "keep"}}, estimate={})
    choice = chosen(own, pair=("base", "only"))
    assert join.run_of(study=own, choice=choice, heads=HEADS, records={}).selection == "only-against-base"
    with pytest.raises(InputError, match="takes two different variants"):
        chosen(own)
