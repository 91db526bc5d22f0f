"""`harness explain`: the first cause of a miss, and the past of a record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from curation_study import HEAD
from recorded_studies import planned, record_all, record_run, study_of

from harness import plan, runner
from harness.canonical import digest
from harness.commands import explain
from harness.commands.explain import Absent, Explanation, Records, ancestry, differences, flatten
from harness.commands.explain.records import makers
from harness.errors import InputError
from harness.plan import Kind
from harness.runner import State
from harness.store import Store, tree_digest
from harness.study import Study

USUAL = str(Study.model_fields["filter"].default)
STAGE = "train/clean/0"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a store in which every stage of the study is recorded, and a run of it."""
    ablation = planned(study_of(tmp_path / "study"), tmp_path / "results")
    record_run(ablation, record_all(ablation))
    return tmp_path / "results"


def explained(study: Path, results: Path, stage: str = STAGE, *, until: str = "") -> Explanation:
    """Explain a stage after everything up to the first stage of the kind `until` was recorded again."""
    ablation = planned(study, results)
    if until:
        record_all(ablation, before=until)
    return explain.explain(planned(study, results), Records(Store(results)), stage)


def harness(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


# --- differences -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "now", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": (1, 2)}, {"a": [1, 2]}, []),
        ({"a": 1}, {"a": 1.0}, ["a"]),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": None, "b": 1}, {"b": 1}, ["a"]),
        ({"a": []}, {"a": {}}, ["a"]),
        ({"a": {"b": 1}}, {"a.b": 1}, ["a.b", '["a.b"]']),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, ["a[1].b"]),
        ({"a": ""}, {"a": "x"}, ["a"]),
    ],
)
def test_fields_differ_exactly_where_keys_do(recorded: Any, now: Any, paths: list[str]) -> None:
    assert sorted(one.path for one in differences(recorded, now)) == sorted(paths)
    assert (digest("x", recorded) == digest("x", now)) == (paths == [])


def test_a_field_that_is_none_is_there_and_one_that_is_missing_is_not() -> None:
    [one] = differences({"a": None, "b": 1}, {"b": 1})
    assert one.recorded is None and one.now is Absent.ABSENT
    assert one.document() == {"path": "a", "recorded": None}


def test_no_two_fields_share_a_path() -> None:
    value = {"a.b": 1, "a": {"b": 2, 'c"]': 3}, "a[0]": 4, "d": [5, [6]]}
    assert sorted(flatten(value).values()) == [1, 2, 3, 4, 5, 6]


def test_every_input_of_a_plan_comes_from_a_kind_that_is_known_to_make_it(tmp_path: Path) -> None:
    study = study_of(tmp_path, clean='overlap = "drop"')
    ablation = planned(study, tmp_path / "results")
    stages = {stage.name: stage for stage in ablation.stages}
    for stage in ablation.stages:
        for role, name in stage.inputs.items():
            assert stages[name].kind in makers(stage.kind, role)
            assert len(makers(stage.kind, role)) <= 2


# --- a stage ---------------------------------------------------------------------------------------------


def test_a_cached_stage_says_so_and_names_its_run(tmp_path: Path, results: Path) -> None:
    found = explained(tmp_path / "study" / "own.toml", results)
    assert found.state is State.CACHED and found.step is None
    assert [(use.run, use.stages) for use in found.uses] == [("own/whole", (STAGE,))]
    assert "is cached" in found.sentence and "not kept" in found.sentence


def test_a_changed_recipe_is_named_with_both_values(tmp_path: Path, results: Path) -> None:
    study = study_of(tmp_path / "study")
    recipe = study.parent / "own-recipe.toml"
    recipe.write_text(recipe.read_text().replace("1e-3", "2e-3"))
    found = explained(study, results)
    assert found.sentence == f"{STAGE} will run because 'learning_rate' of the recipe changed from 0.001 to 0.002."
    assert found.step is not None and found.step.inputs == ()


def test_changed_bytes_of_a_source_are_the_first_cause_of_a_training(tmp_path: Path, results: Path) -> None:
    study = study_of(tmp_path / "study", chats=7)
    found = explained(study, results, until="train")
    assert found.sentence.startswith(
        f"{STAGE} will run because variant/clean gives other chats, because clean gives other chats, because chats"
        " gives other chats, because the bytes of the file of source 'garden' changed from "
    )
    assert len(found.causes) == 1


def test_a_stage_whose_inputs_are_not_made_is_explained_by_the_first_that_is_missing(
    tmp_path: Path, results: Path
) -> None:
    study = study_of(tmp_path / "study", clean="min_user_chars = 9")
    found = explained(study, results)
    assert found.state is State.AFTER and found.explained == "clean"
    assert found.waiting == ("clean", "label", "variant/clean")
    assert found.sentence == (
        f"{STAGE} will run after clean, which is not made yet; clean will run because 'min_user_chars' in [clean]"
        " changed from 0 to 9."
    )


def test_another_filter_pack_is_named_by_name_and_digest(tmp_path: Path, results: Path) -> None:
    study = study_of(tmp_path / "study", head=HEAD.replace("[base]", 'filter = "alignment@1.0.0"\n[base]'))
    found = explained(study, results, until="train")
    assert "variant/clean gives other chats, because label gives other labels, because the filter" in found.sentence
    assert f"from {USUAL} (" in found.sentence and "to alignment@1.0.0 (" in found.sentence


def test_a_raised_version_number_of_the_code_is_a_cause(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = plan.VERSIONS[Kind.TRAIN]
    monkeypatch.setattr(runner, "VERSIONS", {**plan.VERSIONS, Kind.TRAIN: number + 1})
    found = explained(tmp_path / "study" / "own.toml", results)
    assert f"the code of this kind of stage (its number in plan.VERSIONS) changed from {number} to" in found.sentence


def test_another_version_of_a_package_is_a_cause(
    tmp_path: Path, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness import fingerprints

    real = fingerprints.version
    monkeypatch.setattr(fingerprints, "version", lambda name: "9.9" if name == "deepspeed" else real(name))
    found = explained(tmp_path / "study" / "own.toml", results, until="train")
    # The base is pretrained by the same packages, so it is another one too; nearest causes come first.
    assert "the version of the package deepspeed changed from" in found.sentence
    assert {cause.stages[-1][0] for cause, _ in found.causes} == {STAGE, "base"}


def test_without_a_run_the_nearest_record_is_that_of_the_same_arm_and_seed(tmp_path: Path) -> None:
    """A command that was stopped leaves no run; every training of the ledger then differs in one field, its data."""
    results = tmp_path / "results"
    records = record_all(planned(study_of(tmp_path / "study"), results))
    for stage, until in ((STAGE, "train"), ("train/random/1", "train"), ("predict/clean/1/pocket_drop", "predict")):
        study = study_of(tmp_path / "study", head=HEAD.replace("[base]", 'filter = "alignment@1.0.0"\n[base]'))
        found = explained(study, results, stage, until=until)
        assert found.step is not None and found.step.record.key == records[stage].key, stage


def test_nothing_to_compare_with_is_said(tmp_path: Path) -> None:
    found = explained(study_of(tmp_path / "study"), tmp_path / "results", "chats")
    assert found.state is State.RUN and found.candidates == 0
    assert "nothing of the kind 'chats' is recorded" in found.sentence


def test_a_record_that_was_edited_by_hand_is_the_cause(tmp_path: Path, results: Path) -> None:
    study = tmp_path / "study" / "own.toml"
    record = planned(study, results).runner.peek(STAGE)
    assert record is not None
    path = Store(results).ledger.path("train", record.key)
    path.write_text(path.read_text().replace("2.5", "0.5"))
    found = explained(study, results)
    assert found.damaged == path and found.step is None
    assert "changed after it was written" in found.sentence


def test_a_removed_record_of_the_past_ends_the_chain_and_says_so(tmp_path: Path, results: Path) -> None:
    old = planned(tmp_path / "study" / "own.toml", results).runner.peek("clean")
    assert old is not None
    study = study_of(tmp_path / "study", clean="min_user_chars = 9")
    Store(results).ledger.path("clean", old.key).unlink()
    found = explained(study, results, until="train")
    assert "no record says how the recorded one" in found.sentence


def test_a_source_that_cannot_be_read_is_not_called_changed(tmp_path: Path, results: Path) -> None:
    study = study_of(tmp_path / "study")
    (study.parent / "garden.jsonl").unlink()
    found = explained(study, results)
    assert found.sentence == (
        f"It is not known whether {STAGE} is cached: the content of source 'garden' cannot be read here (give --data"
        " DIR, or reach the hub)."
    )
    assert len(found.causes) == 1, "the digest that is not there is no second cause"


def test_an_unknown_stage_gets_the_nearest_name_and_an_arm_outside_the_pair_its_option(
    tmp_path: Path, results: Path
) -> None:
    study = tmp_path / "study" / "own.toml"
    with pytest.raises(InputError, match="Did you mean 'train/clean/"):
        explained(study, results, "train/clean/9")
    with pytest.raises(InputError, match="--variant aligned,masked"):
        explained(study, results, "train/masked/0")


# --- a record --------------------------------------------------------------------------------------------


def test_the_past_of_a_score_names_weights_training_dataset_filter_and_source(tmp_path: Path, results: Path) -> None:
    records = Records(Store(results))
    score = planned(tmp_path / "study" / "own.toml", results).runner.peek("score/clean/1/pocket_mmlu")
    assert score is not None
    text = json.dumps(ancestry(records, score).document())
    for wanted in ("train/clean/1", "variant/clean", "label", USUAL, "source garden", "base", "engine"):
        assert wanted in text
    train = records.of_kind("train")
    assert any(f"weights {record.facts['weights'][:12]}" in text for record in train)
    assert "no record of it" not in text


def test_a_record_is_found_by_key_output_or_weights_in_any_case(tmp_path: Path, results: Path) -> None:
    records = Records(Store(results))
    record = records.of_kind("train")[0]
    for name in (record.key[:10], record.key.upper(), record.output[:12], record.facts["weights"][:12]):
        assert records.find(name).key == record.key


def test_a_prefix_of_several_records_lists_them_and_an_unknown_one_does_not(tmp_path: Path, results: Path) -> None:
    records = Records(Store(results))
    with pytest.raises(InputError, match="too short"):
        records.find("ab")
    with pytest.raises(InputError, match="No record in"):
        records.find("0" * 64)
    twin, record = records.of_kind("train")[:2]
    same = Records(Store(results))
    clash = record.key[:8]
    same._kinds["train"][clash + twin.key[8:]] = type(twin)(
        key=clash + twin.key[8:], payload=twin.payload, output=twin.output, facts=twin.facts
    )
    with pytest.raises(InputError, match=rf"2 records are named by '{clash}'(.|\n)*{record.key[:12]}"):
        same.find(clash)


def test_a_record_whose_score_was_edited_is_refused_by_name(tmp_path: Path, results: Path) -> None:
    record = Records(Store(results)).of_kind("score")[0]
    path = Store(results).ledger.path("score", record.key)
    path.write_text(path.read_text().replace("scores", "Scores"))
    with pytest.raises(InputError, match=f"{path}.*does not match"):
        Records(Store(results)).find(record.key[:12])


def test_a_record_whose_output_was_edited_takes_no_part_in_the_past_of_another(tmp_path: Path, results: Path) -> None:
    """Its key still fits its payload; so do the keys of two variants whose outputs were swapped."""
    record = next(one for one in Records(Store(results)).of_kind("train") if one.payload["settings"]["seed"] == 0)
    path = Store(results).ledger.path("train", record.key)
    path.write_text(path.read_text().replace(record.output, "0" * 64))
    records = Records(Store(results))
    assert records.get("train", record.key) is None
    assert records.made("predict", "model", "0" * 64) == []
    assert records.problems == [f"{path} is no record, or was changed after it was written."]


def test_files_that_are_no_records_are_named_and_the_rest_is_explained(tmp_path: Path, results: Path) -> None:
    (results / "ledger" / "train" / "broken.json").write_text("{")
    (results / "runs" / "own" / "broken.json").write_text("[]")
    records = Records(Store(results))
    assert len(records.runs) == 1
    assert len(records.problems) == 2 and all("broken.json" in problem for problem in records.problems)


# --- the command -----------------------------------------------------------------------------------------


def test_the_command_prints_one_json_document_and_changes_nothing(tmp_path: Path, results: Path) -> None:
    study = study_of(tmp_path / "study", chats=7)
    before = tree_digest(results)
    done = harness("explain", STAGE, study, "--results", results, "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["explained"] == "chats" and document["state"] == "will run after"
    [cause] = document["causes"]
    assert cause["path"] == "settings.sources[0][1].content.file" and cause["recorded"] != cause["now"]
    record = Records(Store(results)).of_kind("score")[0].key
    done = harness("explain", record[:12], "--results", results)
    assert done.returncode == 0, done.stderr
    assert record in done.stdout and "source garden" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert tree_digest(results) == before


def test_bad_input_of_the_command_ends_with_2_and_one_message(tmp_path: Path, results: Path) -> None:
    study = tmp_path / "study" / "own.toml"
    for arguments in (["train/claen/0", study], ["ffffffffffff"], [STAGE, "no-such-study"]):
        done = harness("explain", *arguments, "--results", results)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.startswith("Error: ") and "Traceback" not in done.stderr
