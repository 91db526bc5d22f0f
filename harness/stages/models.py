"""Stages that make models: the base, and the training of one arm under one seed.

Owns the translation of a stage's settings and inputs into calls of train, and what of the result is a fact.
Invariant: facts depend only on the key; whatever may differ between equal runs goes into telemetry.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data import normal, order, pocket
from harness.nouns import Chat
from harness.process import Worker
from harness.progress import Bar
from harness.runner import Job, Made
from harness.store.files import sha256_of, tree_digest
from harness.study.model import BaseKind, Machine, Recipe, Study
from harness.train import base, launch


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelStages:
    """Base and training, for one study."""

    study: Study
    recipe: Recipe
    pretraining: Recipe | None
    machine: Machine

    def base(self, job: Job) -> Made:
        """Fetch the base model, or pretrain pocket's."""
        log = job.store.root / "logs" / "base.txt"
        target = job.work / "model"
        if self.study.base.kind is not BaseKind.POCKET:
            bar = job.progress.bar("base model")
            target = job.fresh()
            base.fetch(self.study.base, target, log=log, known=job.stage.settings["source"])
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
        with normal.Spool(job.work / "chats") as chats:
            members = []
            for chat in normal.read_chats(job.inputs["data"]):
                chats.add(chat)
                members.append(order.Member(root=chat.root, chat_id=chat.id, source=chat.source))
            rows = (_row(chats[place]) for place in order.ordered(members, seed))
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


def _row(chat: Chat) -> dict[str, Any]:
    """Return a chat as the training worker reads it."""
    turns = [{"role": turn.role.value, "text": turn.text} for turn in chat.turns]
    return {"turns": turns} | ({"masked": chat.masked} if chat.masked else {})


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
