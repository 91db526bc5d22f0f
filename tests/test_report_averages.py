"""From the facts of scores to one number a task: averages by hand, profiles side by side, notes of what was lost."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from test_report import everywhere, printed, result, task, words
from test_report_seen import INFOS, ITEMS, TASKS, Info, records, seen_of

from harness import compare
from harness.errors import InputError
from harness.report import documents, items, wording
from harness.report.join import assemble
from harness.report.result import Result
from harness.store import Record
from harness.study import load_study
from harness.study.choice import Choice, choose, definition

# Three items of a large subtask and one of a small one.
FOUR = ITEMS[:4]
SUBTASKS = ["large", "large", "large", "small"]


def assembled(
    change: Callable[[str, dict[str, Any]], Mapping[str, Any]],
    *,
    infos: Mapping[str, Info] = INFOS,
    exposures: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    profiles: Sequence[str] = (),
) -> Result:
    """Return the result of a study whose facts of scores were changed by (name of the stage, facts)."""
    study = load_study("pocket")[0]
    choice: Choice = choose(study, pair=(), seeds=None, tasks=TASKS, limit=None, profiles=profiles)
    found = {
        name: replace(record, facts=change(name, dict(record.facts))) if name.startswith("score/") else record
        for name, record in records(choice, exposures).items()
    }
    return assemble(study=study, choice=choice, infos=infos, records=found)


def averaged(average: str, **options: Any) -> Result:
    """Return a result in which the treated arm is right in the large subtask and the reference nowhere."""

    def change(name: str, facts: dict[str, Any]) -> dict[str, Any]:
        right = [1.0, 1.0, 1.0, 0.0] if name.startswith("score/clean/") else [0.0] * 4
        prompts = [f"prompt of {item}" for item in FOUR]
        return facts | {
            "item": FOUR,
            "cluster": FOUR,
            "subtask": SUBTASKS,
            "prompt": prompts,
            "scores": {"acc": right},
        }

    infos = {name: replace(info, average=average) for name, info in INFOS.items()}
    return assembled(change, infos=infos, **options)


# --- averages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("average", "wanted"), [("micro", 3 / 4), ("macro", (1 + 0) / 2)])
def test_an_average_counts_items_alike_or_subtasks_alike(average: str, wanted: float) -> None:
    row = averaged(average).tasks[0]
    assert row.scores["clean"].mean == pytest.approx(wanted)
    assert row.scores["aligned"].mean == 0.0
    assert isinstance(row.gap, compare.Gap)
    assert row.gap.absolute == pytest.approx(wanted)
    control = row.controls[0].gap
    assert isinstance(control, compare.Gap)
    assert control.absolute == pytest.approx(wanted)


@pytest.mark.parametrize(("average", "wanted"), [("micro", 1 / 2), ("macro", 1 / 2), ("macro, small seen", 1.0)])
def test_without_the_seen_items_it_is_the_average_of_those_that_are_left(average: str, wanted: float) -> None:
    """Weights of all four items, used on the ones left, would give 1/3 of a macro average of 1/2."""
    kind, _, seen = average.partition(", ")
    exposures = {"aligned": {"pocket_mmlu": FOUR[3:] if seen else FOUR[:2]}}
    shown = averaged(kind, exposures=exposures)
    without = seen_of(shown).gap_without
    assert isinstance(without, compare.Gap)
    assert without.absolute == pytest.approx(wanted)


def test_an_interval_of_a_macro_average_holds_its_mean() -> None:
    for estimate in averaged("macro").tasks[0].scores.values():
        assert estimate.low <= estimate.mean <= estimate.high


@pytest.mark.parametrize("right", [[0.0, 0.0, 0.0, 1.0], [1.0] * 4, [0.0] * 4])
def test_a_right_answer_in_a_small_subtask_counts_for_more_than_one_and_the_report_stands(right: list[float]) -> None:
    """BBH under instructeval: an item of a subtask of 146 counts 1.65 times in the average of 27 subtasks."""

    def change(name: str, facts: dict[str, Any]) -> dict[str, Any]:
        own = right if name.startswith("score/clean/") else [0.0] * 4
        same = {"item": FOUR, "cluster": FOUR, "subtask": SUBTASKS, "prompt": list(map(str, FOUR))}
        return facts | same | {"scores": {"acc": own}}

    infos = {name: replace(info, average="macro") for name, info in INFOS.items()}
    row = assembled(change, infos=infos).tasks[0]
    assert isinstance(row.gap, compare.Gap)
    wanted = (sum(right[:3]) / 3 + right[3]) / 2
    assert row.scores["clean"].mean == pytest.approx(wanted)
    assert row.gap.absolute == pytest.approx(wanted)
    assert -1 <= row.gap.low <= row.gap.absolute <= row.gap.high <= 1


# --- metrics that not every item has ----------------------------------------------------------------------


def test_a_metric_that_only_some_items_have_does_not_stop_the_report() -> None:
    mass = [0.5, None] * (len(ITEMS) // 2)
    shown = assembled(lambda _, facts: facts | {"scores": {**facts["scores"], "choice_mass": mass}})
    table = items.frame(shown)
    own = table[(table.metric == "choice_mass") & (table.variant == "base") & (table.task == "pocket_mmlu")]
    assert [bool(missing) for missing in own.score.isna()] == [value is None for value in mass]
    items.as_parquet(shown)


def test_where_an_item_has_no_score_there_is_no_gap_and_the_score_is_that_of_the_others() -> None:
    def change(name: str, facts: dict[str, Any]) -> dict[str, Any]:
        return facts | {"scores": {"acc": [1.0] * (len(ITEMS) - 1) + [None]}}

    row = assembled(change).tasks[0]
    assert isinstance(row.gap, compare.Incomparable)
    assert row.gap.unscored
    assert row.scores["clean"].mean == 1.0
    assert not re.search(r":\s*NaN", documents.as_json(assembled(change)))


def test_a_metric_of_the_whole_corpus_is_refused_with_what_to_do() -> None:
    scores = {"acc.0": [1.0] * len(ITEMS), "acc.1": [0.0] * len(ITEMS)}
    with pytest.raises(InputError, match=r"'pocket MMLU' has no 'acc' of single items.*--tasks.*harness eval"):
        assembled(lambda _, facts: facts | {"scores": scores})


def test_a_metric_that_is_no_share_is_refused_with_the_name_of_its_task() -> None:
    with pytest.raises(InputError, match=r"'pocket MMLU' gives an item a 'acc' of -12\.5.*--tasks"):
        assembled(lambda _, facts: facts | {"scores": {"acc": [-12.5] * len(ITEMS)}})


# --- profiles --------------------------------------------------------------------------------------------


def test_profiles_stand_side_by_side_and_every_view_tells_them_apart() -> None:
    both = ("lm-eval", "strict")
    infos = {
        definition(name, profile): replace(INFOS[name], profile=profile, primary="acc")
        for profile in both
        for name in TASKS
    }
    shown = assembled(lambda _, facts: facts, infos=infos, profiles=both)
    assert [(row.task, row.profile) for row in shown.tasks] == [
        ("pocket_mmlu", "lm-eval"),
        ("pocket_drop", "lm-eval"),
        ("pocket_mmlu_strict", "strict"),
        ("pocket_drop_strict", "strict"),
    ]
    assert shown.selection == "pocket_mmlu-pocket_drop_lm-eval-strict", "never over the report of the study itself"
    views_of = everywhere(shown)
    document = json.loads(views_of["json"])
    assert document["profiles"] == ["lm-eval", "strict"]
    assert [row["profile"] for row in document["tasks"]] == ["lm-eval", "lm-eval", "strict", "strict"]
    for name in ("markdown", "terminal"):
        for title in ("pocket MMLU, lm-eval", "pocket MMLU, strict"):
            assert title in words(views_of[name]), name
    assert {"pocket_mmlu", "pocket_mmlu_strict"} <= set(items.frame(shown).task)


def test_a_report_of_lm_evals_own_scoring_alone_does_not_repeat_it_in_every_line() -> None:
    assert [row.title for row in assembled(lambda _, facts: facts).tasks] == ["pocket MMLU", "pocket DROP"]


# --- what is said under the table --------------------------------------------------------------------------


def test_the_share_of_answers_in_which_nothing_was_found_is_counted_by_arm() -> None:
    def change(name: str, facts: dict[str, Any]) -> dict[str, Any]:
        lost = {"score/clean/0/pocket_mmlu": 6, "score/clean/1/pocket_mmlu": 3, "score/base/pocket_mmlu": 12}
        count = lost.get(name, 0)
        share = [1.0] * count + [0.0] * (len(ITEMS) - count)
        return facts | {"scores": {**facts["scores"], "unextracted": share}} if "mmlu" in name else facts

    shown = assembled(change)
    mmlu, drop = shown.tasks
    # (6 + 3 + 0) of 3 seeds x 12 items.
    assert mmlu.unextracted == pytest.approx({"base": 1.0, "aligned": 0.0, "clean": 0.25, "random": 0.0, "again": 0.0})
    assert drop.unextracted == {}, "where nothing is extracted by a pattern, nothing is counted"
    arms = "base 100.0 %, aligned 0.0 %, clean 25.0 %, random 0.0 %, again 0.0 %"
    line = f"pocket MMLU: no answer found in the text of: {arms}."
    for name in ("markdown", "terminal"):
        assert line in words(everywhere(shown)[name]), name
        assert "pocket DROP: no answer" not in words(everywhere(shown)[name])
    assert json.loads(documents.as_json(shown))["tasks"][0]["unextracted"]["clean"] == pytest.approx(0.25)


def test_where_an_answer_was_found_in_every_text_there_is_no_line() -> None:
    found = replace(task(), unextracted=dict.fromkeys(("aligned", "clean"), 0.0))
    assert wording.footnotes(result(found)) == wording.footnotes(result(task()))


@pytest.mark.parametrize("level", ["rlimits", "namespaces"])
def test_the_isolation_of_programs_is_in_the_record_and_said_where_it_was_less_than_usual(level: str) -> None:
    def change(name: str, facts: dict[str, Any]) -> dict[str, Any]:
        own = level if name == "score/clean/2/pocket_mmlu" else "namespaces"
        return facts | {"isolation": own} if "mmlu" in name else facts

    shown = assembled(change)
    assert shown.tasks[0].isolation == tuple(sorted({level, "namespaces"}))
    assert shown.tasks[1].isolation == ()
    assert json.loads(documents.as_json(shown))["tasks"][0]["isolation"] == sorted({level, "namespaces"})
    said = "programs were run with less isolation than usual: namespaces, rlimits." in words(printed(shown))
    assert said is (level == "rlimits")


def test_shortened_prompts_are_summed_over_all_checkpoints() -> None:
    study = load_study("pocket")[0]
    choice = choose(study, pair=(), seeds=1, tasks=TASKS[:1], limit=None)
    found: dict[str, Record] = records(choice, None)
    for count, name in enumerate(sorted(name for name in found if name.startswith("predict/"))):
        found[name] = replace(found[name], facts={"shortened_prompts": count, "unfinished": 0})
    [row] = assemble(study=study, choice=choice, infos=INFOS, records=found).tasks
    assert row.shortened_prompts == 0 + 1 + 2 + 3 + 4
    assert json.loads(documents.as_json(result(row)))["tasks"][0]["shortened_prompts"] == 10
