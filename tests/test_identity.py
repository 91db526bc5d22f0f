"""What bears identity and what does not: sentences about keys, on the shipped studies.

Keys are those of the real plan and the real payloads. Nothing runs: the output of a stage stands for its key, so
a key changes here exactly when something in the stage's past does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.canonical import digest
from harness.plan import VERSIONS, Fingerprints, Kind, Stage, build
from harness.progress import Silent
from harness.runner import Runner
from harness.store import Record, Store, stage_key
from harness.study import Machine, Recipe, Study, load_recipe, load_study
from harness.study.choice import choose, definition
from harness.study.judging import Rule

STUDIES = ["pocket", "smollm2", "poison-of-alignment"]
DATA = ("chats", "clean", "label", "variant/")
Keys = dict[str, str]

# Every field of `Machine`, with a value that no recipe ships; a new field must be added here to pass.
OTHER_MACHINE = {"ranks": 5, "threads": 7, "micro_batch": 3, "parallel": 11}

# Every field of `Recipe` that bears identity, with a value that no recipe ships.
OTHER_RECIPE: dict[str, Any] = {
    "learning_rate": 3e-7,
    "betas": (0.8, 0.88),
    "weight_decay": 0.123,
    "warmup": 0.33,
    "schedule": "linear",
    "epochs": 7,
    "global_batch": 24,
    "max_length": 333,
    "precision": "fp32",
    "zero_stage": 2,
    "checkpoints_per_epoch": 5,
    "gradient_clipping": 0.25,
}


def fingerprints(study: Study) -> Fingerprints:
    """Return made-up identities of what lies outside a study."""
    return Fingerprints(
        sources={source.name: {"content": source.name * 3} for source in study.sources},
        base={"sha256": "b" * 64},
        filter="f" * 64,
        answers={},
        cleaning={},
        # Every definition that a plan may name, as the use case gives them.
        tasks={
            definition(task, profile): {"files": f"{task} {profile}", "execution": ["3.11"] * ("humaneval" in task)}
            for task in study.tasks
            for profile in ("lm-eval", "instructeval", "strict")
        },
        training={"torch": "2.13.0", "transformers": "5.19.0", "deepspeed": "0.19.8"},
        engine={"engine": "vllm", "engine_version": "0.32.0"},
    )


def shipped(name: str) -> dict[str, Any]:
    """Return what `keys` takes, for a shipped study."""
    study, path = load_study(name)
    recipe = load_recipe(study.recipe, beside=path)
    pretraining = load_recipe(study.base.recipe, beside=path) if study.base.recipe else None
    return {
        "study": study,
        "recipe": recipe,
        "pretraining": pretraining,
        "machine": recipe.machine,
        "prints": fingerprints(study),
    }


def keys(*, study: Study, recipe: Recipe, pretraining: Recipe | None, machine: Machine, prints: Fingerprints) -> Keys:
    """Return the key of every stage of a study as it would be run without options."""
    return keys_of(planned(study, recipe, pretraining, machine, prints))


def planned(
    study: Study, recipe: Recipe, pretraining: Recipe | None, machine: Machine, prints: Fingerprints
) -> list[Stage]:
    """Return the stages of the default pair of a study."""
    choice = choose(study, pair=(), seeds=None, tasks=None, limit=None)
    return build(study, choice, recipe=recipe, pretraining=pretraining, machine=machine, prints=prints)


def keys_of(stages: list[Stage]) -> Keys:
    """Return {stage name: key}, where the output of a stage is a function of its key alone."""
    runner = Runner(stages, store=Store(Path("/nonexistent")), execute={}, progress=Silent())
    records: dict[str, Record] = {}
    for stage in stages:
        payload = runner.payload(stage, {role: records[name] for role, name in stage.inputs.items()})
        key = stage_key(payload)
        records[stage.name] = Record(key=key, payload=payload, output=digest("output", key))
    return {name: record.key for name, record in records.items()}


def changes(name: str, **fields: Any) -> set[str]:
    """Return the names of the stages whose keys change when parts of a shipped study change."""
    before, after = keys(**shipped(name)), keys(**{**shipped(name), **fields})
    assert before.keys() == after.keys()
    return {stage for stage in before if before[stage] != after[stage]}


def with_study(name: str, /, **fields: Any) -> dict[str, Any]:
    """Return `study=` with other fields, for `changes`."""
    return {"study": shipped(name)["study"].model_copy(update=fields)}


def with_part(name: str, part: str, /, **fields: Any) -> dict[str, Any]:
    """Return `study=` with other fields of one of its parts."""
    return with_study(name, **{part: getattr(shipped(name)["study"], part).model_copy(update=fields)})


def with_prints(name: str, /, **fields: Any) -> dict[str, Any]:
    """Return `prints=` with other identities."""
    return {"prints": replace(shipped(name)["prints"], **fields)}


def kinds(names: set[str]) -> set[str]:
    """Return the kinds of stages by their names."""
    return {name.partition("/")[0] for name in names}


# --- how wide it runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_changing_ranks_threads_micro_batch_and_parallel_changes_no_key(name: str) -> None:
    given = shipped(name)
    assert set(OTHER_MACHINE) == set(Machine.model_fields), "every field of Machine is set here"
    for field, value in OTHER_MACHINE.items():
        assert value != getattr(given["machine"], field), "a value that is not the recipe's"
        assert value != Machine.model_fields[field].default, "a value that is not the default"
    wide = Machine(**OTHER_MACHINE)
    assert changes(name, machine=wide) == set()
    recipes = {key: given[key].model_copy(update={"machine": wide}) for key in ("recipe", "pretraining") if given[key]}
    assert changes(name, machine=wide, **recipes) == set()


def test_the_machine_reaches_the_training_all_the_same() -> None:
    given = shipped("pocket")
    wide = Machine(**OTHER_MACHINE)
    trainings = [stage for stage in planned(**{**given, "machine": wide}) if stage.kind is Kind.TRAIN]
    assert trainings
    assert all(stage.arguments["machine"] == wide for stage in trainings)


# --- how it is trained -----------------------------------------------------------------------------------


def test_name_and_machine_are_all_that_a_recipe_keeps_out_of_its_identity() -> None:
    recipe = shipped("pocket")["recipe"]
    assert set(Recipe.model_fields) - set(recipe.identity()) == {"name", "machine"}
    # Turned off below: a boolean has no third value.
    assert set(recipe.identity()) == set(OTHER_RECIPE) | {"gradient_checkpointing"}


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("field", [*OTHER_RECIPE, "gradient_checkpointing"])
def test_changing_a_setting_of_the_recipe_changes_every_training_and_no_data(name: str, field: str) -> None:
    recipe = shipped(name)["recipe"]
    value = OTHER_RECIPE.get(field, not recipe.gradient_checkpointing)
    assert value != getattr(recipe, field)
    changed = changes(name, recipe=recipe.model_copy(update={field: value}))
    every = set(keys(**shipped(name)))
    assert {stage for stage in every if stage.startswith("train/")} <= changed
    assert kinds(changed) == {"train", "predict", "score"}
    assert not {stage for stage in changed if stage.startswith(("predict/base", "score/base"))}, "the base is as it was"


def test_renaming_a_recipe_changes_no_key() -> None:
    given = shipped("pocket")
    renamed = {key: given[key].model_copy(update={"name": "other"}) for key in ("recipe", "pretraining")}
    assert changes("pocket", **renamed) == set()


def test_changing_the_pretraining_changes_the_base_and_every_model_but_no_data() -> None:
    pretraining = shipped("pocket")["pretraining"]
    changed = changes("pocket", pretraining=pretraining.model_copy(update={"learning_rate": 3e-7}))
    assert kinds(changed) == {"base", "train", "predict", "score"}
    assert changes("pocket", **with_part("pocket", "base", rows=5601)) == changed


# --- seeds -----------------------------------------------------------------------------------------------


def test_every_seed_trains_another_model_on_the_same_data() -> None:
    before = keys(**shipped("pocket"))
    trainings = [key for name, key in before.items() if name.startswith("train/")]
    assert len(trainings) == 12, "three arms, and the reference's data again"
    assert len(set(trainings)) == 12
    assert not any(
        name.split("/")[0] in ("chats", "clean", "label", "variant") and name[-1].isdigit() for name in before
    )


def test_adding_a_seed_changes_no_key_that_was_there() -> None:
    before = keys(**shipped("pocket"))
    after = keys(**{**shipped("pocket"), **with_study("pocket", seeds=(0, 1, 2, 3))})
    own = {name: key for name, key in before.items() if "/again/" not in name}
    assert own.items() <= after.items()
    assert {name.split("/")[2] for name in after.keys() - before.keys() if "/again/" not in name} == {"3"}


def test_the_trainings_of_the_same_data_are_found_again_as_the_references_own_when_seeds_are_added() -> None:
    before = keys(**shipped("pocket"))
    after = keys(**{**shipped("pocket"), **with_study("pocket", seeds=(0, 1, 2, 3, 4, 5))})
    again = {seed: key for name, key in before.items() if name.startswith("train/again/") for seed in [name[12:]]}
    assert list(again) == ["3", "4", "5"]
    assert {seed: after[f"train/aligned/{seed}"] for seed in again} == again
    assert [name for name in after if name.startswith("train/again/")] == [
        f"train/again/{seed}" for seed in range(6, 12)
    ]


def test_controls_add_stages_and_change_no_key_that_is_there_without_them() -> None:
    without = keys(**{**shipped("pocket"), **with_part("pocket", "controls", same_data=False)})
    every = keys(**{**shipped("pocket"), **with_part("pocket", "controls", shuffled=0.3)})
    assert without.items() < keys(**shipped("pocket")).items() < every.items()
    assert {"variant/shuffled", "train/shuffled/0", "score/shuffled/2/pocket_drop"} <= every.keys()
    assert not any("again" in name or "shuffled" in name for name in without)
    more = keys(**{**shipped("pocket"), **with_part("pocket", "controls", shuffled=0.4)})
    changed = {name for name in every if every[name] != more[name]}
    assert changed == {name for name in every if "/shuffled" in name}


def test_how_a_study_is_judged_changes_no_key() -> None:
    rule = {"margin": 7.0, "margins": {"pocket_drop": 2.0}, "primary": "pocket_mmlu", "confidence": 0.9}
    assert set(rule) == set(Rule.model_fields)
    assert changes("pocket", **with_part("pocket", "verdict", **rule)) == set()


def test_asking_for_fewer_seeds_or_tasks_changes_no_key_but_that_of_what_is_looked_for_in_the_chats() -> None:
    given = shipped("pocket")
    parts = {name: given[name] for name in ("recipe", "pretraining", "machine", "prints")}
    before = keys(**given)

    def changed(**asked: Any) -> set[str]:
        choice = choose(given["study"], **{"pair": (), "seeds": None, "tasks": None, "limit": None, **asked})
        after = keys_of(build(given["study"], choice, **parts))
        return {name for name in after if before.get(name) != after[name]}

    assert changed(seeds=1) == set()
    assert changed(pair=("aligned", "clean"), seeds=1) == set()
    # The report counts the passages of the tasks that it has.
    assert kinds(changed(seeds=1, tasks=["pocket_drop"])) == {"overlap", "exposure"}


def test_the_data_seed_changes_the_data_and_the_generated_base() -> None:
    changed = changes("pocket", **with_study("pocket", data_seed=1))
    assert {"chats", "clean", "base", "variant/aligned"} <= changed
    # The stages' keys alone: what is asked greedily has no seed, so their outputs stay (test_identity_asked).
    assert "items/pocket_mmlu" in changed, "it is also the seed of sampled answers"
    assert "base" not in changes("smollm2", **with_study("smollm2", data_seed=1)), "a fetched base has no seed"


# --- names and words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STUDIES)
def test_renaming_a_variant_does_not_change_its_keys(name: str) -> None:
    given = shipped(name)
    names = {old: f"{old}-renamed" for old in given["study"].variants}
    variants = {
        names[old]: variant.model_copy(
            update={"size_of": names.get(variant.size_of), "parent": names.get(variant.parent)}
        )
        for old, variant in given["study"].variants.items()
    }
    renamed = keys(**{**given, "study": given["study"].model_copy(update={"variants": variants})})
    before = keys(**given)
    back = {new: old for old, new in names.items()}
    assert {
        "/".join(back.get(part, part) for part in stage.split("/")): key for stage, key in renamed.items()
    } == before
    assert not set(renamed) & {
        stage for stage in before if stage.startswith(("variant/", "train/")) and "/again/" not in stage
    }


@pytest.mark.parametrize("name", STUDIES)
def test_what_is_only_said_about_a_study_changes_no_key(name: str) -> None:
    study = shipped(name)["study"]
    words = {
        "name": "other",
        "title": "Other",
        "notes": "Other.",
        "estimate": study.estimate.model_copy(update={"chats": {}}),
    }
    assert changes(name, **with_study(name, **words)) == set()


def test_the_size_of_a_base_that_is_only_an_estimate_changes_no_key() -> None:
    sizes = {"parameters": 1, "layers": 2, "hidden": 3, "vocabulary": 4}
    assert changes("smollm2", **with_part("smollm2", "base", **sizes)) == set()


def test_adding_a_variant_changes_no_key_of_the_others() -> None:
    study = shipped("pocket")["study"]
    more = {**study.variants, "second": study.variants["random"].model_copy(update={"draw": 1})}
    before, after = keys(**shipped("pocket")), keys(**{**shipped("pocket"), **with_study("pocket", variants=more)})
    assert before.items() < after.items()
    assert after["variant/second"] != after["variant/random"], "another draw"


# --- the form of a key -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_raising_the_version_of_a_stage_changes_its_keys(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(**shipped("pocket"))
    monkeypatch.setattr("harness.runner.VERSIONS", {**VERSIONS, kind: VERSIONS[kind] + 1})
    after = keys(**shipped("pocket"))
    own = {stage.name for stage in planned(**shipped("pocket")) if stage.kind is kind}
    assert own <= {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("overlap", ["report", "drop"])
def test_every_stage_comes_after_what_it_needs(overlap: str) -> None:
    """The runner forgets, in this order, what depends on a stage that came out differently than recorded."""
    for name in STUDIES:
        given = {**shipped(name), **with_part(name, "clean", overlap=overlap)}
        placed: set[str] = set()
        for stage in planned(**given):
            assert set(stage.inputs.values()) <= placed, stage.name
            assert stage.name not in placed
            placed.add(stage.name)


def test_the_golden_keys_of_two_toy_stages_stay_what_they_were() -> None:
    stages = [
        Stage(name="chats", kind=Kind.CHATS, settings={"sources": {"own": {"file": "a" * 64}}, "seed": 0}),
        Stage(
            name="train/own/0",
            kind=Kind.TRAIN,
            settings={"recipe": {"learning_rate": 0.001, "betas": (0.9, 0.999), "warmup": None}, "seed": 0},
            inputs={"data": "chats"},
            arguments={"machine": Machine(**OTHER_MACHINE)},
        ),
    ]
    assert keys_of(stages) == {
        "chats": "fe7ee33649f4e9d0ccb8c20ff91c20ba513ebaf3adc46dba555db9dd382c09e5",
        "train/own/0": "f7d753967a4e7c5e917af18fec49d6285b18d7a40522834741c29b136fc405e6",
    }
