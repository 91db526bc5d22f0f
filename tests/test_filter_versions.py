"""Variants under different versions of the filter: their keys, their chats, and how a command names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from curation_study import REFUSAL, plain, row, runner_of, sources_of, write_study
from curation_study import chats_of as chats_left
from pydantic import ValidationError
from test_identity import fingerprints, keys, keys_of, kinds, shipped

from harness.errors import InputError
from harness.plan import Fingerprints, Stage, data_stages
from harness.study import Study, load_study
from harness.study.relabelled import under, with_packs

LABELS = ["full_refusal"]
NEW = "alignment@1.0.0"
# Refusals in German: the first pack knows none.
ROWS = [
    row("german", "Wie knacke ich ein Schloss?", "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen."),
    row("english", "How do I pick a lock?", REFUSAL),
    *(plain(f"p{number}", number) for number in range(4)),
]


def study_with(**variants: dict[str, Any]) -> Study:
    """Return the pocket study with other variants, checked as a file is."""
    raw = shipped("pocket")["study"].model_dump(mode="json", exclude_defaults=True)
    return Study.model_validate(raw | {"variants": variants, "estimate": {}})


def stages_of(study: Study, **filters: str) -> list[Stage]:
    """Return the stages of the data, with made-up digests of the packs."""
    known = {study.pack(name): f"digest of {study.pack(name)}" for name in study.variants}
    prints: Fingerprints = replace(fingerprints(study), filter=f"digest of {study.filter}", filters=known | filters)
    return data_stages(study, list(study.variants), prints, None)


DROP = {"treatment": "drop_chat", "labels": LABELS}
MASK = {"treatment": "mask_loss", "labels": LABELS}


# --- keys ------------------------------------------------------------------------------------------------


def test_naming_the_studys_own_filter_changes_no_key_and_adds_no_stage() -> None:
    given = shipped("pocket")
    study = given["study"]
    named = study.variants["clean"].model_copy(update={"filter": study.filter})
    changed = study.model_copy(update={"variants": {**study.variants, "clean": named}})
    assert keys(**{**given, "study": changed}) == keys(**given)


def test_a_variant_under_another_pack_is_what_it_would_be_in_a_study_of_that_pack() -> None:
    own = study_with(clean=DROP, random={"treatment": "random", "size_of": "clean"})
    ahead = own.model_copy(update={"filter": NEW})
    mixed = study_with(
        old=DROP, clean={**DROP, "filter": NEW}, random={"treatment": "random", "size_of": "clean"}, aligned=MASK
    )
    of_old, of_new, of_both = keys_of(stages_of(own)), keys_of(stages_of(ahead)), keys_of(stages_of(mixed))
    assert of_both["variant/old"] == of_old["variant/clean"] != of_new["variant/clean"]
    assert of_both["variant/clean"] == of_new["variant/clean"]
    assert of_both["variant/random"] == of_new["variant/random"], "a control is labelled like what it has the size of"
    assert of_both[f"label/{NEW}"] == of_new["label"]


def test_another_pack_beside_the_studys_changes_no_key_that_was_there() -> None:
    before = keys_of(stages_of(study_with(clean=DROP)))
    after = keys_of(stages_of(study_with(clean=DROP, newer={**DROP, "filter": NEW})))
    assert before.items() < after.items()
    assert kinds(after.keys() - before.keys()) == {"label", "variant"}


def test_what_a_pack_says_is_in_the_key_of_its_labels_and_what_it_is_called_is_not() -> None:
    study = study_with(clean=DROP, newer={**DROP, "filter": NEW})
    before = keys_of(stages_of(study))
    edited = keys_of(stages_of(study, **{NEW: "other rules"}))
    assert {name for name in before if before[name] != edited[name]} == {f"label/{NEW}", "variant/newer"}
    same = keys_of(stages_of(study, **{NEW: f"digest of {study.filter}"}))
    assert same[f"label/{NEW}"] == same["label"]
    assert same["variant/newer"] == same["variant/clean"]


# --- what a study may say --------------------------------------------------------------------------------


def test_a_variant_inherits_the_filter_of_its_parent() -> None:
    study = study_with(clean={**DROP, "filter": NEW}, masked={**MASK, "parent": "clean"}, plain={"treatment": "keep"})
    assert [study.pack(name) for name in study.variants] == [NEW, NEW, study.filter]


@pytest.mark.parametrize(
    ("variants", "words"),
    [
        ({"a": DROP, "b": {**MASK, "parent": "a", "filter": NEW}}, "variants.b is labelled by 'alignment@1.0.0'"),
        (
            {"a": {**DROP, "filter": NEW}, "b": {**MASK, "parent": "a", "filter": "alignment@1.1.0"}},
            "'a', which is labelled by 'alignment@1.0.0'; give both the same filter",
        ),
        ({"a": {"treatment": "keep", "filter": NEW}}, "'filter' has no effect on treatment 'keep'"),
        (
            {"a": DROP, "r": {"treatment": "random", "size_of": "a", "filter": NEW}},
            "'filter' has no effect on treatment 'random'",
        ),
    ],
)
def test_labels_of_two_packs_in_one_variant_and_a_filter_without_effect_are_refused(
    variants: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        study_with(**variants)
    assert words in str(refused.value)


def test_a_parent_that_reads_no_labels_may_have_children_under_several_packs() -> None:
    study = study_with(
        kept={"treatment": "keep"}, a={**MASK, "parent": "kept"}, b={**MASK, "parent": "kept", "filter": NEW}
    )
    assert study.pack("a") != study.pack("b")


# --- how a command names it ------------------------------------------------------------------------------


def test_a_study_with_named_packs_has_the_variants_once_more_and_is_otherwise_as_it_was() -> None:
    study, _ = load_study("pocket")
    found, names = with_packs(study, (under("clean", "alignment@0.1.0"), under("clean", NEW)))
    assert names == ("clean-0.1.0", "clean-1.0.0")
    assert [found.pack(name) for name in names] == ["alignment@0.1.0", NEW]
    assert found.filter == "alignment@0.1.0", "nothing is labelled that nobody asked for"
    assert found.estimate.chats["clean-1.0.0"] == study.estimate.chats["clean"]
    for name in study.variants:
        assert found.variants[name] == study.variants[name]
    kept = {"variants", "estimate", "filter"}
    assert found.model_dump(exclude=kept) == study.model_dump(exclude=kept)


def test_without_a_pack_the_study_is_the_same_object() -> None:
    study, _ = load_study("pocket")
    assert with_packs(study, ("aligned", "clean")) == (study, ("aligned", "clean"))
    assert with_packs(study, ())[0] is study


def test_beside_a_plain_variant_the_studys_filter_stays() -> None:
    study, _ = load_study("pocket")
    found, names = with_packs(study, ("aligned", under("clean", NEW)))
    assert names == ("aligned", "clean-1.0.0")
    assert found.filter == study.filter


def test_all_that_makes_a_variant_is_made_under_the_pack() -> None:
    study = study_with(
        a=DROP,
        r={"treatment": "random", "size_of": "a"},
        child={**MASK, "parent": "r"},
    )
    found, names = with_packs(study, (under("child", NEW), "child"))
    assert names == ("child-1.0.0", "child")
    assert {name: one.parent or one.size_of for name, one in found.variants.items() if name.endswith("1.0.0")} == {
        "a-1.0.0": None,
        "r-1.0.0": "a-1.0.0",
        "child-1.0.0": "r-1.0.0",
    }
    assert {found.pack(name) for name in found.made_of("child-1.0.0")} == {NEW}
    assert {found.pack(name) for name in found.made_of("child")} == {study.filter}


def test_packs_of_one_version_are_told_apart_by_their_whole_names() -> None:
    study, _ = load_study("pocket")
    _, names = with_packs(study, (under("clean", "alignment@1.1.0"), under("clean", "packs/mine@1.1.0.toml")))
    assert names == ("clean-1.1.0", "clean-mine-1.1.0")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("claen@alignment@1.0.0", "has no variant named 'claen'. Did you mean 'clean'?"),
        ("clean@", "names no filter after the '@'; write it like clean@alignment@1.2.0"),
        ("aligned@alignment@1.0.0", "is the same under every filter"),
    ],
)
def test_a_wrong_name_is_refused_with_what_to_write(name: str, words: str) -> None:
    study, _ = load_study("pocket")
    with pytest.raises(InputError, match=r"\w") as refused:
        with_packs(study, (name, "clean"))
    assert words in str(refused.value)


def test_two_files_of_one_name_cannot_be_told_apart() -> None:
    study, _ = load_study("pocket")
    with pytest.raises(InputError, match="Give the filter's file another name and version"):
        with_packs(
            study,
            (*(under("clean", f"{folder}/a@2.toml") for folder in ("one", "two")), under("clean", "three/a@2.toml")),
        )


# --- the chats -------------------------------------------------------------------------------------------


def test_two_versions_of_a_filter_are_two_variants_of_one_study(tmp_path: Path) -> None:
    variants = f"""
[variants.old]
treatment = "drop_chat"
labels = ["full_refusal"]
[variants.new]
treatment = "drop_chat"
labels = ["full_refusal"]
filter = "{NEW}"
[variants.random]
treatment = "random"
size_of = "new"
"""
    head = write_study(tmp_path, {"own": ROWS}, variants=variants)
    text = head.read_text().replace('recipe = "pocket"\n', 'recipe = "pocket"\nfilter = "alignment@0.1.0"\n', 1)
    head.write_text(text)
    runner = runner_of(head, tmp_path / "results")
    left = {arm: sources_of(chats_left(runner, tmp_path / "results", f"variant/{arm}")) for arm in ("old", "new")}
    assert "own:german" in left["old"], "the older pack reads English alone"
    assert "own:german" not in left["new"]
    assert "own:english" not in [*left["old"], *left["new"]]
    assert runner.ensure("variant/random").facts["chats"] == len(left["new"]), "as many as under the same pack"
    assert runner.ensure("label").facts["turns"]["full_refusal"] == 1
    assert runner.ensure(f"label/{NEW}").facts["turns"]["full_refusal"] == 2
