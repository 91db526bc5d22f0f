"""Items and scores through lm-eval, without any model: what is asked, and what may be scored."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.evaluate import catalog, tasks
from harness.study.model import Machine
from harness.train import launch


def asked(name: str, **options: Any) -> list[tasks.Item]:
    settings: dict[str, Any] = {"data_dir": None, "limit": 9, "max_new_tokens": 0}
    return tasks.items(name, **(settings | options))


def test_a_limit_is_spread_evenly_over_the_subtasks_and_a_larger_one_only_adds() -> None:
    few, more = asked("pocket_bbh", limit=4), asked("pocket_bbh", limit=10)
    assert len(few) == 4
    assert len(more) == 10
    counts = [sum(item.subtask == name for item in more) for name in sorted({item.subtask for item in more})]
    assert max(counts) - min(counts) <= 1
    assert {item.item for item in few} <= {item.item for item in more}
    assert tasks.shares([2, 50, 50], 12) == [2, 5, 5]
    assert tasks.shares([2, 50, 50], 0) == [2, 50, 50]


def test_the_prompt_hash_covers_the_prompt_the_stops_and_the_number_of_tokens() -> None:
    one, capped = asked("pocket_bbh")[0], asked("pocket_bbh", max_new_tokens=5)[0]
    assert one.item == capped.item
    assert one.prompt_hash != capped.prompt_hash
    assert capped.request["max_tokens"] == 5
    assert asked("pocket_bbh")[0].prompt_hash == one.prompt_hash


def test_items_have_unique_names_that_do_not_depend_on_the_limit() -> None:
    for name in ("pocket_mmlu", "pocket_humaneval", "pocket_drop"):
        names = [item.item for item in asked(name, limit=0)]
        assert len(set(names)) == len(names), name


def test_right_answers_score_one_and_wrong_ones_zero_by_lm_evals_own_code() -> None:
    rows = asked("pocket_mmlu")
    leaves = tasks._leaves("pocket_mmlu", None)
    answers: dict[str, dict[str, Any]] = {}
    for place, item in enumerate(rows):
        gold = leaves[item.item.partition("/")[0]].task_docs[item.doc_id]["answer"]
        chosen = gold if place % 2 == 0 else (gold + 1) % 4
        answers[item.item] = {"logprobs": [0.0 if k == chosen else -5.0 for k in range(4)], "greedy": [False] * 4}
    scored = tasks.scores("pocket_mmlu", data_dir=None, rows=[asdict(item) for item in rows], answers=answers)
    assert [scored[item.item]["acc"] for item in rows] == [1.0 if place % 2 == 0 else 0.0 for place in range(9)]


def test_a_benchmark_that_changed_after_its_prompts_were_rendered_is_not_scored() -> None:
    rows = [asdict(item) for item in asked("pocket_drop")]
    answers = {row["item"]: {"text": "7"} for row in rows}
    rows[0]["doc"] = "0" * 64
    with pytest.raises(InputError, match="changed underneath"):
        tasks.scores("pocket_drop", data_dir=None, rows=rows, answers=answers)


def test_the_texts_of_an_item_are_those_of_its_own_document_without_shots_and_shared_columns() -> None:
    found = asked("pocket_drop", limit=0)
    texts: dict[str, list[str]] = {}
    for item, text in tasks.texts("pocket_drop", data_dir=None, rows=[asdict(item) for item in found]):
        texts.setdefault(item, []).append(text)
    assert texts.keys() == {item.item for item in found}
    leaves = tasks._leaves("pocket_drop", None)
    for item in found:
        document = leaves[item.item.partition("/")[0]].task_docs[item.doc_id]
        assert {document["passage"], document["question"]} <= set(texts[item.item])
        assert item.subtask not in texts[item.item], "what all documents of a subtask say is no item's own"
        shots, _, _ = item.request["context"].rpartition(document["passage"])
        first_shot = shots.partition("\n")[0]
        assert first_shot
        assert not any(first_shot in text for text in texts[item.item])


def test_the_texts_of_a_benchmark_that_changed_are_not_taken_for_those_of_its_items() -> None:
    rows = [asdict(item) for item in asked("pocket_drop")]
    rows[0]["doc"] = "0" * 64
    with pytest.raises(InputError, match="changed underneath"):
        list(tasks.texts("pocket_drop", data_dir=None, rows=rows))


def test_the_definition_of_a_task_covers_the_modules_that_it_names_inside_the_package() -> None:
    info = catalog.tasks()["pocket_humaneval"]
    named = {path.name for path in catalog._definition(info.path)}
    assert named == {"pocket_humaneval.yaml", "items.py", "programs.py", "pass_at_k.py"}


def test_checkpoints_of_another_width_are_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "job.json").write_text('{"machine": {"ranks": 1, "threads": 1, "micro_batch": 4, "parallel": 1}}')
    launch._forget_other_width(tmp_path, Machine(micro_batch=4))
    assert (tmp_path / "checkpoint-3").exists()
    launch._forget_other_width(tmp_path, Machine(micro_batch=4, ranks=2))
    assert not (tmp_path / "checkpoint-3").exists()
