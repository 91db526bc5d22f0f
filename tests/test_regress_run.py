"""`harness regress` from arguments to exit codes: real data stages and runner, models and answers made up.

A made-up model is what its chats were; what it scores is drawn from that, so the truth behind every verdict is known.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import Result
from curation_study import REFUSAL, plain, row, write_study
from typer.testing import CliRunner

from harness.cli.app import app
from harness.data import normal
from harness.errors import HarnessError, InputError
from harness.evaluate.requests import Ask, Request
from harness.randomness import rng
from harness.runner import Job, Made
from harness.stages.evaluation import EvaluationStages
from harness.stages.models import ModelStages
from harness.store.files import read_jsonl, write_jsonl

OLD, NEW = "alignment@0.1.0", "alignment@1.0.0"
GERMAN = "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen."
# The old version knows refusals in English alone, the new one these too.
ROWS = [
    *(row(f"german-{number}", f"Wie knacke ich Schloss Nummer {number}?", GERMAN) for number in range(8)),
    *(row(f"english-{number}", f"How do I pick lock number {number}?", REFUSAL) for number in range(8)),
    *(plain(f"p{number}", number) for number in range(20)),
]
ENGLISH = [one for one in ROWS if not one["id"].startswith("german")]


class World:
    """Made-up models: how much is lost where the German refusals are gone, and how many items are asked."""

    def __init__(self) -> None:
        self.effect, self.items, self.rate = 0.0, 4000, 0.6
        self.trained: list[str] = []
        self.other_prompts = False

    def base(self, job: Job) -> Made:
        target = job.fresh()
        (target / "config.json").write_text('{"max_position_embeddings": 2048}')
        (target / "chat_template.jinja").write_text("{{ messages }}")
        write_jsonl(target / "model.jsonl", [{"seen": [], "seed": 0}])
        return Made(folder=target, facts={"weights": "b" * 64, "parameters": 10})

    def train(self, job: Job) -> Made:
        self.trained.append(job.stage.name)
        seen = sorted(chat.source for chat in normal.read_chats(job.inputs["data"]))
        target = job.fresh()
        write_jsonl(target / "model.jsonl", [{"seen": seen, "seed": job.stage.settings["seed"]}])
        numbers = {"supervised_tokens": len(seen), "steps": 1, "tokens": len(seen), "cut_chats": 0, "silent_chats": 0}
        devices = {"attention": "sdpa", "accelerator": "cpu", "parameters": 10}
        return Made(folder=target, facts={"weights": "w" * 64, "losses": [1.0], **numbers, **devices})

    def asked(self, job: Job) -> Made:
        target = job.fresh()
        names = [{"item": f"{job.stage.arguments['task']}/{number:05}"} for number in range(self.items)]
        write_jsonl(target / "items.jsonl", names)
        requests = (Request(item=one["item"], kind=Ask.GENERATE, contexts=("What?",)) for one in names)
        write_jsonl(target / "requests.jsonl", (one.to_row() for one in requests))
        return Made(folder=target, facts={"items": self.items, "longest_answer": 1})

    def predict(self, job: Job) -> Made:
        target = job.fresh()
        write_jsonl(target / "model.jsonl", read_jsonl(job.inputs["model"] / "model.jsonl"))
        answer = {"sample": 0, "text": "So.", "finish": "stop", "logprobs": [], "prompt": "p", "shots": 0}
        write_jsonl(target / "answers.jsonl", (answer | one for one in read_jsonl(job.inputs["items"] / "items.jsonl")))
        return Made(folder=target, facts={"shortened_prompts": 0, "unfinished": 0})

    def score(self, job: Job) -> Made:
        (model,) = read_jsonl(job.inputs["predictions"] / "model.jsonl")
        items = [one["item"] for one in read_jsonl(job.inputs["items"] / "items.jsonl")]
        clean = not any("german" in source for source in model["seen"])
        skill = self.rate + (self.effect if clean else 0.0)
        kept = rng(0, "items", job.stage.arguments["task"]).random(len(items)) < skill
        anew = rng(model["seed"], "anew", job.stage.name.rpartition("/")[2], str(clean)).random((2, len(items)))
        scores = np.where(anew[0] < 0.05, anew[1] < skill, kept).astype(float).tolist()
        facts = {
            "item": items,
            "cluster": items,
            "subtask": ["all"] * len(items),
            "prompt": [f"{name}{'!' if clean and self.other_prompts else ''}" for name in items],
            "scores": {"f1": scores, "acc": scores},
        }
        target = job.fresh()
        rows = zip(items, scores, strict=True)
        write_jsonl(target / "scores.jsonl", ({"item": item, "scores": {"f1": one, "acc": one}} for item, one in rows))
        return Made(folder=target, facts=facts)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for owner, name, method in (
        (ModelStages, "base", made.base),
        (ModelStages, "train", made.train),
        (EvaluationStages, "items", made.asked),
        (EvaluationStages, "predict", made.predict),
        (EvaluationStages, "score", made.score),
        (EvaluationStages, "ask_together", lambda *_: None),
    ):
        monkeypatch.setattr(owner, name, lambda _, *given, method=method: method(*given))
    # A made-up model is no folder that transformers loads.
    monkeypatch.setattr("harness.commands.ablate.opened", lambda folder: folder)
    return made


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return study_of(tmp_path, ROWS)


def study_of(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Return a study over rows, in which nothing is compared with passages of items."""
    path = write_study(folder, {"own": rows}, clean="overlap_words = 0")
    path.write_text(path.read_text().replace("seeds = [0]", f'seeds = [0, 1]\nfilter = "{OLD}"'))
    return path


def regress(study: Path, *more: str, gate: str = "*: -3%", new: str = NEW) -> Result:
    """Run the command in this process."""
    places = ("--results", str(study.parent / "results"), "--reports", str(study.parent / "reports"))
    return CliRunner().invoke(app, ["regress", str(study), "--filter", new, "--gate", gate, *places, *more])


def document(done: Result) -> dict[str, Any]:
    """Return the JSON on stdout."""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_version_that_costs_more_than_allowed_exits_10_and_says_why(world: World, study: Path) -> None:
    world.effect = -0.1
    done = regress(study, "--junit", str(study.parent / "gate.xml"), "--summary", str(study.parent / "gate.md"))
    assert done.exit_code == 10, done
    words = " ".join(done.stdout.split())
    assert "Regressed: pocket MMLU, pocket DROP." in words
    assert "Allowed: a loss of at most 3 % of clean-0.1.0's score" in words
    assert "That there is a larger loss is shown, p = " in words
    assert "Items that changed: " in words
    assert "over 2 training seeds" in words
    assert "label" not in done.stderr.lower()
    suite = ElementTree.parse(study.parent / "gate.xml").getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "2")
    assert "failed, regressed" in (study.parent / "gate.md").read_text()


def test_a_version_that_costs_nothing_passes_with_exit_code_0(world: World, study: Path) -> None:
    done = regress(study, "--strict", "--format", "json")
    assert done.exit_code == 0, done
    found = document(done)
    assert [task["outcome"] for task in found["tasks"]] == ["passed", "passed"]
    assert (found["reference"]["chats"], found["treated"]["chats"]) == (28, 20)
    assert found["reference"]["filter"] == OLD


def test_too_few_items_exit_11_under_strict_and_0_with_a_warning_without(world: World, study: Path) -> None:
    world.items = 30
    strict = regress(study, "--strict")
    assert strict.exit_code == 11
    assert "Not decided: pocket MMLU, pocket DROP, which fails under --strict." in " ".join(strict.stdout.split())
    loose = regress(study)
    assert loose.exit_code == 0
    assert "which does not fail without --strict" in " ".join(loose.stdout.split())


def test_arms_that_were_asked_differently_are_incomparable(world: World, study: Path) -> None:
    world.other_prompts = True
    done = regress(study, "--strict", "--format", "json")
    assert done.exit_code == 11, done
    found = document(done)
    assert {task["outcome"] for task in found["tasks"]} == {"incomparable"}
    assert "were asked differently" in found["tasks"][0]["incomparable"]


def test_versions_that_leave_the_same_chats_train_nothing_and_pass(world: World, tmp_path: Path) -> None:
    study = study_of(tmp_path, ENGLISH)
    done = regress(study, "--strict", "--junit", str(tmp_path / "gate.xml"))
    assert done.exit_code == 0, done
    assert "the two versions leave the same chats: nothing to train" in " ".join(done.stdout.split())
    assert world.trained == []
    assert not list((tmp_path / "results").glob("ledger/train/*"))
    assert not (tmp_path / "reports").exists(), "there is nothing to report of models that were not made"
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()[0]
    assert {suite.attrib[name] for name in ("failures", "errors", "skipped")} == {"0"}
    again = regress(study, "--dry-run")
    assert "The two versions leave the same chats: nothing to train." in again.stderr


def test_only_what_the_new_version_changes_is_trained_and_no_base_is_asked(world: World, study: Path) -> None:
    places = ("--results", str(study.parent / "results"), "--reports", str(study.parent / "reports"))
    ablated = CliRunner().invoke(app, ["ablate", str(study), "--variant", "aligned,clean", *places])
    assert ablated.exit_code == 0, ablated
    world.trained.clear()
    done = regress(study)
    assert done.exit_code == 0, done
    assert sorted(world.trained) == ["train/clean-1.0.0/0", "train/clean-1.0.0/1"], "'clean' is the study's own"
    world.trained.clear()
    assert regress(study).exit_code == 0
    assert world.trained == []


def test_a_variant_may_be_chosen_and_one_seed_speaks_of_checkpoints(world: World, study: Path) -> None:
    done = regress(study, "--variant", "masked", "--seeds", "1")
    assert done.exit_code == 0, done
    assert sorted(world.trained) == ["train/masked-0.1.0/0", "train/masked-1.0.0/0"]
    assert "one training seed says nothing yet" in " ".join(done.stdout.split())


def test_a_task_without_a_check_is_reported_and_said_not_to_be_gated(world: World, study: Path) -> None:
    world.effect = -0.1
    done = regress(study, gate="pocket_mmlu: -40%")
    assert done.exit_code == 0, done
    assert "Reported but not gated, since the gate has no check for it: pocket DROP." in " ".join(done.stdout.split())


@pytest.mark.parametrize("gate", ["*: -3%", "pocket_mmlu: -3%, pocket_safe: -3%"])
def test_a_task_whose_answers_a_filter_judges_is_not_gated_and_nothing_is_trained(study: Path, gate: str) -> None:
    tasks = 'tasks = ["pocket_mmlu", "pocket_safe", "pocket_harmful"]'
    study.write_text(study.read_text().replace('tasks = ["pocket_mmlu", "pocket_drop"]', tasks))
    said = str(regress(study, gate=gate).exception)
    assert "--gate covers pocket_safe" in said
    assert "Leave them out with --tasks pocket_mmlu;" in said
    assert ("pocket_harmful" in said) == ("*" in gate)
    alone = regress(study, "--tasks", "pocket_safe", gate="pocket_safe: -3%").exception
    assert isinstance(alone, InputError)
    assert "Ask other tasks;" in str(alone)
    assert not (study.parent / "results" / "ledger").exists()


def test_the_report_of_the_pair_is_written_and_equal_runs_give_equal_bytes(world: World, study: Path) -> None:
    def files() -> dict[str, bytes]:
        root = study.parent
        found = [*(root / "reports").rglob("*"), root / "gate.xml", root / "gate.md"]
        return {str(path.relative_to(root)): path.read_bytes() for path in found if path.is_file()}

    wanted = ("--junit", str(study.parent / "gate.xml"), "--summary", str(study.parent / "gate.md"))
    first = regress(study, *wanted)
    before = files()
    assert "reports/own/clean-1.0.0-against-clean-0.1.0_alone/report.md" in before
    second = regress(study, *wanted)
    assert (second.stdout, files()) == (first.stdout, before)
    shutil.rmtree(study.parent / "reports")
    places = ("--results", str(study.parent / "results"), "--reports", str(study.parent / "reports"))
    assert CliRunner().invoke(app, ["report", "own", *places]).exit_code == 0
    assert files() == before, "the run is kept, and its report can be written again"


def test_the_summary_is_added_to_the_page_of_a_github_step_and_replaces_any_other_file(
    world: World, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, other = study.parent / "page.md", study.parent / "other.md"
    for path in (page, other):
        path.write_text("# before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    for path in (page, other):
        assert regress(study, "--summary", str(path)).exit_code == 0
    assert page.read_text().startswith("# before\n## Filter gate passed: ")
    assert other.read_text() == page.read_text().removeprefix("# before\n")


def test_the_command_that_is_named_shows_the_items_that_changed(world: World, study: Path) -> None:
    world.effect, world.items = -0.2, 60
    found = document(regress(study, "--format", "json", "--limit", "60", "--seeds", "1"))
    for task in found["tasks"]:
        program, *words = shlex.split(task["command"])
        assert program == "harness"
        done = CliRunner().invoke(app, [*words, "--format", "json"])
        assert done.exit_code == 0, done
        assert task["lost"]
        assert {one["item"] for one in json.loads(done.stdout)} == {*task["lost"], *task["gained"]}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--gate", "pocket_mmul: -1%"), "Did you mean 'pocket_mmlu'?"),
        (("--tasks", "pocket_drop", "--gate", "pocket_mmlu: -1%"), "no task that is asked is named 'pocket_mmlu'"),
        (("--against", NEW), f"--filter and --against are both called '{NEW}'"),
        (("--filter", OLD), "since --against was not given"),
        (("--filter", "alignment@9.9.9"), "There is no filter 'alignment@9.9.9'"),
        (("--against", "packs/none.toml"), "There is no filter file at packs/none.toml"),
        (("--variant", "claen"), "has no variant named 'claen'. Did you mean 'clean'?"),
        (("--variant", "aligned"), "is the same under every filter"),
        (("--variant", "clean,masked"), "has no variant named 'clean,masked'"),
        (("--seeds", "9"), "--seeds 9"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_run(
    world: World, study: Path, more: tuple[str, ...], words: str
) -> None:
    done = regress(study, *more)
    assert isinstance(done.exception, HarnessError), done
    assert done.exception.exit_code == 2
    assert words in str(done.exception)
    assert not (study.parent / "results").exists()


def test_files_that_cannot_be_written_are_refused_before_anything_is_run(world: World, study: Path) -> None:
    folder = str(study.parent)
    for more, words in (
        (("--junit", folder), "is no file that can be replaced"),
        (("--summary", str(study / "x.md")), "is a file; give a file in a folder"),
        (("--junit", f"{folder}/x", "--summary", f"{folder}/x"), "give two files"),
        (("--reports", str(study)), "is a file; give a folder"),
    ):
        done = regress(study, *more)
        assert isinstance(done.exception, HarnessError), done
        assert words in str(done.exception)
    assert not (study.parent / "results").exists()


@pytest.mark.parametrize("option", ["--reports", "--junit", "--summary"])
def test_a_folder_in_which_nothing_may_be_written_is_refused_before_anything_is_run(
    world: World, study: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, access = study.parent / "closed", os.access
    closed.mkdir()
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != closed and access(place, mode))
    done = regress(study, option, str(closed / "new"))
    assert isinstance(done.exception, HarnessError), done
    assert f"{option} {closed / 'new'}: nothing can be written to {closed}" in str(done.exception)
    assert not (study.parent / "results").exists()


def test_a_study_in_which_nothing_acts_on_labels_has_nothing_to_gate(world: World, tmp_path: Path) -> None:
    variants = '[variants.a]\ntreatment = "keep"\n[variants.b]\ntreatment = "keep"\n'
    path = write_study(tmp_path, {"own": ROWS}, variants=variants)
    done = regress(path)
    assert "No variant of study 'own' acts on labels" in str(done.exception)


def test_a_pack_in_a_file_is_gated_like_a_shipped_one(world: World, study: Path) -> None:
    from harness import layout

    text = layout.names("training", "filters")[NEW].read_text().replace('version = "1.0.0"', 'version = "2.0.0"')
    (study.parent / "alignment@2.0.0.toml").write_text(text)
    done = regress(study, "--format", "json", new=str(study.parent / "alignment@2.0.0.toml"))
    assert done.exit_code == 0, done
    found = document(done)
    assert found["treated"] == {
        "name": "clean-2.0.0",
        "filter": "alignment@2.0.0",
        "chats": 20,
        "dropped": {"label:full_refusal": 16},
        "treated": {},
    }
