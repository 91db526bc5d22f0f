"""Stages that ask and score: the items of a task, the answers of a checkpoint, the scores of the answers.

Owns the translation of a stage's settings and inputs into calls of evaluate, and what of the result is a fact.
Invariant: facts depend only on the key; whatever may differ between equal runs goes into telemetry.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.evaluate import catalog, tasks
from harness.evaluate.engine import Engine
from harness.evaluate.requests import Answer, Ask, Request
from harness.progress import Bar
from harness.runner import Job, Made
from harness.store.files import read_jsonl, write_jsonl
from harness.train import base


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationStages:
    """Items, predictions and scores."""

    data_dir: Path | None
    engine: Engine

    def items(self, job: Job) -> Made:
        """Render the prompts of a task."""
        bar = job.progress.bar(f"reading {job.stage.arguments['task']}")
        found = list(
            tasks.items(
                catalog.definition(job.stage.arguments["task"]),
                data_dir=self.data_dir,
                limit=job.stage.settings["limit"],
                max_new_tokens=job.stage.settings["max_new_tokens"],
            )
        )
        bar.close()
        target = job.fresh()
        write_jsonl(target / "requests.jsonl", [_asked(item.requests[0]) for item in found])
        write_jsonl(
            target / "items.jsonl",
            [
                {
                    "item": item.item,
                    "subtask": item.subtask,
                    "cluster": item.cluster,
                    "doc_id": item.doc_id,
                    "doc": item.doc,
                    "prompt": item.prompt,
                }
                for item in found
            ],
        )
        longest = max((item.requests[0].max_tokens or 1 for item in found), default=1)
        return Made(folder=target, facts={"items": len(found), "longest_answer": longest})

    def predict(self, job: Job) -> Made:
        """Ask one checkpoint one task."""
        target = job.fresh()
        stage, model = job.stage, job.inputs["model"]
        bar = job.progress.bar(stage.name.replace("predict/", "asking ").replace("/", " "))
        try:
            facts = self.engine.answer(
                model=model,
                requests=job.inputs["items"] / "requests.jsonl",
                output=target / "answers.jsonl",
                dtype=stage.settings["dtype"],
                max_length=min(stage.settings["max_length"], base.max_positions(model)),
                shape=_shape(model),
                on_items=_Rate(bar).hear,
            )
        finally:
            bar.close()
        return Made(folder=target, facts={**facts, "task": stage.arguments["task"]})

    def score(self, job: Job) -> Made:
        """Score stored answers; the record itself carries every item's scores."""
        rows = list(read_jsonl(job.inputs["items"] / "items.jsonl"))
        answers = {row["item"]: [_given(row)] for row in read_jsonl(job.inputs["predictions"] / "answers.jsonl")}
        bar = job.progress.bar(job.stage.name.replace("score/", "scoring ").replace("/", " "))
        scored = tasks.scores(
            catalog.definition(job.stage.arguments["task"]),
            data_dir=self.data_dir,
            rows=rows,
            answers=answers,
        )
        bar.close()
        target = job.fresh()
        write_jsonl(target / "scores.jsonl", [{**row, "scores": scored[row["item"]]} for row in rows])
        names = sorted({name for row in rows for name in scored[row["item"]]})
        facts = {
            "task": job.stage.arguments["task"],
            "item": [row["item"] for row in rows],
            "cluster": [row["cluster"] for row in rows],
            "prompt": [row["prompt"] for row in rows],
            "scores": {name: [scored[row["item"]][name] for row in rows] for name in names},
        }
        return Made(folder=target, facts=facts)


def _asked(request: Request) -> dict[str, Any]:
    """Return a request as the engine reads it."""
    row = {"item": request.item, "kind": request.kind.value, "context": request.context}
    if request.kind is Ask.CHOICES:
        return {**row, "continuations": list(request.continuations)}
    how = {"until": list(request.until), "max_tokens": request.max_tokens}
    return {**row, **how, "temperature": request.temperature, "seed": request.seed}


def _given(row: dict[str, Any]) -> Answer:
    """Return the engine's answer."""
    known = ("logprobs", "greedy", "text")
    return Answer.from_row({**Answer().to_row(), **{name: row[name] for name in known if name in row}})


class _Rate:
    """Turns counts of answered items into a bar with items per second."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._first: tuple[float, int] | None = None

    def hear(self, done: int, total: int) -> None:
        now = time.monotonic()
        # The first report also pays for starting the engine; the rate begins after it.
        if self._first is None:
            self._first = (now, done)
        begin, count = self._first
        rate = f"{(done - count) / (now - begin):.1f} items/s" if done > count and now > begin else ""
        self._bar.update(done, total, rate)


def _shape(model: Path) -> tuple[tuple[str, int], ...]:
    """Return what two checkpoints must share to be exchangeable in one engine."""
    settings = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return tuple(sorted((name, value) for name, value in settings.items() if type(value) in (int, bool)))
