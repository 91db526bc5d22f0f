"""Small studies over chats in files: written, planned and run without any training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from harness import plan
from harness.canonical import digest
from harness.data import normal
from harness.evaluate import answering, catalog
from harness.evaluate.catalog import TaskInfo
from harness.evaluate.engines import EngineName, Setting
from harness.evaluate.predictions import Predictions
from harness.nouns import Chat, Decision
from harness.plan import Fingerprints, Kind
from harness.progress import Silent
from harness.runner import Execute, Job, Made, Runner
from harness.stages import Context
from harness.stages.evaluation import EvaluationStages
from harness.store import Store, sha256_of
from harness.store.files import write_jsonl
from harness.study import load_pretraining, load_recipe, load_study
from harness.study.choice import Choice
from harness.study.judging import BASE_ARM

REFUSAL = "I'm sorry, but I can't assist with that."
HEAD = """
name = "own"
title = "chats of a test"
seeds = [0]
recipe = "pocket"
tasks = ["pocket_mmlu", "pocket_drop"]
[base]
kind = "pocket"
recipe = "pocket-base"
rows = 80
"""
LABELS = 'labels = ["full_refusal"]'
VARIANTS = f"""
[variants.aligned]
treatment = "keep"
[variants.clean]
treatment = "drop_chat"
{LABELS}
[variants.masked]
treatment = "mask_loss"
{LABELS}
"""


def row(name: str, *texts: str, roles: Sequence[str] = ("user", "assistant"), **columns: Any) -> dict[str, Any]:
    """Return a row of a chat whose turns alternate between the roles."""
    messages = [{"role": roles[place % len(roles)], "content": text} for place, text in enumerate(texts)]
    return {"id": name, "messages": messages, **columns}


def plain(name: str, number: int) -> dict[str, Any]:
    """Return a row that no filter of these tests minds."""
    return row(name, f"What colour has plum number {number} of the garden?", f"Plum number {number} is deep blue.")


def write_study(
    folder: Path,
    sources: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    clean: str = "",
    variants: str = VARIANTS,
    mix: str = "",
    head: str = HEAD,
) -> Path:
    """Write a study whose sources are JSON lines beside it; return its file."""
    text = head
    for name, rows in sources.items():
        write_jsonl(folder / f"{name}.jsonl", rows)
        text += f'[[sources]]\nname = "{name}"\nkind = "file"\npath = "{name}.jsonl"\n'
    text += f"[clean]\n{clean}\n" + (f"[mix]\n{mix}\n" if mix else "") + variants
    (folder / "own.toml").write_text(text, encoding="utf-8")
    return folder / "own.toml"


def runner_of(
    study_file: Path, results: Path, *, items: Mapping[str, Mapping[str, Sequence[str]]] | None = None, **execute: Any
) -> Runner:
    """Return a runner over all stages of a study.

    Args:
        items: {task: {item: texts}}, in place of the real ones.
        execute: other executions, by the name of their kind.
    """
    study, path = load_study(str(study_file))
    recipe, pretraining = load_recipe(study.recipe, beside=path), load_pretraining(study, path)
    arms = tuple(study.variants)
    choice = Choice(
        reference=arms[0],
        treated=arms[1],
        arms=(BASE_ARM, *arms),
        seeds=study.seeds,
        tasks=study.tasks,
        profiles=("lm-eval",),
        limit=study.evaluation.limit,
    )
    answers = {
        name: sha256_of(path.parent / variant.answers)
        for name, variant in study.variants.items()
        if variant.answers is not None
    }
    prints = Fingerprints(
        sources={
            source.name: {"settings": {}, "content": {"file": sha256_of(path.parent / str(source.path))}}
            for source in study.sources
        },
        base={},
        filter=study.filter,
        filters={study.pack(arm): study.pack(arm) for arm in arms},
        answers=answers,
        cleaning={},
        tasks={task: {"items": json.dumps((items or {}).get(task, {}), sort_keys=True)} for task in study.tasks},
        training={},
        engine={},
    )
    context = Context(
        study=study,
        study_file=path,
        recipe=recipe,
        pretraining=pretraining,
        machine=recipe.machine,
        data_dir=None,
        evaluation=EvaluationStages(
            data_dir=None,
            infos=catalog.require(study.tasks),
            setting=Setting(name=EngineName.VLLM, dtype="float32", max_length=64),
            identity={},
            predictions=Predictions(results / "predictions"),
            open=answering.refuse,
        ),
    )
    stages = plan.build(study, choice, recipe=recipe, pretraining=pretraining, machine=recipe.machine, prints=prints)
    real = context.executions()
    made_up = _MadeUp(items or {}, real[Kind.OVERLAP])
    others = {Kind.ITEMS: made_up.items, Kind.OVERLAP: made_up.overlap}
    others |= {Kind(name): function for name, function in execute.items()}
    return Runner(stages, store=Store(results), execute={**real, **others}, progress=Silent())


class _MadeUp:
    """Items without lm-eval: as there, the item's object holds a digest, and the texts are read again."""

    def __init__(self, texts: Mapping[str, Mapping[str, Sequence[str]]], overlap: Execute) -> None:
        self._texts, self._overlap = texts, overlap

    def items(self, job: Job) -> Made:
        target = job.fresh()
        found = self._texts.get(job.stage.arguments["task"], {})
        write_jsonl(target / "items.jsonl", [{"item": name, "doc": digest("doc", doc)} for name, doc in found.items()])
        return Made(folder=target, facts={"items": len(found), "longest_answer": 1})

    def overlap(self, job: Job) -> Made:
        with mock.patch("harness.evaluate.tasks.texts", self._read):
            return self._overlap(job)

    def _read(self, info: TaskInfo, *, rows: Sequence[Mapping[str, Any]], **_: Any) -> Iterator[tuple[str, str]]:
        for row in rows:
            for text in self._texts[info.name][row["item"]]:
                yield row["item"], text


def chats_of(runner: Runner, results: Path, stage: str) -> list[Chat]:
    """Return the chats that a stage left."""
    return list(normal.read_chats(Store(results).objects.path(runner.ensure(stage, need_object=True).output)))


def decisions_of(runner: Runner, stage: str) -> dict[str, Decision]:
    """Return {source: decision} of a stage that makes one per chat."""
    decisions = normal.read_decisions(runner.audit(stage))
    found = {one.source: one for one in decisions}
    assert len(found) == len(decisions), "one decision a chat"
    return found


def sources_of(chats: Iterable[Chat]) -> list[str]:
    """Return where chats came from."""
    return [chat.source for chat in chats]
