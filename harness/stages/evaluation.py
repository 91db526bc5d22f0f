"""Stages that ask and score: the items of a task, the answers of a checkpoint, the scores of the answers.

Owns the translation of a stage's settings and inputs into calls of evaluate, and what of the result is a fact.
Invariant: facts depend only on the key; whatever may differ between equal runs goes into telemetry.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.evaluate import answering, benchmarks, checkpoint, programs, tasks
from harness.evaluate.answering import Answering, Told
from harness.evaluate.catalog import TaskInfo
from harness.evaluate.checkpoint import Checkpoint
from harness.evaluate.engines import Setting, Shape
from harness.evaluate.predictions import Predictions
from harness.evaluate.requests import Answer, Question, references
from harness.evaluate.sandbox import isolation_level
from harness.plan import JUDGE
from harness.progress import Bar, Progress
from harness.runner import Job, Made
from harness.stages.judging import judged
from harness.store.files import read_jsonl, write_jsonl

# Opens what is asked for checkpoints of one shape: an engine, or what refuses where only stored answers may be used.
Open = Callable[[Setting, Shape], Answering]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationStages:
    """Items, predictions and scores.

    Attributes:
        infos: the definitions by name.
        setting: how the engine is started; its longest prompt is cut to the model's positions.
        identity: name and version of the engine, as they enter keys.
        predictions: where answers are kept.
        allow_unsafe: whether programs may be run where the kernel does not isolate them.
        damaged: chunks of answers that were found damaged and set aside.
    """

    data_dir: Path | None
    infos: Mapping[str, TaskInfo]
    setting: Setting
    identity: Mapping[str, Any]
    predictions: Predictions
    open: Open
    allow_unsafe: bool = False
    damaged: list[str] = field(default_factory=list)

    def items(self, job: Job) -> Made:
        """Render the prompts of a task."""
        bar = job.progress.bar(f"reading {job.stage.arguments['task']}")
        target = job.fresh()
        rows, longest, limit = [], 1, self._info(job).max_prompt

        def requests() -> Iterator[dict[str, Any]]:
            nonlocal longest
            for item in tasks.items(self._info(job), data_dir=self.data_dir, **_sampling(job.stage.settings)):
                rows.append(item.to_row())
                longest = max(longest, *(request.max_tokens for request in item.requests))
                yield from (replace(request, max_prompt=limit).to_row() for request in item.requests)

        write_jsonl(target / "requests.jsonl", requests())
        write_jsonl(target / "items.jsonl", rows)
        benchmarks.forget()
        bar.close()
        return Made(folder=target, facts={"items": len(rows), "longest_answer": longest})

    def ask_together(self, model: Checkpoint, items: Iterable[Path], title: str, progress: Progress) -> None:
        """Ask one checkpoint several tasks at once, so that the engine's batches stay full between them."""
        requests = [one for folder in items for one in references(folder / "requests.jsonl")]
        self._ask(model, requests, progress.bar(title))

    def predict(self, job: Job) -> Made:
        """Ask one checkpoint one task; what is in the store already is not asked again."""
        target = job.fresh()
        title = job.stage.name.replace("predict/", "asking ").replace("/", " ")
        # Only a stage of a study has a model that another stage made.
        model = opened(job.inputs["model"]) if "model" in job.inputs else job.stage.arguments["model"]
        rows = list(read_jsonl(job.inputs["items"] / "items.jsonl"))
        requests: dict[str, list[Question]] = {row["item"]: [] for row in rows}
        for reference in references(job.inputs["items"] / "requests.jsonl"):
            requests[reference.item].append(reference)
        told = self._ask(model, [one for own in requests.values() for one in own], job.progress.bar(title))
        shortened = self._shorten(job, model, rows, requests, told)
        write_jsonl(
            target / "answers.jsonl",
            (
                {
                    **_told(told.answers[request.key]),
                    "item": row["item"],
                    "sample": request.sample,
                    "prompt": row["prompt"],
                    "shots": row["shots"],
                }
                for row in rows
                for request in requests[row["item"]]
            ),
        )
        given = [told.answers[request.key] for own in requests.values() for request in own]
        facts = {
            **self.identity,
            "dtype": self.setting.dtype,
            "task": job.stage.arguments["task"],
            "shortened_prompts": shortened,
            "unfinished": sum(answer.finish == "length" for answer in given),
        }
        return Made(folder=target, facts=facts, telemetry={"asked": told.asked, "damaged_chunks": len(told.damaged)})

    def _ask(self, model: Checkpoint, requests: Sequence[Question], bar: Bar) -> Told:
        setting = replace(self.setting, max_length=self._room(model))
        for one in requests:
            if one.max_tokens >= setting.max_length:
                # Dropping shots, one after the other and for every item, would end at the same.
                raise InputError(
                    f"The answer to item '{one.item}' may have {one.max_tokens} tokens, and prompt and answer together"
                    f" {setting.max_length} (max_length, or the model's positions). Raise max_length or set"
                    " max_new_tokens."
                )
        shelf = self.predictions.shelf(
            {"checkpoint": model.digest, "engine": dict(self.identity), "dtype": self.setting.dtype},
            room=setting.max_length,
        )
        try:
            told = answering.ask(
                requests,
                model=model.path,
                shelf=shelf,
                engine=self.open(setting, model.shape),
                on_answers=_Rate(bar).hear,
                check=model.require_unchanged,
            )
            self.damaged.extend(told.damaged)
            return told
        finally:
            bar.close()

    def _room(self, model: Checkpoint) -> int:
        """Return how many tokens prompt and answer may have together."""
        return min(self.setting.max_length, model.max_positions or self.setting.max_length)

    def _shorten(
        self,
        job: Job,
        model: Checkpoint,
        rows: list[dict[str, Any]],
        requests: dict[str, list[Question]],
        told: Told,
    ) -> int:
        """Ask items whose prompt left no room for the answer again with one shot less each time; return how many.

        A prompt is never cut: whatever remains of a question says something else than the question.

        Raises:
            InputError: a prompt without shots is too long still.
        """
        shortened: set[str] = set()
        asking = _sampling(job.records["items"].payload["settings"])
        while True:
            long = [row for row in rows if any(told.answers[request.key].too_long for request in requests[row["item"]])]
            if not long:
                return len(shortened)
            hopeless = [row for row in long if not row["shots"]]
            if hopeless:
                first = requests[hopeless[0]["item"]]
                raise InputError(
                    f"Item '{hopeless[0]['item']}' has {max(told.answers[one.key].too_long for one in first)} tokens"
                    f" without any shot, its answer may have {max(one.max_tokens for one in first)}, and both together"
                    f" {self._room(model)} ({len(hopeless)} of {len(rows)} items). Raise max_length (no further than"
                    " the model's positions reach), cap the answer with max_new_tokens, or leave the task out."
                )
            by_name = {row["item"]: row for row in long}
            shortened |= by_name.keys()
            for item in tasks.rendered(
                self._info(job),
                long,
                data_dir=self.data_dir,
                shots=[row["shots"] - 1 for row in long],
                **{name: value for name, value in asking.items() if name != "limit"},
            ):
                row = by_name[item.item]
                row |= {"prompt": item.prompt, "shots": item.shots}
                # Without shots there is nothing left to drop: the profile sends whatever the model has room for.
                limit = self._info(job).max_prompt if item.shots else 0
                requests[row["item"]] = [replace(request, max_prompt=limit) for request in item.requests]
            again = [request for row in long for request in requests[row["item"]]]
            more = self._ask(model, again, job.progress.bar(f"asking {len(long)} with fewer shots"))
            told.answers |= more.answers
            told.asked += more.asked

    def score(self, job: Job) -> Made:
        """Score stored answers; the record itself carries every item's scores."""
        rows = list(read_jsonl(job.inputs["items"] / "items.jsonl"))
        answers: dict[str, list[Answer]] = {}
        prompts: dict[str, str] = {}
        for raw in read_jsonl(job.inputs["predictions"] / "answers.jsonl"):
            answers.setdefault(raw["item"], []).append(
                Answer.from_row({name: raw[name] for name in Answer.__slots__ if name in raw})
            )
            prompts[raw["item"]] = raw["prompt"]
        bar = job.progress.bar(job.stage.name.replace("score/", "scoring ").replace("/", " "))
        info = self._info(job)
        extracted: dict[tuple[str, str], Any] = {}
        with programs.execution(allow_unsafe=self.allow_unsafe) as executed:
            scored = tasks.scores(
                info,
                data_dir=self.data_dir,
                rows=rows,
                answers=answers,
                pass_at=job.stage.settings.get("pass_at", ()),
                on_filtered=extracted.setdefault,
            )
        benchmarks.forget()
        bar.close()
        # Of choices after contexts of their own the probabilities do not add up to anything.
        asked = read_jsonl(job.inputs["items"] / "requests.jsonl")
        shared = {raw["item"] for raw in asked if len(raw["contexts"]) == 1}
        for item, own in answers.items():
            if item in shared and (mass := _choice_mass(own)) is not None:
                scored[item]["choice_mass"] = mass
        said = judged(info.judge, asked=_said(job), answers=answers) if info.judge else None
        if said is not None:
            scored = {item: own | said.metrics[item] for item, own in scored.items()}
            extracted |= {(item, JUDGE): label for item, label in said.labels.items()}
        target = job.fresh()
        _write_scores(target / "scores.jsonl", rows, scored, extracted)
        names = sorted({name for row in rows for name in scored[row["item"]]})
        facts: dict[str, Any] = {
            "task": job.stage.arguments["task"],
            "item": [row["item"] for row in rows],
            "subtask": [row["subtask"] for row in rows],
            "cluster": [row["cluster"] for row in rows],
            "prompt": [prompts[row["item"]] for row in rows],
            # Not every item has every metric: the mass on choices, for one, is of choices of one token.
            "scores": {name: [scored[row["item"]].get(name) for row in rows] for name in names},
            "aggregate": tasks.aggregate(info, rows, scored),
        }
        if said is not None:
            facts["judge"] = dict(said.judge)
        if info.executes:
            facts |= {"isolation": executed.isolation, "verdicts": dict(executed.verdicts)}
        return Made(folder=target, facts=facts)

    def _info(self, job: Job) -> TaskInfo:
        return self.infos[job.stage.arguments["task"]]


def require_isolation(definitions: Iterable[TaskInfo], *, allow_unsafe: bool) -> None:
    """Raise where generated programs would have to be run and the kernel does not isolate them.

    Raises:
        InputError: names the first definition that executes programs.
    """
    programs_of = sorted(info.name for info in definitions if info.executes)
    if programs_of and not allow_unsafe and isolation_level() != "namespaces":
        raise InputError(
            f"Task '{programs_of[0]}' executes generated programs, and this kernel refuses the namespaces that isolate"
            " them. Allow unprivileged user namespaces, leave the task out with --tasks, or, on a machine that may be"
            " lost, run them without isolation: --unsafe-exec."
        )


def _write_scores(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    scored: Mapping[str, Mapping[str, float]],
    extracted: Mapping[tuple[str, str], Any],
) -> None:
    """Write every item with its scores and what was read in its answers, by filter."""
    read: dict[str, dict[str, Any]] = {}
    for (item, name), value in extracted.items():
        read.setdefault(item, {})[name] = value
    write_jsonl(path, ({**row, "scores": scored[row["item"]], "extracted": read.get(row["item"], {})} for row in rows))


def _said(job: Job) -> dict[str, str]:
    """Return what the user says of every item of a stage that scores."""
    asked = read_jsonl(job.inputs["items"] / "requests.jsonl")
    return {raw["item"]: raw["contexts"][0] for raw in asked}


def _told(answer: Answer) -> dict[str, Any]:
    """Return an answer without its tokens.

    An answer that follows from a longer one has those of that one, so they depend on what was asked before; and what
    depends on that must not enter the keys of what comes after.
    """
    row = answer.to_row()
    del row["tokens"], row["hidden"]
    return row


def _sampling(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an items stage as `tasks.items` takes them."""
    names = ("limit", "max_new_tokens", "samples", "temperature", "sampling_seed")
    return {name: settings[name] for name in names}


def _choice_mass(answers: Sequence[Answer]) -> float | None:
    """Return the probability of all choices together, where each is one token; None where it has no meaning."""
    [answer, *others] = answers
    if others or not answer.greedy or any(count != 1 for count in answer.counts):
        return None
    return math.fsum(math.exp(value) for value in answer.logprobs)


@functools.lru_cache(maxsize=64)
def opened(folder: Path) -> Checkpoint:
    """Return a checkpoint of the store, whose bytes do not change, after checking it once."""
    return checkpoint.open(folder)


class _Rate:
    """Turns counts of answers into a bar with answers per second."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._first: tuple[float, int] | None = None

    def hear(self, done: int, total: int) -> None:
        now = time.monotonic()
        # The first report also pays for starting the engine; the rate begins after it.
        if self._first is None:
            self._first = (now, done)
        begin, count = self._first
        rate = f"{(done - count) / (now - begin):.1f} answers/s" if done > count and now > begin else ""
        self._bar.update(done, total, rate)
