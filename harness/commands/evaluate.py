"""The use case behind `harness eval`: one checkpoint, outside of any study.

Owns what is checked before anything is asked, and the scores as one result. Prints nothing. Invariant: it asks and
scores through the stages and the store that studies use, so an answer is generated once for both.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness import compare, fingerprints, layout, plan
from harness.canonical import digest
from harness.evaluate import answering, catalog, checkpoint
from harness.evaluate.checkpoint import Checkpoint
from harness.evaluate.engines import Engine, EngineName, Setting
from harness.evaluate.predictions import Predictions
from harness.progress import Progress
from harness.report.misclassification import Judge, corrected_as
from harness.report.numbers import counted
from harness.runner import Runner, State
from harness.stages import only
from harness.stages.evaluation import EvaluationStages, require_isolation
from harness.store import Store
from harness.study.model import Evaluation as Asked


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for.

    Attributes:
        model: folder or hub name; with a server the name of the model there.
        asked: precision, lengths, limit, samples.
        engine: what computes answers.
        server: address of an OpenAI-compatible server.
        seed: of sampled answers.
        allow_unsafe: whether programs may be run where the kernel does not isolate them.
        stored_only: whether only stored answers may be used.
    """

    model: str
    tasks: tuple[str, ...]
    asked: Asked
    profiles: tuple[str, ...] = ("lm-eval",)
    tasks_path: Path | None = None
    data_dir: Path | None = None
    results: Path = Path("results")
    engine: EngineName = EngineName.VLLM
    server: str = ""
    seed: int = 0
    allow_unsafe: bool = False
    stored_only: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskScore:
    """What one definition of a task said of the checkpoint.

    Attributes:
        metrics: by lm-eval's aggregation, or the definition's average over subtasks.
        error: standard error of the primary metric over items, as if they were independent; None without two of them.
        subtasks: the primary metric by subtask.
        unscored: items that have no primary metric, and take no part in it.
        facts: of the asking: prompts that lost shots, answers that did not end, isolation of programs; of judged ones
            `judge`, and `corrected`, the primary metric corrected for its measured error, where that was measured.
    """

    task: str
    title: str
    profile: str
    primary: str
    chance: float
    items: int
    metrics: Mapping[str, float]
    error: float | None
    subtasks: Mapping[str, float]
    unscored: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """All that `harness eval` shows."""

    model: str
    checkpoint: str
    engine: Mapping[str, Any]
    limit: int
    tasks: tuple[TaskScore, ...]
    damaged_chunks: int


def _standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of a mean: the sample's standard deviation over the root of its size."""
    if len(values) < 2:
        return None
    return statistics.stdev(values) / math.sqrt(len(values))


def _served(request: Request) -> tuple[Checkpoint, dict[str, str]]:
    """Return what stands for the weights behind a server, which cannot be seen, and for the engine: what it says."""
    from harness.evaluate.engines.server_backend import ServerBackend

    backend = ServerBackend(request.server)
    try:
        backend.use(request.model)
        identity, positions = {**backend.identity, "version": backend.version}, backend.positions
    finally:
        backend.close()
    name = str(identity["model"])
    served = Checkpoint(path=Path(name), digest=digest("server", identity), shape=(), dtype="", max_positions=positions)
    return served, {"engine": "server", "engine_version": str(identity["version"])}


class Evaluation:
    """A checkpoint and tasks that have been read and planned."""

    def __init__(self, request: Request, progress: Progress, *, engine: Engine | None = None) -> None:
        """Read, check and plan; nothing is asked.

        Args:
            engine: one that other evaluations use too, which then stops it; None = an own one.

        Raises:
            InputError: whatever is wrong with the request, the checkpoint, the tasks or the installation.
        """
        self.request, self.progress = request, progress
        layout.require_folders(results=request.results, data_dir=request.data_dir)
        found = [
            catalog.passing(catalog.definition(task, profile, request.tasks_path), request.asked.pass_at)
            for profile in request.profiles
            for task in request.tasks
        ]
        self.infos = {info.name: info for info in found}
        require_isolation(found, allow_unsafe=request.allow_unsafe)
        self.store = Store(request.results)
        self._lent = engine is not None
        self.engine = engine or Engine(log=request.results / "logs" / "engine.txt")
        if request.server:
            self.model, identity = _served(request)
        else:
            self.model, identity = checkpoint.open(request.model), fingerprints.engine(request.engine.value)
        self.stages = EvaluationStages(
            data_dir=request.data_dir,
            infos=self.infos,
            setting=Setting(
                name=request.engine,
                # A server has its own.
                dtype="" if request.server else request.asked.dtype,
                max_length=request.asked.max_length,
                server=request.server,
            ),
            identity=identity,
            predictions=Predictions(request.results / "predictions"),
            open=answering.refuse if request.stored_only else self.engine.bound,
            allow_unsafe=request.allow_unsafe,
        )
        self.runner = Runner(
            plan.checkpoint_stages(
                list(self.infos),
                request.asked,
                checkpoint=self.model.digest,
                model=self.model,
                prints={name: fingerprints.task(info, request.data_dir) for name, info in self.infos.items()},
                engine=identity,
                seed=request.seed,
            ),
            store=self.store,
            execute=only(self.stages),
            progress=progress,
        )

    def run(self) -> Scores:
        """Ask what was not asked yet, score, and return the scores."""
        try:
            waiting = [name for name in self.infos if self.runner.state(f"predict/{name}") is not State.CACHED]
            if waiting:
                folders = [self.runner.folder(f"items/{name}") for name in waiting]
                self.stages.ask_together(self.model, folders, f"asking {counted(len(waiting), 'task')}", self.progress)
            scores = tuple(self._score(name) for name in self.infos)
        finally:
            if not self._lent:
                self.engine.stop()
        return Scores(
            model=self.request.model,
            checkpoint=self.model.digest,
            engine={**self.stages.identity, "dtype": self.stages.setting.dtype},
            limit=self.request.asked.limit,
            tasks=scores,
            damaged_chunks=len(self.stages.damaged),
        )

    def _score(self, name: str) -> TaskScore:
        info = self.infos[name]
        facts = self.runner.ensure(f"score/{name}").facts
        asked = self.runner.ensure(f"predict/{name}").facts
        groups: dict[str, list[float]] = {}
        # A metric of the whole corpus has no values of items.
        values = facts["scores"].get(info.primary, ())
        for subtask, value in zip(facts["subtask"], values, strict=False):
            if value is not None:
                groups.setdefault(subtask, []).append(value)
        shown = ("shortened_prompts", "unfinished")
        return TaskScore(
            task=info.of,
            title=info.title,
            profile=info.profile,
            primary=info.primary,
            chance=info.chance,
            items=len(facts["item"]),
            metrics=facts["aggregate"],
            error=_standard_error([value for value in values if value is not None]),
            subtasks={subtask: sum(own) / len(own) for subtask, own in groups.items()},
            unscored=sum(value is None for value in values),
            facts={key: asked[key] for key in shown}
            | {key: facts[key] for key in ("isolation", "verdicts") if key in facts}
            | (_judged(name, info.primary, facts) if "judge" in facts else {}),
        )


def _judged(task: str, primary: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return who judged, and the primary metric corrected for the judge's error, with a 95 % interval over items."""
    judge = Judge.of(facts["judge"])
    if judge is None:
        return {"judge": facts["judge"]["pack"]}
    share = compare.interval(np.array([facts["scores"][primary]], dtype=float))
    return {"judge": judge.pack, "corrected": asdict(corrected_as(primary, share, judge, seed=0, place=task))}
