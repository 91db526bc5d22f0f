"""What bears identity between a source and a dataset: sources, cleaning, overlap, labels, treatments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_identity import changes, fingerprints, keys, keys_of, kinds, shipped, with_part, with_prints, with_study

from harness.plan import Kind, Stage, build, data_stages
from harness.study import Clean, Mix, Repair, Variant
from harness.study.choice import choose

# --- sources and cleaning --------------------------------------------------------------------------------


def test_the_bytes_of_a_source_change_everything_that_follows_from_it() -> None:
    sources = shipped("smollm2")["prints"].sources | {"dolly": {"content": "other bytes"}}
    changed = changes("smollm2", **with_prints("smollm2", sources=sources))
    assert {"chats", "clean", "label", "variant/aligned", "train/aligned/0", "score/aligned/0/mmlu"} <= changed
    data = {"chats", "overlap", "clean", "label", "variant", "exposure"}
    assert kinds(changed) == data | {"train", "predict", "score"}
    assert not {"predict/base/mmlu", "score/base/mmlu"} & changed


def test_the_order_of_the_sources_bears_identity() -> None:
    """The first of two duplicates stays, and which source it is from decides what mixing counts."""
    prints = shipped("smollm2")["prints"]
    swapped = replace(prints, sources=dict(reversed(prints.sources.items())))
    assert "chats" in changes("smollm2", prints=swapped)


def test_the_rule_pack_changes_labels_and_what_is_built_on_them_but_no_cleaning() -> None:
    changed = changes("pocket", **with_prints("pocket", filter="g" * 64))
    assert "label" in changed
    assert not {"chats", "clean", "base", "overlap"} & changed


# Every field of `Clean` that bears identity, with a value that no shipped study has.
CLEANING: dict[str, Any] = {
    "repair": Repair.MERGE,
    "min_user_chars": 99,
    "min_mean_words": 9.5,
    "max_words": 97,
    "max_repeats": 98,
    "max_repeats_within": 96,
    "languages": ("en", "de"),
    "max_foreign": 0.125,
    "deduplicate": False,
    "near_duplicates": "fast",
    "min_jaccard": 0.75,
    "min_edit_similarity": 0.85,
    "min_repeated_passage": 51,
    "repeated_passages": "drop",
}


@pytest.mark.parametrize("field", [name for name in Clean.model_fields if not name.startswith("overlap")])
def test_every_threshold_of_cleaning_bears_identity(field: str) -> None:
    assert CLEANING[field] != getattr(shipped("pocket")["study"].clean, field)
    changed = changes("pocket", **with_part("pocket", "clean", **{field: CLEANING[field]}))
    assert {"clean", "label", "variant/aligned", "train/aligned/0"} <= changed
    assert not {"chats", "overlap"} & changed, "overlap is looked for in the chats as read"


@pytest.mark.parametrize(("field", "value"), [("source", "dolly"), ("share", 0.5)])
def test_every_setting_of_mixing_bears_identity(field: str, value: Any) -> None:
    assert set(Mix.model_fields) == {"source", "share"}
    changed = changes("smollm2", **with_part("smollm2", "mix", **{field: value}))
    assert "clean" in changed
    assert "chats" not in changed


# --- overlap with the tasks ------------------------------------------------------------------------------


def dropping(**fields: Any) -> dict[str, Any]:
    """Return what `keys` takes for the pocket study when chats that overlap with its tasks leave."""
    return {**shipped("pocket"), **with_part("pocket", "clean", **{"overlap": "drop", **fields})}


def asking(given: dict[str, Any], *, tasks: list[str] | None = None, limit: int | None = None) -> list[Stage]:
    """Return the stages of a command that asks only some tasks, or some of their items."""
    choice = choose(given["study"], pair=(), seeds=None, tasks=tasks, limit=limit)
    return build(
        given["study"], choice, **{name: given[name] for name in ("recipe", "pretraining", "machine", "prints")}
    )


def test_the_length_of_a_shared_passage_changes_what_is_reported_and_no_cleaning() -> None:
    changed = changes("pocket", **with_part("pocket", "clean", overlap_words=20))
    assert kinds(changed) == {"overlap", "exposure"}


def test_a_study_that_does_not_look_for_overlap_has_no_stage_for_it_and_the_same_training() -> None:
    without = keys(**{**shipped("pocket"), **with_part("pocket", "clean", overlap_words=0)})
    usual = keys(**shipped("pocket"))
    assert without.items() <= usual.items()
    assert kinds(usual.keys() - without.keys()) == {"overlap", "exposure"}


def test_which_tasks_are_about_safety_changes_what_is_looked_for_in_the_chats_and_no_item_or_score() -> None:
    """Of safety tasks chats are also searched for whole prompts: a task that becomes one is searched for anew."""
    tasks = shipped("pocket")["prints"].tasks
    safe = tasks | {"pocket_drop": tasks["pocket_drop"] | {"aspect": "safety"}}
    changed = changes("pocket", **with_prints("pocket", tasks=safe))
    assert changed == {"overlap", "exposure/aligned", "exposure/clean", "exposure/random"}


def test_where_overlaps_leave_the_length_of_a_passage_changes_the_cleaning() -> None:
    before, after = keys(**dropping()), keys(**dropping(overlap_words=20))
    changed = {name for name in before if before[name] != after[name]}
    assert {"overlap", "clean", "variant/aligned", "train/aligned/0"} <= changed
    assert not {"chats", "base"} & changed


def test_dropping_overlaps_is_another_cleaning_than_reporting_them() -> None:
    assert keys(**dropping())["clean"] != keys(**shipped("pocket"))["clean"]


def test_what_leaves_for_overlap_does_not_depend_on_how_much_of_the_study_one_command_asks() -> None:
    whole = keys(**dropping())
    for asked in ({"tasks": ["pocket_drop"]}, {"limit": 5}, {"tasks": ["pocket_drop", "pocket_bbh"], "limit": 1}):
        stages = asking(dropping(), **asked)  # type: ignore[arg-type]
        part = keys_of(stages)
        same = {name for name in part if whole.get(name) == part[name]}
        assert {"overlap", "clean", "label", "variant/clean", "exposure/clean", "train/clean/0"} <= same
        searched = {stage.name for stage in stages if stage.name.startswith("all-items/")}
        assert searched == {f"all-items/{task}" for task in shipped("pocket")["study"].tasks}
        assert {stage.settings["limit"] for stage in stages if stage.name in searched} == {0}


def test_where_overlaps_leave_a_task_that_is_not_asked_changes_the_cleaning_all_the_same() -> None:
    given = dropping()
    tasks = given["prints"].tasks | {"pocket_mmlu": {"files": "new"}}
    before = keys_of(asking(given, tasks=["pocket_drop"]))
    after = keys_of(asking({**given, "prints": replace(given["prints"], tasks=tasks)}, tasks=["pocket_drop"]))
    assert before["clean"] != after["clean"]
    assert before["items/pocket_drop"] == after["items/pocket_drop"]


def test_the_limit_of_the_study_file_changes_no_cleaning_that_drops_overlaps() -> None:
    given = dropping()
    limited = given["study"].model_copy(
        update={"evaluation": given["study"].evaluation.model_copy(update={"limit": 7})}
    )
    assert keys(**{**given, "study": limited})["clean"] == keys(**given)["clean"]


# --- treatments ------------------------------------------------------------------------------------------

REFUSALS = {"treatment": "drop_chat", "labels": ["full_refusal", "moralising"]}
REPLACED = {"treatment": "replace", "labels": ["full_refusal"], "answers": "answers.jsonl"}


def variant_key(name: str, answers: dict[str, str] | None = None, **variants: dict[str, Any]) -> str:
    """Return the key of one variant of the pocket study with these variants."""
    study = shipped("pocket")["study"].model_copy(
        update={"variants": {one: Variant.model_validate(settings) for one, settings in variants.items()}}
    )
    prints = replace(fingerprints(study), answers=answers or {})
    return keys_of(data_stages(study, list(variants), prints, None))[f"variant/{name}"]


def test_the_treatment_of_one_variant_changes_it_and_its_control_alone() -> None:
    study = shipped("pocket")["study"]
    fewer = study.variants["clean"].model_copy(update={"labels": study.variants["clean"].labels[:1]})
    changed = changes("pocket", **with_study("pocket", variants={**study.variants, "clean": fewer}))
    assert {name.split("/")[1] for name in changed} == {"clean", "random"}


def test_two_variants_with_one_treatment_are_one_question() -> None:
    study = shipped("pocket")["study"]
    twice = {"aligned": study.variants["aligned"], "same": study.variants["aligned"]}
    both = keys(**{**shipped("pocket"), **with_study("pocket", variants=twice)})
    assert both["train/aligned/0"] == both["train/same/0"]
    assert both["score/aligned/0/pocket_drop"] == both["score/same/0/pocket_drop"]


def test_names_order_of_labels_and_other_variants_are_no_part_of_a_variant() -> None:
    key = variant_key("a", a=REFUSALS)
    assert variant_key("b", b=REFUSALS) == key
    assert variant_key("a", other={"treatment": "keep"}, a=REFUSALS) == key
    assert variant_key("a", a={**REFUSALS, "labels": REFUSALS["labels"][::-1]}) == key
    child = variant_key("c", a=REFUSALS, c={**REPLACED, "parent": "a"}, answers={"c": "1"})
    assert variant_key("d", b=REFUSALS, d={**REPLACED, "parent": "b"}, answers={"d": "1"}) == child
    harmful = {"label": ["unsafe", "toxic"], "level": ["3"]}
    turned = {"level": ["3"], "label": ["toxic", "unsafe"]}
    assert variant_key("a", a={**REFUSALS, "treatment": "selective", "harmful": harmful}) == variant_key(
        "a", a={**REFUSALS, "treatment": "selective", "harmful": turned}
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (REFUSALS, {**REFUSALS, "labels": ["full_refusal"]}),
        (REFUSALS, {**REFUSALS, "treatment": "truncate_before"}),
        (REFUSALS, {**REFUSALS, "treatment": "mask_loss"}),
        (REFUSALS, {**REFUSALS, "dose": 0.25}),
        ({**REFUSALS, "dose": 0.5}, {**REFUSALS, "dose": 0.25}),
        (
            {**REFUSALS, "treatment": "selective", "harmful": {"label": ["unsafe"]}},
            {**REFUSALS, "treatment": "selective", "harmful": {"label": ["unsafe", "toxic"]}},
        ),
    ],
)
def test_a_treatment_with_all_that_it_is_given_is_part_of_a_variant_of_its_children_and_of_its_control(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert variant_key("a", a=before) != variant_key("a", a=after)
    child = {"parent": "a", "treatment": "drop_chat", "labels": ["identity_disclaimer"]}
    grandchild = {"parent": "c", "treatment": "keep"}
    for name in ("c", "g"):
        assert variant_key(name, a=before, c=child, g=grandchild) != variant_key(name, a=after, c=child, g=grandchild)
    control = {"treatment": "random", "size_of": "a"}
    assert variant_key("r", a=before, r=control) != variant_key("r", a=after, r=control)


@pytest.mark.parametrize("setting", [{"match": "lengths"}, {"match": "words"}, {"draw": 1}])
def test_how_a_random_control_is_drawn_is_part_of_it(setting: dict[str, Any]) -> None:
    control = {"treatment": "random", "size_of": "a"}
    assert variant_key("r", a=REFUSALS, r=control) != variant_key("r", a=REFUSALS, r={**control, **setting})
    assert variant_key("a", a=REFUSALS, r=control) == variant_key("a", a=REFUSALS, r={**control, **setting})


def test_the_bytes_of_the_answers_are_part_of_a_variant_and_the_path_to_them_is_not() -> None:
    moved = {**REPLACED, "answers": "elsewhere/answers.jsonl"}
    key = variant_key("a", a=REPLACED, answers={"a": "1" * 64})
    assert variant_key("a", a=moved, answers={"a": "1" * 64}) == key
    assert variant_key("a", a=REPLACED, answers={"a": "2" * 64}) != key
    child = {"parent": "a", **REFUSALS}
    first, second = (variant_key("c", a=REPLACED, c=child, answers={"a": digit * 64}) for digit in "12")
    assert first != second


def test_the_same_treatments_in_another_order_are_another_variant() -> None:
    """Cutting a chat before an answer and then replacing answers is not replacing first."""
    cut = {"treatment": "truncate_before", "labels": ["moralising"]}
    mask = {"treatment": "mask_loss", "labels": ["full_refusal"]}
    assert variant_key("b", a=cut, b={**mask, "parent": "a"}) != variant_key("b", a=mask, b={**cut, "parent": "a"})


def test_every_option_of_a_variant_bears_identity_and_its_name_is_an_argument() -> None:
    stages = [stage for stage in asking(dropping()) if stage.kind is Kind.VARIANT]
    assert [stage.arguments["name"] for stage in stages] == ["aligned", "clean", "random"]
    assert not any("aligned" in str(stage.settings) for stage in stages)
    for stage in stages:
        # Those two name other variants: what these do stands in their place. The filter enters through the labels. The
        # share came later, and only a variant that sets it has it.
        absent = {"parent", "size_of", "filter", "share"}
        assert set(stage.settings["lineage"][-1]) == set(Variant.model_fields) - absent
    shuffled = {"treatment": "shuffle_answers", "share": 0.3}
    assert variant_key("s", s=shuffled) != variant_key("s", s=shuffled | {"share": 0.4})


def test_what_a_random_ancestor_matches_is_part_of_its_children() -> None:
    other = {**REFUSALS, "labels": ["moralising"]}
    child = {"parent": "r", "treatment": "mask_loss", "labels": ["full_refusal"]}
    first, second = (
        variant_key("c", a=REFUSALS, b=other, r={"treatment": "random", "size_of": twin}, c=child) for twin in "ab"
    )
    assert first != second
