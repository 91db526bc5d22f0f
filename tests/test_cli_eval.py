"""`harness eval`, `rescore` and `predictions` at the command line: help by example, requests, and mistakes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from test_cli import POCKET, files, harness, refused
from typer.testing import CliRunner

from harness import layout
from harness.canonical import digest
from harness.cli.app import app
from harness.commands.ablate import Ablation, Request
from harness.errors import InputError
from harness.evaluate import catalog
from harness.plan import Kind
from harness.progress import Silent
from harness.store import Record, stage_key

COMMANDS = [("ablate",), ("eval",), ("rescore",), ("predictions", "show"), ("predictions", "diff")]


# --- help ------------------------------------------------------------------------------------------------


def examples(path: tuple[str, ...]) -> list[list[str]]:
    """Return the arguments of the examples under a command's help; an explanation stands after two spaces or more."""
    command: Any = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    whole = (command.epilog or "").replace("\\\n", "")
    lines = [re.split(r" {2,}(?=[a-z])", line.strip())[0] for line in whole.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("harness ")]


@pytest.mark.parametrize("path", COMMANDS)
def test_help_teaches_by_examples_that_are_shown_whole(tmp_path: Path, path: tuple[str, ...]) -> None:
    done = harness(tmp_path, *path, "--help", COLUMNS="100")
    assert (done.code, done.error) == (0, "")
    assert len(examples(path)) >= 2
    for example in examples(path):
        assert example[1 : 1 + len(path)] == list(path)
        assert " ".join(example) in " ".join(done.out.replace("\\\n", "").split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "example"), [(path, example) for path in COMMANDS for example in examples(path)], ids=str
)
def test_an_example_of_the_help_is_a_command_that_exists(
    path: tuple[str, ...], example: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(arguments: list[str]) -> Iterator[str]:
        for one in arguments:
            if one in ("|", ">"):
                return
            yield one

    command: Any = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    context = command.make_context("harness", list(ends(example[1 + len(path) :])))
    given = context.params
    if "study" in given:
        assert given["study"] in layout.names("training", "studies") or given["study"].endswith(".toml")
    names = given.get("tasks") or given.get("task") or ""
    for task in filter(None, names.split(",")):
        if task != "my_task":
            catalog.definition(task)


def test_the_group_of_predictions_says_what_it_is_for(tmp_path: Path) -> None:
    done = harness(tmp_path, "predictions", "--help")
    assert (done.code, done.error) == (0, "")
    assert all(word in done.out for word in ("show", "diff", "what checkpoints answered"))


# --- what reaches the request ----------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return where the requests of `ablate`, `rescore` and `eval` arrive in place of being run."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr("harness.cli.ablate_output.ablate", lambda request, **more: seen.append(vars(request) | more))
    monkeypatch.setattr(
        "harness.cli.eval_output.evaluate",
        lambda model, tasks, **more: seen.append({"model": model, "tasks": tasks} | more),
    )
    return seen


def called(*arguments: str) -> None:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output


def test_profiles_and_unsafe_execution_reach_the_study(asked: list[dict[str, Any]]) -> None:
    called("ablate", "--profile", "strict", "--profile", "lm-eval", "--unsafe-exec")
    called("ablate")
    assert [(one["profiles"], one["allow_unsafe"], one["stored_only"]) for one in asked] == [
        (("strict", "lm-eval"), True, False),
        ((), False, False),
    ]


def test_to_score_again_is_to_ask_a_study_for_stored_answers_alone(asked: list[dict[str, Any]]) -> None:
    called("rescore", "smollm2", "--profile", "strict", "--tasks", "mmlu,drop", "--limit", "57", "--seeds", "1")
    [one] = asked
    assert (one["study"], one["profiles"], one["tasks"]) == ("smollm2", ("strict",), ("mmlu", "drop"))
    assert (one["limit"], one["seeds"], one["stored_only"], one["dry_run"]) == (57, 1, True, False)
    assert one["allow_unsafe"] is False


def test_every_option_of_an_evaluation_reaches_it(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    called("eval", "model", "--tasks", "mmlu")
    assert asked.pop() == {
        "model": "model",
        "tasks": ("mmlu",),
        "profiles": ("lm-eval",),
        "asked": {
            "dtype": "float32",
            "max_length": 4096,
            "limit": 0,
            "max_new_tokens": 0,
            "samples": 1,
            "pass_at": (),
            "temperature": None,
        },
        "engine": "vllm",
        "server": "",
        "seed": 0,
        "tasks_path": None,
        "data_dir": None,
        "results": Path("results"),
        "allow_unsafe": False,
        "as_json": False,
    }
    options = "--profile strict --profile instructeval --limit 5 --engine transformers --dtype bfloat16 --seed 3"
    more = "--max-length 99 --max-new-tokens 7 --samples 20 --pass-at 10,1 --temperature 0.8"
    places = [
        "--unsafe-exec",
        "--format",
        "json",
        "--tasks-path",
        str(tmp_path),
        "--data",
        str(tmp_path),
        "--results",
        "r",
    ]
    called("eval", "org/model", "--tasks", " mmlu, drop,mmlu", *options.split(), *more.split(), *places)
    one = asked.pop()
    assert (one["model"], one["tasks"], one["profiles"]) == ("org/model", ("mmlu", "drop"), ("strict", "instructeval"))
    assert one["asked"] == {
        "dtype": "bfloat16",
        "max_length": 99,
        "limit": 5,
        "max_new_tokens": 7,
        "samples": 20,
        "pass_at": (10, 1),
        "temperature": 0.8,
    }
    assert (one["engine"], one["seed"], one["allow_unsafe"], one["as_json"]) == ("transformers", 3, True, True)
    assert (one["tasks_path"], one["data_dir"], one["results"]) == (tmp_path, tmp_path, Path("r"))
    called("eval", "name", "--tasks", "mmlu", "--server", "http://localhost:8000", "--temperature", "0")
    one = asked.pop()
    assert (one["engine"], one["server"]) == ("server", "http://localhost:8000")
    assert one["asked"]["temperature"] == 0.0, "greedy, also where a task would sample"


# --- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("eval nowhere --tasks pocket_mmlu", "There is no model folder nowhere. Name a folder, or a model of the hub"),
        ("eval file --tasks pocket_mmlu", "file is a file. Name the model folder that holds config.json"),
        ("eval . --tasks pocket_mmlu", "is not a model folder: it has no config.json"),
        ("eval nobody/nothing --tasks pocket_mmlu", "could not be fetched from the hub either"),
        ("eval . --tasks pocket_mmul", "no task named 'pocket_mmul'. Did you mean 'pocket_mmlu'?"),
        ("eval . --tasks ,", "--tasks names no task. `harness tasks` lists"),
        ("eval .", "Missing option '--tasks'"),
        ("eval --tasks pocket_mmlu", "Missing argument 'CHECKPOINT'"),
        ("eval . --tasks gsm8k --profile strict", "The task 'gsm8k' has no profile 'strict'. It has: lm-eval."),
        ("eval . --tasks mmlu_strict", "'mmlu_strict' is the task 'mmlu' under the profile 'strict'"),
        ("eval . --tasks pocket_mmlu --profile strickt", "'strickt' is not one of 'lm-eval', 'instructeval', 'strict'"),
        ("eval . --tasks pocket_mmlu --samples 5", "--samples needs a --temperature above 0"),
        ("eval . --tasks pocket_mmlu --samples 5 --temperature 0", "--samples needs a --temperature above 0"),
        ("eval . --tasks pocket_mmlu --temperature -1", "--temperature"),
        ("eval . --tasks pocket_mmlu --samples 0", "--samples"),
        ("eval . --tasks pocket_mmlu --pass-at 2", "--pass-at takes values of k from 1 to the number of --samples"),
        ("eval . --tasks pocket_mmlu --pass-at x", "--pass-at takes whole numbers and commas"),
        ("eval . --tasks pocket_mmlu --results file", "--results file is a file; give a folder."),
        ("eval . --tasks pocket_mmlu --data file", "--data file is not a folder"),
        ("eval . --tasks pocket_mmlu --tasks-path nowhere", "--tasks-path nowhere is no folder"),
        ("eval . --tasks pocket_mmlu --tasks-path file", "--tasks-path file is no folder"),
        ("eval . --tasks pocket_mmlu --engine hf", "'hf'"),
        ("eval name --tasks pocket_mmlu --server localhost", "'localhost' is no address"),
        ("rescore pokcet", "There is no study named 'pokcet'. Did you mean 'pocket'?"),
        ("rescore --profile strict", "checkpoints of study 'pocket' were not made in results"),
        ("rescore --seeds 9", "--seeds 9: study 'pocket' names 3 seeds"),
        ("predictions show x", "has not run in results: run `harness ablate`"),
        ("predictions show", "Missing argument 'ITEM'"),
        ("predictions diff --task pocket_mmul", "'pocket_mmul'. Did you mean 'pocket_mmlu'?"),
        ("predictions diff", "has not run in results: run `harness ablate`"),
        ("predictions diff --results file", "--results file is a file; give a folder."),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2_and_writes_nothing(
    tmp_path: Path, arguments: str, words: str
) -> None:
    (tmp_path / "file").write_text("x")
    done = harness(tmp_path, *arguments.split())
    refused(done)
    assert words in done.words
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_task_file_with_an_unknown_key_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.yaml").write_text('task: own_task\nmetadata:\n  average: "median"\ndoc_to_text: "x"\n')
    done = harness(tmp_path, "eval", ".", "--tasks", "own_task", "--tasks-path", "own")
    refused(done)
    assert "own.yaml: 'metadata.average' is 'median'; it is micro or macro." in done.words
    assert files(tmp_path) == {"own/own.yaml"}


def test_a_study_whose_profile_a_task_does_not_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(POCKET.replace('"pocket_drop"]', '"gsm8k"]\nprofiles = ["strict"]'))
    done = harness(tmp_path, "ablate", "own.toml")
    refused(done)
    assert "The task 'gsm8k' has no profile 'strict'. It has: lm-eval." in done.words
    assert files(tmp_path) == {"own.toml"}


def test_a_study_of_a_task_in_which_less_is_better_is_refused_before_any_training(tmp_path: Path) -> None:
    """Its rise would be called an improvement, or the report would fail after the last training."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.yaml").write_text(
        "task: own_text\ndataset_path: json\noutput_type: loglikelihood_rolling\n"
        "metric_list:\n  - metric: word_perplexity\n"
    )
    study, count = re.subn("^tasks = .*$", 'tasks = ["own_text"]\ntasks_path = "own"', POCKET, flags=re.MULTILINE)
    assert count == 1
    (tmp_path / "own.toml").write_text(study)
    done = harness(tmp_path, "ablate", "own.toml", "--dry-run")
    refused(done)
    assert "Task 'own_text' is scored by 'word_perplexity', of which less is better" in done.words


def test_a_definition_under_a_profile_is_named_as_studies_name_it(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text("task: mine\ndataset_path: json\n")
    profiled = "task: other\ndataset_path: json\nmetadata:\n  of: mine\n  profile: strict\n"
    (tmp_path / "own" / "other.yaml").write_text(profiled)
    study, count = re.subn(
        "^tasks = .*$", 'tasks = ["mine"]\nprofiles = ["strict"]\ntasks_path = "own"', POCKET, flags=re.MULTILINE
    )
    assert count == 1
    (tmp_path / "own.toml").write_text(study)
    done = harness(tmp_path, "ablate", "own.toml", "--dry-run")
    refused(done)
    assert "other.yaml defines 'mine' under the profile 'strict' and is named 'other'" in done.words
    assert "it has to be named 'mine_strict'" in done.words
    (tmp_path / "own" / "other.yaml").write_text(profiled.replace("other", "mine_strict"))
    done = harness(tmp_path, "ablate", "own.toml", "--dry-run")
    assert (done.code, done.error) == (0, "")
    assert "items/mine_strict" in done.out


# --- scoring again ---------------------------------------------------------------------------------------


def test_to_score_again_never_trains_and_says_what_is_missing(tmp_path: Path) -> None:
    """First nothing is there, then the records of all checkpoints without the checkpoints themselves."""
    request = Request(study="pocket", pair=("base", "aligned"), seeds=1, results=tmp_path / "results", stored_only=True)
    before = Ablation(request, Silent())
    with pytest.raises(InputError, match=r"2 of 2 checkpoints .* were not made in .*results, such as 'base'"):
        before.run()
    assert not (tmp_path / "results").exists()
    records: dict[str, Record] = {}
    for stage in before.stages:
        if stage.kind not in (Kind.ITEMS, Kind.OVERLAP, Kind.EXPOSURE, Kind.PREDICT, Kind.SCORE):
            payload = before.runner.payload(stage, {role: records[name] for role, name in stage.inputs.items()})
            key = stage_key(payload)
            records[stage.name] = Record(key=key, payload=payload, output=digest("output", key), facts={})
            before.store.ledger.put(records[stage.name])
    written = files(tmp_path)
    after = Ablation(request, Silent())
    with pytest.raises(InputError, match=r"'base' is recorded but not kept in .*objects.*`harness ablate` makes it"):
        after.run()
    assert after.runner.ran == []
    assert files(tmp_path) == written


def test_to_score_again_does_not_train_for_answers_that_are_recorded_and_not_kept(tmp_path: Path) -> None:
    request = Request(study="pocket", pair=("base", "aligned"), seeds=1, results=tmp_path / "results", stored_only=True)
    before = Ablation(request, Silent())
    records: dict[str, Record] = {}
    for stage in before.stages:
        if stage.kind is not Kind.SCORE:
            payload = before.runner.payload(stage, {role: records[name] for role, name in stage.inputs.items()})
            key = stage_key(payload)
            records[stage.name] = Record(key=key, payload=payload, output=digest("output", key), facts={})
            before.store.ledger.put(records[stage.name])
    after = Ablation(request, Silent())
    with pytest.raises(InputError, match=r"'base' is recorded but not kept in .*objects.*`harness ablate` makes it"):
        after.run()
    assert after.runner.ran == []
