"""What each kind of stage does: the adapters between the graph and the layers below.

Owns the translation of a stage's settings and inputs into calls of data, train and evaluate, and what of
their results goes into the record's facts. Decides nothing itself. Invariant: facts depend only on the
key; whatever may differ between equal runs goes into telemetry.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.data import alignment, clean, mixing, normal, order, pocket, sources, variants
from harness.evaluate import tasks
from harness.evaluate.engine import Engine
from harness.nouns import Action, Chat, Decision
from harness.plan import Kind
from harness.process import Worker
from harness.progress import Bar
from harness.runner import Execute, Job, Made
from harness.store.files import read_jsonl, sha256_of, tree_digest, write_jsonl
from harness.study.model import BaseKind, Machine, Recipe, Study
from harness.train import base, launch


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all stages of one command share."""

    study: Study
    study_file: Path
    recipe: Recipe
    pretraining: Recipe | None
    machine: Machine
    data_dir: Path | None
    engine: Engine

    def executions(self) -> Mapping[str, Execute]:
        """Return the function for every kind of stage."""
        return {
            Kind.CHATS: self.chats,
            Kind.CLEAN: self.clean,
            Kind.LABEL: self.label,
            Kind.VARIANT: self.variant,
            Kind.BASE: self.base,
            Kind.TRAIN: self.train,
            Kind.ITEMS: self.items,
            Kind.PREDICT: self.predict,
            Kind.SCORE: self.score,
        }

    def chats(self, job: Job) -> Made:
        """Read all sources."""
        readings = [
            sources.read(source, data_dir=self.data_dir, study_file=self.study_file, data_seed=self.study.data_seed)
            for source in self.study.sources
        ]
        for reading in readings:
            if reading.cut:
                job.progress.note(reading.cut)
        target = _fresh(job)
        count = normal.write_chats(
            target, [_stamped(chat, reading.source) for reading in readings for chat in reading.chats]
        )
        facts = {
            "rows": {reading.source: reading.rows for reading in readings},
            "selected": {reading.source: len(reading.chats) for reading in readings},
            "cut": {reading.source: reading.cut for reading in readings if reading.cut},
            "chats": count,
        }
        return Made(folder=target, facts=facts)

    def clean(self, job: Job) -> Made:
        """Drop what the cleaning filters name, then fix the share of one source, so that it holds in training."""
        cleaned, decisions = clean.clean(normal.read_chats(job.inputs["chats"]), self.study.clean)
        by_source = {
            source.name: [chat for chat in cleaned if chat.source.partition(":")[0] == source.name]
            for source in self.study.sources
        }
        assert sum(map(len, by_source.values())) == len(cleaned), "every chat belongs to a source"
        kept, left_out = mixing.mix(by_source, self.study.mix, self.study.data_seed)
        target = _fresh(job)
        normal.write_chats(target, kept)
        normal.write_decisions(target, [*decisions, *left_out])
        facts = {"cleaned": len(cleaned), "chats": len(kept), "dropped": _reasons([*decisions, *left_out])}
        return Made(folder=target, facts=facts)

    def label(self, job: Job) -> Made:
        """Label every assistant turn; nothing is dropped."""
        pack = alignment.load_pack(self.study.filter)
        labels = alignment.label(normal.read_chats(job.inputs["chats"]), pack)
        target = _fresh(job)
        normal.write_labels(target, labels)
        return Made(
            folder=target, facts={"turns": dict(sorted(Counter(label.label.value for label in labels).items()))}
        )

    def variant(self, job: Job) -> Made:
        """Apply one treatment."""
        kept, decisions = variants.build(
            normal.read_chats(job.inputs["chats"]),
            normal.read_labels(job.inputs["labels"]),
            self.study.variants,
            job.stage.arguments["name"],
            self.study.data_seed,
        )
        target = _fresh(job)
        normal.write_chats(target, kept)
        # The object must be the same whatever the variant is called.
        normal.write_decisions(target, [_anonymous(decision) for decision in decisions])
        return Made(folder=target, facts={"chats": len(kept), "dropped": _reasons(decisions)})

    def base(self, job: Job) -> Made:
        """Fetch the base model, or pretrain pocket's."""
        log = job.store.root / "logs" / "base.txt"
        target = job.work / "model"
        if self.study.base.kind is not BaseKind.POCKET:
            bar = job.progress.bar("base model")
            target = _fresh(job)
            base.fetch(self.study.base, target, log=log)
            bar.close()
            return Made(folder=target, facts={"weights": weights_digest(target), "parameters": parameters(target)})
        assert self.pretraining is not None
        start = job.work / "untrained"
        if not start.exists():
            # transformers writes the configuration before the weights: only a renamed folder is whole.
            half = job.work / "untrained.half"
            shutil.rmtree(half, ignore_errors=True)
            with Worker(
                module="harness.data.pocket.model",
                arguments=[str(half)],
                environments=[{"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}],
                log=log,
            ) as worker:
                for _ in worker.messages():
                    pass
            half.rename(start)
        documents = ({"text": text} for text in pocket.documents(self.study.data_seed, self.study.base.rows))
        return self._trained(
            job,
            title="pretraining the base",
            start=start,
            rows=documents,
            recipe=self.pretraining,
            machine=self.pretraining.machine,
            seed=self.study.data_seed,
        )

    def train(self, job: Job) -> Made:
        """Fine-tune one arm under one seed, on its chats in keyed order."""
        seed = job.stage.settings["seed"]
        chats = order.ordered(normal.read_chats(job.inputs["data"]), seed)
        rows = ({"turns": [{"role": turn.role.value, "text": turn.text} for turn in chat.turns]} for chat in chats)
        return self._trained(
            job,
            title=f"training {job.stage.arguments['arm']}, seed {seed}",
            start=job.inputs["base"],
            rows=rows,
            recipe=self.recipe,
            machine=self.machine,
            seed=seed,
        )

    def _trained(
        self,
        job: Job,
        *,
        title: str,
        start: Path,
        rows: Iterable[Mapping[str, Any]],
        recipe: Recipe,
        machine: Machine,
        seed: int,
    ) -> Made:
        bar = job.progress.bar(title)
        watch = _Watch(bar)
        try:
            trained = launch.run(
                base=start,
                rows=rows,
                recipe=recipe,
                machine=machine,
                seed=seed,
                work=job.work / "training",
                on_message=watch.hear,
            )
        finally:
            bar.close()
        *halves, (_, final) = trained.folders.items()
        facts = {
            **trained.facts,
            "weights": weights_digest(final),
            "checkpoints": {name: tree_digest(folder) for name, folder in trained.folders.items()},
        }
        for _, folder in halves:
            job.store.objects.put(folder)
        return Made(folder=final, facts=facts, telemetry={"ranks": machine.ranks, "threads": machine.threads})

    def items(self, job: Job) -> Made:
        """Render the prompts of a task."""
        bar = job.progress.bar(f"reading {job.stage.arguments['task']}")
        found = tasks.items(
            job.stage.arguments["task"],
            data_dir=str(self.data_dir) if self.data_dir else None,
            limit=job.stage.settings["limit"],
            max_new_tokens=job.stage.settings["max_new_tokens"],
        )
        bar.close()
        target = _fresh(job)
        write_jsonl(target / "requests.jsonl", [item.request for item in found])
        write_jsonl(
            target / "items.jsonl",
            [
                {
                    "item": item.item,
                    "subtask": item.subtask,
                    "cluster": item.cluster,
                    "doc_id": item.doc_id,
                    "doc": item.doc,
                    "prompt": item.prompt_hash,
                }
                for item in found
            ],
        )
        longest = max((item.request.get("max_tokens", 1) for item in found), default=1)
        return Made(folder=target, facts={"items": len(found), "longest_answer": longest})

    def predict(self, job: Job) -> Made:
        """Ask one checkpoint one task."""
        target = _fresh(job)
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
        answers = {row["item"]: row for row in read_jsonl(job.inputs["predictions"] / "answers.jsonl")}
        bar = job.progress.bar(job.stage.name.replace("score/", "scoring ").replace("/", " "))
        scored = tasks.scores(
            job.stage.arguments["task"],
            data_dir=str(self.data_dir) if self.data_dir else None,
            rows=rows,
            answers=answers,
        )
        bar.close()
        target = _fresh(job)
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


class _Watch:
    """Turns a training's messages into a bar with loss and tokens per second."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._tokens = 0
        self._begin: float | None = None

    def hear(self, message: Mapping[str, Any]) -> None:
        if message["event"] != "step":
            return
        now = time.monotonic()
        # The first step also pays for starting up; rates begin after it.
        if self._begin is None:
            self._begin, rate = now, ""
        else:
            self._tokens += message["tokens"]
            rate = f", {self._tokens / max(now - self._begin, 1e-9):,.0f} tok/s"
        self._bar.update(message["step"], message["steps"], f"loss {message['loss']:.3f}{rate}")


def weights_digest(model: Path) -> str:
    """Return one digest of a model folder's weights alone: the sha256 of its only safetensors file, or of all."""
    digests = [sha256_of(path) for path in sorted(model.glob("*.safetensors"))]
    return digests[0] if len(digests) == 1 else "+".join(digests)


def parameters(model: Path) -> int:
    """Return the number of parameters, read from the headers of the safetensors files."""
    total = 0
    for path in sorted(model.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1
                for width in tensor["shape"]:
                    count *= width
                total += count
    return total


def _shape(model: Path) -> tuple[tuple[str, int], ...]:
    """Return what two checkpoints must share to be exchangeable in one engine."""
    settings = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return tuple(sorted((name, value) for name, value in settings.items() if type(value) in (int, bool)))


def _fresh(job: Job) -> Path:
    """Return an empty folder for a stage's output; what a killed attempt left there is removed."""
    target = job.work / "output"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    return target


def _stamped(chat: Chat, source: str) -> Chat:
    """Return a chat whose source begins with the name that the study gives it."""
    return chat if chat.source.startswith(f"{source}:") else replace(chat, source=f"{source}:{chat.source}")


def _reasons(decisions: Iterable[Decision]) -> dict[str, int]:
    return dict(sorted(Counter(d.reason for d in decisions if d.action is Action.DROP).items()))


def _anonymous(decision: Decision) -> Decision:
    return replace(decision, step="variant")
