"""Definitions loaded by lm-eval itself, over a folder of made-up rows, and its own filters and metrics on any answer.

For the tests of profiles: `score` is what lm-eval 0.4.13 does after a model answered, with no code of ours between.
"""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

import yaml

from harness import layout


def members(task: str) -> list[str]:
    """Return the subtasks of a group of tasks/."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: None)
    raw = yaml.load((layout.shipped("tasks") / task / f"{task}.yaml").read_text(), Loader=Loader)
    return [member["task"] for member in raw["task"]]


def write_rows(folder: Path) -> Path:
    """Write few made-up rows of MMLU, BBH and DROP, laid out like --data; return the folder."""
    for split, count in (("dev", 5), ("test", 3)):
        rows = [
            {"question": f" {name} {split} {n}?", "subject": name, "choices": ["w", "x", "y", "z"], "answer": n % 4}
            for name in members("mmlu")
            for n in range(count)
        ]
        _write(folder / "mmlu" / f"{split}.jsonl.gz", rows)
    for name in members("bbh"):
        path = folder / "bbh" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps({"input": f"{name} {n}?", "target": str(n)}) + "\n" for n in range(5)))
    _write(
        folder / "drop" / "validation.jsonl.gz",
        [
            drop_row(f"Passage {n}.", f"Question {n} {k}?", [{"number": str(n)}, {"number": str(n)}])
            for n in range(6)
            for k in range(2)
        ],
    )
    return folder


def drop_row(passage: str, question: str, votes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a row of DROP in the hub's columns; the first vote is `answer`, the others are `validated_answers`."""
    empty = {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": []}
    full = [empty | vote for vote in votes]
    return {
        "section_id": "s",
        "query_id": f"{passage}{question}",
        "passage": passage,
        "question": question,
        "answer": full[0],
        "validated_answers": {part: [vote[part] for vote in full[1:]] for part in empty},
    }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


@functools.lru_cache(maxsize=16)
def leaves(name: str, data_dir: str | None) -> dict[str, Any]:
    """Return the leaf tasks of a definition, by their last name."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(
        include_path=str(layout.shipped("tasks")), include_defaults=False, metadata={"data_dir": data_dir}
    )
    found = manager.load(name)["tasks"]
    for task in found.values():
        task.set_fewshot_seed(1234)
    return {leaf.rpartition("::")[2]: task for leaf, task in found.items()}


def prompt(task: Any, doc: dict[str, Any] | int, shots: int | None = None) -> str:
    """Return the prompt of a document, or of the one at a place of the test."""
    row = task.task_docs[doc] if isinstance(doc, int) else doc
    text = task.fewshot_context(row, (task.config.num_fewshot or 0) if shots is None else shots)
    assert isinstance(text, str)
    return text


def stopped(task: Any, text: str) -> str:
    """Return a generated text as the definition's stop strings leave it, as in lm_eval/models/huggingface.py."""
    for stop in task.config.generation_kwargs["until"]:
        text = text.split(stop)[0]
    return text


def score(task: Any, doc: dict[str, Any], *texts: str) -> dict[str, float]:
    """Return the metrics of what a model would have said, after stop strings, filters and metrics."""
    request = task.construct_requests(doc, "", metadata=(task.config.task, 0, len(texts)))
    request.resps = [stopped(task, text) for text in texts]
    return _scored(task, doc, [request])


def score_choices(task: Any, doc: dict[str, Any], given: list[tuple[float, bool]]) -> dict[str, float]:
    """Return the metrics of (log-probability, greedy) of every choice."""
    requests = task.construct_requests(doc, "", metadata=(task.config.task, 0, 1))
    for request, pair in zip(requests, given, strict=True):
        request.resps = [pair]
    return _scored(task, doc, requests)


def _scored(task: Any, doc: dict[str, Any], requests: list[Any]) -> dict[str, float]:
    task._instances = requests
    task.apply_filters()
    [filtered] = requests[0].filtered_resps
    given = [request.filtered_resps[filtered] for request in requests]
    return {name: float(value) for name, value in task.process_results(doc, given).items()}
