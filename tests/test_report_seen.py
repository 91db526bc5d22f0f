"""From records to a report: what the arms of a pair have seen of the tasks, what was done to their chats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from test_report import arm, everywhere, printed, result, task, words

from harness import compare
from harness.report import documents, markdown, numbers, wording
from harness.report.join import assemble
from harness.report.result import Result, Seen, TaskRow
from harness.store import Record
from harness.study import Study, Variant, load_study
from harness.study.choice import BASE_ARM, Choice, choose, runs, score_name

ITEMS = [f"item-{number:02}" for number in range(12)]
TASKS = ("pocket_mmlu", "pocket_drop")


@dataclass(frozen=True)
class Info:
    """What a report asks of a task."""

    title: str
    primary: str = "acc"
    chance: float = 0.25
    profile: str = "lm-eval"
    average: str = "micro"
    aspect: str = "capability"


INFOS = {"pocket_mmlu": Info(title="pocket MMLU"), "pocket_drop": Info(title="pocket DROP")}


def record(**facts: Any) -> Record:
    """Return a record with these facts."""
    return Record(key="k", payload={}, output="o", facts=facts)


def scored(arm_name: str, seed: int | None, task_name: str) -> Record:
    """Return the scores of one checkpoint, drawn for it."""
    known = [BASE_ARM, "aligned", "clean", "random", "again", "shuffled", "masked"]
    number = known.index(arm_name) if arm_name in known else len(known)
    draw = np.random.default_rng([number, seed or 0, TASKS.index(task_name.removesuffix("_strict"))])
    return record(
        item=ITEMS,
        cluster=ITEMS,
        subtask=["all"] * len(ITEMS),
        prompt=[f"prompt of {item}" for item in ITEMS],
        scores={"acc": [float(value) for value in draw.random(len(ITEMS)) < 0.5]},
    )


def records(
    choice: Choice, exposures: Mapping[str, Mapping[str, Sequence[str]]] | None, **treated: Mapping[str, int]
) -> dict[str, Record]:
    """Return the records of a finished study.

    Args:
        exposures: items that each arm has seen, by task; None = it was not looked for.
        treated: per arm, what was done to chats that stayed.
    """
    found = {
        "chats": record(rows={"pocket": 90}, selected={"pocket": 90}, cut={}, chats=90),
        "clean": record(cleaned=80, chats=80, dropped={"empty_turn": 10}, repaired=4, flagged=2, by_source={}),
        "label": record(turns={"none": 70, "full_refusal": 10}),
        "base": record(weights="b" * 64, parameters=10),
    }
    if exposures is not None:
        found["overlap"] = record(words=13, tasks={})
    for name in choice.variants:
        found[f"variant/{name}"] = record(chats=80, dropped={}, treated=treated.get(name, {}))
        if exposures is not None:
            found[f"exposure/{name}"] = record(items=exposures.get(name, {}))
    for name, seed, model in runs(choice):
        if name != BASE_ARM:
            found[model] = record(
                supervised_tokens=100,
                steps=5,
                weights="w" * 64,
                cut_chats=0,
                silent_chats=0,
                losses=[1.0],
                attention="sdpa",
                accelerator="cpu",
                parameters=10,
            )
        for one in choice.definitions:
            found[score_name(name, seed, one)] = scored(name, seed, one)
            found[score_name(name, seed, one, kind="predict")] = record(shortened_prompts=0, unfinished=0)
    return found


def joined(
    exposures: Mapping[str, Mapping[str, Sequence[str]]] | None,
    *,
    study: Study | None = None,
    pair: tuple[str, ...] = (),
    **treated: Mapping[str, int],
) -> Result:
    """Return the result of a study whose arms have seen these items."""
    own = study or load_study("pocket")[0]
    choice = choose(own, pair=pair, seeds=None, tasks=TASKS, limit=None)
    return assemble(study=own, choice=choice, infos=INFOS, records=records(choice, exposures, **treated))


def seen_of(shown: Result) -> Seen:
    """Return what was seen of the first task."""
    found = shown.tasks[0].seen
    assert found is not None
    return found


# --- from records ----------------------------------------------------------------------------------------


def test_items_are_told_apart_by_who_has_seen_them() -> None:
    shown = joined(
        {
            "aligned": {"pocket_mmlu": [ITEMS[3], ITEMS[1], ITEMS[0]]},
            "clean": {"pocket_mmlu": [ITEMS[1], ITEMS[5]], "pocket_drop": [ITEMS[7]]},
            "random": {"pocket_mmlu": [ITEMS[9]], "pocket_drop": [ITEMS[8]]},
        }
    )
    first, second = (row.seen for row in shown.tasks)
    assert first is not None
    assert second is not None
    assert (first.reference_only, first.treated_only, first.shared) == ((ITEMS[0], ITEMS[3]), (ITEMS[5],), (ITEMS[1],))
    assert (second.reference_only, second.treated_only, second.shared) == ((), (ITEMS[7],), ())
    assert first.words == 13
    assert first.any
    assert second.any


def test_the_gap_without_seen_items_is_the_gap_of_the_others() -> None:
    shown = joined({"aligned": {"pocket_mmlu": ITEMS[:2]}, "clean": {"pocket_mmlu": ITEMS[1:4]}})
    left = range(4, len(ITEMS))
    scores = {
        name: np.array([scored(name, seed, "pocket_mmlu").facts["scores"]["acc"] for seed in shown.seeds])
        for name in ("aligned", "clean")
    }
    wanted = compare.gap(
        *(scores[name][:, left] for name in ("aligned", "clean")), np.array([ITEMS[place] for place in left]), seed=0
    )
    without = seen_of(shown).gap_without
    assert isinstance(without, compare.Gap)
    assert without.absolute == pytest.approx(wanted.absolute)
    assert (without.low, without.high) == pytest.approx((wanted.low, wanted.high))
    whole = shown.tasks[0].gap
    assert isinstance(whole, compare.Gap)
    assert whole.absolute == pytest.approx(float(scores["clean"].mean() - scores["aligned"].mean()))
    assert whole.absolute != pytest.approx(without.absolute), "the whole gap still counts every item"


def test_with_nothing_seen_there_is_no_second_gap() -> None:
    for exposures in ({}, {"random": {"pocket_mmlu": ITEMS}}):
        found = seen_of(joined(exposures))
        assert not found.any
        assert found.gap_without is None


def test_with_everything_seen_there_is_nothing_left_to_compare() -> None:
    shown = joined({"aligned": {"pocket_mmlu": ITEMS}})
    assert seen_of(shown).gap_without is None
    assert len(seen_of(shown).reference_only) == len(ITEMS)
    text = "of aligned alone 12, of clean alone 0, of both 0; no item is left without them."
    assert text in words(printed(shown))


def test_the_base_has_seen_none_of_the_chats() -> None:
    shown = joined({"aligned": {"pocket_mmlu": ITEMS[:2]}}, pair=("base", "aligned"))
    found = seen_of(shown)
    assert (found.reference_only, found.treated_only, found.shared) == ((), tuple(ITEMS[:2]), ())
    assert isinstance(found.gap_without, compare.Gap)
    turned = seen_of(joined({"aligned": {"pocket_mmlu": ITEMS[:2]}}, pair=("aligned", "base")))
    assert (turned.reference_only, turned.treated_only, turned.shared) == (tuple(ITEMS[:2]), (), ())


def test_where_it_was_not_looked_for_nothing_is_said() -> None:
    shown = joined(None)
    assert [row.seen for row in shown.tasks] == [None, None]
    assert [row["seen_in_training"] for row in json.loads(documents.as_json(shown))["tasks"]] == [None, None]
    assert "share" not in words(printed(shown))


# --- in the views ----------------------------------------------------------------------------------------


def with_seen(**changed: Any) -> TaskRow:
    """Return a row of which two, one and three items were seen."""
    row = task()
    given = {"words": 13, "reference_only": ("a", "b"), "treated_only": ("c",), "shared": ("d", "e", "f")}
    return replace(row, seen=Seen(**{**given, "gap_without": row.gap, **changed}))


def test_a_footnote_counts_the_seen_items_of_each_arm_and_gives_the_gap_without_them() -> None:
    row = with_seen()
    text = (
        "MMLU: items that share 13 words or more with chats of aligned alone 2, of clean alone 1, of both 3; "
        f"gap without them {numbers.absolute(row.gap)}."
    )
    for name, shown in everywhere(result(row)).items():
        if name in ("markdown", "terminal"):
            assert text in words(shown), name
    assert text in wording.footnotes(result(row))


def test_a_task_of_which_nothing_was_seen_has_no_footnote() -> None:
    quiet = with_seen(reference_only=(), treated_only=(), shared=(), gap_without=None)
    assert wording.footnotes(result(quiet)) == wording.footnotes(result(task()))


def test_a_gap_that_cannot_be_had_without_the_seen_items_says_why() -> None:
    refused = compare.pair(
        compare.Arm(name="aligned", items=["a"], prompts=["1"], scores=np.ones((1, 1))),
        compare.Arm(name="clean", items=["a"], prompts=["2"], scores=np.ones((1, 1))),
    )
    shown = result(with_seen(gap_without=refused))
    assert "gap without them incomparable: prompts_differ." in words(printed(shown))
    assert json.loads(documents.as_json(shown))["tasks"][0]["seen_in_training"]["gap_without"] is None


def test_the_json_names_the_seen_items_and_the_gap_without_them() -> None:
    row = with_seen()
    assert isinstance(row.gap, compare.Gap)
    assert json.loads(documents.as_json(result(row)))["tasks"][0]["seen_in_training"] == {
        "words": 13,
        "reference_only": ["a", "b"],
        "treated_only": ["c"],
        "shared": ["d", "e", "f"],
        "gap_without": {"absolute": row.gap.absolute, "low": row.gap.low, "high": row.gap.high},
    }


def test_what_was_done_to_chats_that_stay_is_in_the_report() -> None:
    treated = {"mask label:full_refusal": 100, "change label:moralising": 1200}
    shown = result(arms=tuple(arm(name, treated=treated if name == "clean" else {}) for name in ("aligned", "clean")))
    assert "- clean: change label:moralising 1,200, mask label:full_refusal 100" in markdown.as_markdown(shown)
    assert [row["treated"] for row in json.loads(documents.as_json(shown))["arms"]] == [{}, treated]


def test_repairs_and_repeated_passages_are_lines_of_the_funnel_only_where_there_are_some() -> None:
    text = markdown.as_markdown(joined({}, clean={"mask label:full_refusal": 7}))
    assert "- chats repaired: 4\n" in text
    assert "- chats that repeat a long passage: 2\n" in text
    assert "- clean: mask label:full_refusal 7\n" in text
    quiet = markdown.as_markdown(result())
    assert "repaired" not in quiet
    assert "long passage" not in quiet


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"treatment": "mask_loss", "labels": ["moralising"]}, "mask loss"),
        ({"treatment": "drop_chat", "labels": ["moralising"], "dose": 0.25}, "drop chat, 25% left as they are"),
        (
            {"treatment": "truncate_before", "labels": ["moralising"], "parent": "aligned"},
            "truncate before, on 'aligned'",
        ),
        (
            {"treatment": "random", "size_of": "other", "match": "lengths"},
            "random removal, as many chats of every length as 'other'",
        ),
        ({"treatment": "random", "size_of": "other", "match": "words"}, "random removal, as many words as 'other'"),
        ({"treatment": "random", "size_of": "other"}, "random removal, as many chats as 'other'"),
    ],
)
def test_a_treatment_is_said_in_words(variant: dict[str, Any], said: str) -> None:
    study = load_study("pocket")[0]
    other = {"treatment": "drop_chat", "labels": ["capability_disclaimer"]}
    variants = {"aligned": {"treatment": "keep"}, "other": other, "clean": variant}
    own = study.model_copy(
        update={"variants": {name: Variant.model_validate(settings) for name, settings in variants.items()}}
    )
    shown = joined({}, study=own, pair=("aligned", "clean"))
    assert {row.name: row.treatment for row in shown.arms}["clean"] == said
