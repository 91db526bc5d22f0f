"""One checkpoint outside of a study, for real: asked once, found again wherever it lies, and behind a server."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from completions_server import CompletionsServer

from harness.commands.evaluate import Evaluation, Request, Scores, TaskScore
from harness.data import pocket
from harness.errors import InputError
from harness.evaluate.engines import EngineName
from harness.progress import Silent
from harness.store.files import read_jsonl
from harness.study.model import Evaluation as Asked

TASKS = ("pocket_mmlu", "pocket_drop")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    pocket.build_base(folder, {"seed": 5})
    return folder


def evaluated(model: Path | str, results: Path, **changed: Any) -> tuple[Scores, Evaluation]:
    given: dict[str, Any] = {
        "tasks": TASKS,
        "asked": Asked(limit=4, max_new_tokens=4, max_length=512),
        "engine": EngineName.TRANSFORMERS,
    }
    one = Evaluation(Request(model=str(model), results=results, **{**given, **changed}), Silent())
    return one.run(), one


def test_a_checkpoint_is_asked_once_and_found_again_wherever_it_lies(model: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    first, one = evaluated(model, results)
    assert one.engine.starts == 1, "all tasks are asked in one go"
    assert [row.task for row in first.tasks] == list(TASKS)
    assert all(row.items == 4 and row.primary in row.metrics for row in first.tasks)
    assert (first.engine["engine"], first.engine["dtype"]) == ("transformers", "float32")
    json.dumps(asdict(first), allow_nan=False)
    shutil.copytree(model, tmp_path / "moved")
    again, two = evaluated(tmp_path / "moved", results)
    assert (two.engine.starts, two.runner.ran) == (0, [])
    assert (again.checkpoint, again.tasks) == (first.checkpoint, first.tasks)


def test_a_folder_that_is_written_to_after_its_digest_leaves_no_answer_behind(model: Path, tmp_path: Path) -> None:
    folder, results = tmp_path / "model", tmp_path / "results"
    shutil.copytree(model, folder)
    given: dict[str, Any] = {"asked": Asked(limit=4, max_new_tokens=4, max_length=512)}
    one = Evaluation(
        Request(model=str(folder), results=results, tasks=TASKS, engine=EngineName.TRANSFORMERS, **given), Silent()
    )
    other = tmp_path / "other"
    pocket.build_base(other, {"seed": 6})
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(InputError, match=r"model\.safetensors changed while the checkpoint was asked"):
        one.run()
    assert list((results / "predictions").rglob("*.parquet")) == []
    assert list((results / "ledger").rglob("predict/*.json")) == []


def test_what_a_profile_shares_with_another_is_not_asked_again(model: Path, tmp_path: Path) -> None:
    own = {"tasks": ("pocket_mmlu",)}
    evaluated(model, tmp_path, **own)
    both, one = evaluated(model, tmp_path, profiles=("lm-eval", "strict"), **own)
    assert one.engine.starts == 0, "the prompts of both are equal"
    assert [(row.task, row.profile) for row in both.tasks] == [("pocket_mmlu", "lm-eval"), ("pocket_mmlu", "strict")]
    assert "predict/pocket_mmlu_strict" in one.runner.ran


def test_behind_a_server_the_record_names_what_it_says_of_itself(model: Path, tmp_path: Path) -> None:
    server = CompletionsServer(model)
    try:
        served, one = evaluated("pocket", tmp_path, engine=EngineName.SERVER, server=server.url)
    finally:
        server.close()
    own, _ = evaluated(model, tmp_path)
    assert [row.metrics for row in served.tasks] == [
        {name: pytest.approx(value, abs=1e-4) for name, value in row.metrics.items()} for row in own.tasks
    ]
    assert served.checkpoint != own.checkpoint, "whose weights answer cannot be seen"
    assert served.engine == {"engine": "server", "engine_version": one.stages.identity["engine_version"], "dtype": ""}
    assert served.engine["engine_version"] not in ("missing", "")


def answers_of(one: Evaluation, task: str) -> list[dict[str, Any]]:
    return list(read_jsonl(one.runner.folder(f"predict/{task}") / "answers.jsonl"))


def test_a_prompt_without_room_loses_shots_one_by_one_and_is_counted(model: Path, tmp_path: Path) -> None:
    def asked(room: int) -> tuple[TaskScore, Evaluation]:
        scores, one = evaluated(model, tmp_path, tasks=("pocket_mmlu",), asked=Asked(limit=14, max_length=room))
        return scores.tasks[0], one

    (whole, roomy), (row, tight) = asked(1024), asked(100)
    assert (whole.facts["shortened_prompts"], row.facts["shortened_prompts"]) == (0, 14)
    answers = answers_of(tight, "pocket_mmlu")
    assert {one["shots"] for one in answers} <= {0, 1, 2}
    assert {one["prompt"] for one in answers}.isdisjoint({one["prompt"] for one in answers_of(roomy, "pocket_mmlu")})
    # What is paired later is the prompt that was sent, not the one that was meant.
    assert tight.runner.ensure("score/pocket_mmlu").facts["prompt"] == [one["prompt"] for one in answers]


def test_a_prompt_without_room_and_without_shots_is_refused_by_name_and_nothing_is_recorded(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"Item 'pocket_mmlu.* tokens without any shot.*both together 8 \(4 of 4 items\)"
    ):
        evaluated(model, tmp_path, tasks=("pocket_mmlu",), asked=Asked(limit=4, max_length=8))
    assert not list((tmp_path / "ledger").glob("predict/*"))
