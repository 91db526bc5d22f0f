"""`harness reproduce`: a record made again from itself in a fresh folder, and an original that is only read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_studies import planned, record_all, record_run, study_of

from harness.commands import reproduce
from harness.commands.explain import Records
from harness.commands.reproduce import Reproduction, Request
from harness.commands.reproduce.recorded import loaded
from harness.data import normal
from harness.errors import InputError
from harness.progress import Silent
from harness.store import Record, Store, tree_digest

REAL = ("chats", "clean", "label", "variant")
STAGE = "variant/clean"


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return study_of(tmp_path / "study")


@pytest.fixture
def results(tmp_path: Path, study: Path) -> Path:
    """Return a store whose data stages were really made, the others invented, and a run of the study."""
    ablation = planned(study, tmp_path / "results")
    record_run(ablation, record_all(ablation, real=REAL))
    return tmp_path / "results"


def record_of(results: Path, stage: str = STAGE) -> Record:
    [run] = Records(Store(results)).runs
    kind, key = run.records[stage]
    found = Store(results).ledger.get(kind, key)
    assert found is not None
    return found


def again(results: Path, study: Path, stage: str = STAGE, **options: bool) -> Reproduction:
    key = record_of(results, stage).key
    folder = results.parent / "again"
    return reproduce.reproduce(
        Request(record=key[:12], results=results, folder=folder, study_file=study, **options), Silent()
    )


def test_a_dataset_made_again_is_identical_and_the_original_store_is_untouched(study: Path, results: Path) -> None:
    before = tree_digest(results)
    found = again(results, study)
    assert found.identical and found.stage == STAGE and found.first is None
    assert found.made.key == found.record.key and found.copied == () and found.drift == ()
    assert Store(found.folder).objects.get(found.made.output) is not None
    assert tree_digest(results) == before


def test_the_study_is_that_of_the_run_and_not_that_of_its_file_today(study: Path, results: Path) -> None:
    study.write_text(study.read_text().replace('treatment = "drop_chat"', 'treatment = "mask_loss"'))
    assert again(results, study).identical


def test_changed_bytes_of_a_source_are_refused_by_name_and_leave_no_folder(study: Path, results: Path) -> None:
    with (study.parent / "garden.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match="chats: the bytes of the file of source 'garden' changed from"):
        again(results, study)
    assert not (results.parent / "again").exists()


def test_anyway_makes_it_with_what_is_here_and_says_what_came_out_differently(study: Path, results: Path) -> None:
    study_of(study.parent, chats=9)
    found = again(results, study, anyway=True)
    assert not found.identical and found.first == "chats"
    assert any("source 'garden'" in sentence for sentence in found.drift)
    assert {one.path for one in found.facts} == {"chats"}
    assert found.files == (normal.CHATS,)


def test_other_bytes_of_a_source_with_the_same_chats_are_identical_anyway(study: Path, results: Path) -> None:
    with (study.parent / "garden.jsonl").open("a") as file:
        file.write("\n")
    assert again(results, study, anyway=True).identical


def test_from_inputs_needs_no_source_and_makes_one_stage_alone(study: Path, results: Path) -> None:
    (study.parent / "garden.jsonl").unlink()
    found = again(results, study, from_inputs=True)
    assert found.identical and found.copied == ("clean", "label")
    kinds = {path.parent.name for path in (found.folder / "ledger").glob("*/*.json")}
    assert kinds == {"variant"}


@pytest.mark.parametrize("what", ["gone", "damaged"])
def test_from_inputs_refuses_what_is_not_kept_whole_and_touches_nothing(study: Path, results: Path, what: str) -> None:
    kept = Store(results).objects.path(record_of(results, "clean").output)
    if what == "gone":
        shutil.rmtree(kept)
    else:
        next(path for path in kept.iterdir() if path.is_file()).write_bytes(b"x")
    before = tree_digest(results)
    with pytest.raises(InputError, match=r"The output of clean .*(not kept|is damaged).*Leave out --from-inputs"):
        again(results, study, from_inputs=True)
    assert not (results.parent / "again").exists() and tree_digest(results) == before
    assert kept.is_dir() == (what == "damaged"), "reading must not set a damaged object aside either"


def test_a_folder_that_holds_something_else_is_refused_and_the_same_command_continues(
    study: Path, results: Path
) -> None:
    assert again(results, study).identical
    assert again(results, study).identical, "the same command again"
    with pytest.raises(InputError, match="not empty"):
        again(results, study, "variant/random")
    with pytest.raises(InputError, match="not empty"):
        reproduce.reproduce(
            Request(record=record_of(results).key, results=results, folder=results, study_file=study), Silent()
        )


def test_a_record_of_no_run_is_refused_with_what_to_do(study: Path, results: Path) -> None:
    key = record_of(results).key
    shutil.rmtree(results / "runs")
    with pytest.raises(InputError, match="harness ablate"):
        reproduce.reproduce(Request(record=key, results=results), Silent())


def test_files_beside_a_study_file_that_is_not_named_are_asked_for(
    study: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = record_of(results).key
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"'garden.jsonl' beside its own file.*--study FILE"):
        reproduce.reproduce(Request(record=key, results=results), Silent())
    with pytest.raises(InputError, match="is no file"):
        reproduce.reproduce(Request(record=key, results=results, study_file=tmp_path / "none.toml"), Silent())
    monkeypatch.chdir(study.parent)
    found = reproduce.reproduce(Request(record=key, results=results, folder=tmp_path / "again"), Silent())
    assert found.identical, "the working directory is looked at too"


def test_a_recipe_that_changed_since_is_taken_from_the_record_and_said(study: Path, results: Path) -> None:
    path, notes = study.parent / "own-recipe.toml", Notes()
    records = Records(Store(results))
    path.write_text(path.read_text().replace("1e-3", "5e-3") + "[machine]\nmicro_batch = 4\n")
    found = loaded(records.runs[0], records, study, None, notes)
    assert found.recipe.learning_rate == 1e-3 and found.recipe.machine.micro_batch == 4
    assert any("learning_rate" in text for text in notes.said)
    path.unlink()
    notes.said.clear()
    found = loaded(records.runs[0], records, study, None, notes)
    assert found.recipe.learning_rate == 1e-3 and found.recipe.machine.micro_batch == 1
    assert any("is not here" in text for text in notes.said)
    assert found.recipe.identity() == record_of(results, "train/clean/0").payload["settings"]["recipe"]


def test_arms_of_controls_and_of_a_gate_are_planned_as_they_were(tmp_path: Path) -> None:
    """The arm of shuffled answers is in no study file; a gate compares two packs, without base and controls."""
    study = study_of(tmp_path / "study")
    study.write_text(study.read_text() + "[controls]\nshuffled = 1.0\n")
    pair = ("clean@alignment@1.0.0", "clean@alignment@1.1.0")
    for name, options in (("shuffled", {}), ("gate", {"pair": pair, "alone": True})):
        ablation = planned(study, tmp_path / name, **options)
        record_run(ablation, record_all(ablation, real=REAL))
        stages = [stage.name for stage in ablation.stages if stage.kind == "variant"]
        assert len(stages) == (2 if name == "gate" else 4)
        for number, stage in enumerate(stages):
            key = record_of(tmp_path / name, stage).key
            folder = tmp_path / f"{name}-{number}"
            found = reproduce.reproduce(
                Request(record=key, results=tmp_path / name, folder=folder, study_file=study), Silent()
            )
            assert found.identical and found.made.key == key and found.drift == ()


def test_the_command_says_identical_with_0_and_different_with_10(study: Path, results: Path, tmp_path: Path) -> None:
    key = record_of(results).key[:12]
    command = [sys.executable, "-m", "harness", "reproduce", key, "--results", str(results), "--study", str(study)]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], capture_output=True, text=True, check=False, cwd=tmp_path)

    done = run("--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["identical"] is True
    assert (tmp_path / "reproduced" / key / "ledger").is_dir()
    study_of(study.parent, chats=9)
    done = run("--in", str(tmp_path / "other"))
    assert done.returncode == 2 and done.stdout == "" and "--anyway" in done.stderr
    done = run("--in", str(tmp_path / "other"), "--anyway")
    assert done.returncode == 10 and done.stdout.startswith(f"different: {STAGE} of the run own/whole")


@pytest.mark.slow
def test_a_training_and_its_scores_are_made_again_to_the_same_bytes(tmp_path: Path) -> None:
    """With all that comes before the training; the scores from their inputs alone."""
    study = study_of(tmp_path / "study")
    text = study.read_text().replace("seeds = [0, 1]", "seeds = [0]")
    text = text.replace('tasks = ["pocket_mmlu", "pocket_drop"]', 'tasks = ["pocket_mmlu"]')
    study.write_text(text + '[evaluation]\nengine = "transformers"\nmax_length = 1024\nlimit = 6\n')
    results = tmp_path / "results"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def harness(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", *map(str, arguments), "--results", str(results)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)

    done = harness("ablate", study, "--reports", tmp_path / "reports")
    assert done.returncode == 0, done.stderr
    train = record_of(results, "train/clean/0").key[:12]
    done = harness("reproduce", train, "--study", study, "--format", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["copied"] == []
    score = record_of(results, "score/clean/0/pocket_mmlu").key[:12]
    done = harness("reproduce", score, "--study", study, "--from-inputs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "identical" in done.stdout
