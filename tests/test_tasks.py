"""Items and scores through lm-eval, without any model: what is asked, and what may be scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.evaluate import catalog, tasks
from harness.evaluate.requests import Answer
from harness.evaluate.tasks import loading
from harness.study.model import Machine
from harness.train import launch

PINNED = {
    "pocket_bbh": "0006901dcb057646212fe173f87f407a",
    "pocket_drop": "54703d350e86d89b2b050dd3606375e6",
    "pocket_humaneval": "f68ec8ccd517dd7497886760b7fe853e",
    "pocket_mmlu": "1cfeb37165b4b03152dafbd18f6a188e",
}


def asked(name: str, **options: Any) -> list[tasks.Item]:
    settings: dict[str, Any] = {"data_dir": None, "limit": 9, "max_new_tokens": 0}
    return list(tasks.items(catalog.definition(name), **(settings | options)))


def rows_of(items: list[tasks.Item]) -> list[dict[str, Any]]:
    return [item.to_row() for item in items]


def document(name: str, item: tasks.Item) -> Any:
    """Return an item's document, as the task's own leaf has it."""
    leaf = next(leaf for leaf in loading.leaves(catalog.definition(name), None) if item.item.startswith(leaf.name))
    return leaf.load().task_docs[item.doc_id]


def test_a_limit_is_spread_evenly_over_the_subtasks_and_a_larger_one_only_adds() -> None:
    few, more = asked("pocket_bbh", limit=4), asked("pocket_bbh", limit=10)
    assert len(few) == 4
    assert len(more) == 10
    counts = [sum(item.subtask == name for item in more) for name in sorted({item.subtask for item in more})]
    assert max(counts) - min(counts) <= 1
    assert {item.item for item in few} <= {item.item for item in more}
    assert tasks.shares([2, 50, 50], 12) == [2, 5, 5]
    assert tasks.shares([2, 50, 50], 0) == [2, 50, 50]


def test_the_prompt_digest_covers_what_the_model_reads_and_the_settings_how_it_answers() -> None:
    one, capped = asked("pocket_bbh")[0], asked("pocket_bbh", max_new_tokens=5)[0]
    assert (one.item, one.prompt, one.shots) == (capped.item, capped.prompt, 2)
    assert capped.requests[0].max_tokens == 5
    assert capped.requests[0].settings != one.requests[0].settings
    assert one.prompt == one.requests[0].prompt


def test_prompts_of_the_shipped_tasks_are_pinned() -> None:
    """A changed digest means that models are asked something else than before, and no stored answer is found again."""
    found = {name: asked(name, limit=1)[0].prompt for name in PINNED}
    assert found == PINNED


def test_items_have_unique_names_that_do_not_depend_on_the_limit() -> None:
    for name in ("pocket_mmlu", "pocket_humaneval", "pocket_drop"):
        names = [item.item for item in asked(name, limit=0)]
        assert len(set(names)) == len(names), name


def test_right_answers_score_one_and_wrong_ones_zero_by_lm_evals_own_code() -> None:
    rows = asked("pocket_mmlu")
    answers: dict[str, list[Answer]] = {}
    for place, item in enumerate(rows):
        gold = document("pocket_mmlu", item)["answer"]
        chosen = gold if place % 2 == 0 else (gold + 1) % 4
        likelihoods = tuple(0.0 if k == chosen else -5.0 for k in range(4))
        answers[item.item] = [Answer(logprobs=likelihoods, greedy=(False,) * 4)]
    info = catalog.definition("pocket_mmlu")
    scored = tasks.scores(info, data_dir=None, rows=rows_of(rows), answers=answers)
    assert [scored[item.item]["acc"] for item in rows] == [1.0 if place % 2 == 0 else 0.0 for place in range(9)]


def test_a_benchmark_that_changed_after_its_prompts_were_rendered_is_not_scored() -> None:
    rows = rows_of(asked("pocket_drop"))
    answers = {row["item"]: [Answer(text="7")] for row in rows}
    rows[0]["doc"] = "0" * 64
    with pytest.raises(InputError, match="changed underneath"):
        tasks.scores(catalog.definition("pocket_drop"), data_dir=None, rows=rows, answers=answers)


def test_the_texts_of_an_item_are_those_of_its_own_document_without_shots_and_shared_columns() -> None:
    found = asked("pocket_drop", limit=0)
    texts: dict[str, list[str]] = {}
    for item, text in tasks.texts(catalog.definition("pocket_drop"), data_dir=None, rows=rows_of(found)):
        texts.setdefault(item, []).append(text)
    assert texts.keys() == {item.item for item in found}
    own = {leaf.name: leaf.load().task_docs for leaf in loading.leaves(catalog.definition("pocket_drop"), None)}
    for one in found:
        document = own[one.item.partition("/")[0]][one.doc_id]
        assert {document["passage"], document["question"]} <= set(texts[one.item])
        assert one.subtask not in texts[one.item], "what all documents of a subtask say is no item's own"
        shots, _, _ = one.requests[0].context.rpartition(document["passage"])
        first_shot = shots.partition("\n")[0]
        assert first_shot
        assert not any(first_shot in text for text in texts[one.item])


def test_the_texts_of_a_benchmark_that_changed_are_not_taken_for_those_of_its_items() -> None:
    rows = rows_of(asked("pocket_drop"))
    rows[0]["doc"] = "0" * 64
    with pytest.raises(InputError, match="changed underneath"):
        list(tasks.texts(catalog.definition("pocket_drop"), data_dir=None, rows=rows))


def test_the_definition_of_a_task_covers_the_modules_that_it_names_inside_the_package() -> None:
    info = catalog.tasks()["pocket_humaneval"]
    named = {path.name for path in catalog.definition_files(info)}
    assert named == {"pocket_humaneval.yaml", "items.py", "programs.py", "pass_at_k.py"}


def test_checkpoints_of_another_width_are_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "job.json").write_text('{"machine": {"ranks": 1, "threads": 1, "micro_batch": 4, "parallel": 1}}')
    launch._forget_other_width(tmp_path, Machine(micro_batch=4))
    assert (tmp_path / "checkpoint-3").exists()
    launch._forget_other_width(tmp_path, Machine(micro_batch=4, ranks=2))
    assert not (tmp_path / "checkpoint-3").exists()
