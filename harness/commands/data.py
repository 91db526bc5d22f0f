"""The use case behind `harness data`: a study's chats, from the sources to the variants, without any training.

Owns which stages that takes, and the lineage of one chat through them. Prints nothing. Invariant: it makes and reads
the same records as `harness ablate`, so what it shows is what is trained on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import fingerprints, layout, plan
from harness.data import normal
from harness.errors import InputError
from harness.evaluate import answering, catalog
from harness.evaluate.engines import EngineName, Setting
from harness.evaluate.predictions import Predictions
from harness.nouns import Chat, Decision, TurnLabel
from harness.plan import Kind
from harness.progress import Progress
from harness.runner import Runner
from harness.stages import Context
from harness.stages.evaluation import EvaluationStages
from harness.store import Record, Store
from harness.study import Recipe, load_pretraining, load_recipe, load_study
from harness.study.choice import Choice

#: Characters of an id that name a chat: of 100,000 chats, 0.6 % share as many with another one.
_SHORTEST = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where one chat came from and what became of it.

    Attributes:
        read: the chat as it was read, with its source and the other columns of its row.
        cleaned: the chat after cleaning, or None where it left.
        decisions: of cleaning and mixing, in order.
        labels: of the cleaned chat's assistant turns, by the study's filter pack.
        further: the same by each further pack that variants are made with.
        packs: per variant the pack whose labels it is made with.
        variants: per variant the decision, and the chat as it is trained on (None where it is not).
    """

    read: Chat
    cleaned: Chat | None
    decisions: tuple[Decision, ...]
    labels: tuple[TurnLabel, ...]
    further: Mapping[str, tuple[TurnLabel, ...]]
    packs: Mapping[str, str]
    variants: Mapping[str, tuple[Decision, Chat | None]]


class Curation:
    """The data half of a study, read and planned."""

    def __init__(self, study: str, progress: Progress, *, data_dir: Path | None, results: Path) -> None:
        """Read and plan; nothing is run.

        Raises:
            InputError: whatever is wrong with the study, the data or the results folder.
        """
        self.study, self.study_file = load_study(study)
        layout.require_folders(results=results, data_dir=data_dir)
        self.store = Store(results)
        self.arms = tuple(self.study.variants)
        dropping = bool(self.study.clean.overlap_words) and self.study.clean.overlap == "drop"
        folder = self.study.tasks_path
        path = None if folder is None else self.study_file.parent / folder
        # Of tasks, the items alone are looked at, and only where chats that overlap with them are dropped.
        infos = catalog.require(self.study.tasks, tasks_path=path) if dropping else {}
        prints = fingerprints.of(
            self.study, self.study_file, tasks=infos, arms=self.arms, data_dir=data_dir, trains=False
        )
        pretraining = load_pretraining(self.study, self.study_file)
        recipe = load_recipe(self.study.recipe, beside=self.study_file)
        stages = self._planned(prints, pretraining, dropping=dropping)
        context = Context(
            study=self.study,
            study_file=self.study_file,
            recipe=recipe,
            pretraining=pretraining,
            machine=recipe.machine,
            data_dir=data_dir,
            evaluation=_asking_nothing(infos, data_dir, results),
        )
        self.runner = Runner(stages, store=self.store, execute=context.executions(), progress=progress)
        self.packs = {arm: self.study.pack(arm) for arm in self.arms}
        #: Stages that label by other packs than the study's own, by pack.
        self.further = {
            str(stage.arguments["pack"]): stage.name
            for stage in stages
            if stage.kind is Kind.LABEL and stage.arguments["pack"] != self.study.filter
        }
        self._stages = [stage.name for stage in stages if stage.kind not in (Kind.EXPOSURE, Kind.BASE)]

    def _planned(self, prints: plan.Fingerprints, pretraining: Recipe | None, *, dropping: bool) -> list[plan.Stage]:
        """Return the stages up to the variants, with the base, whose tokenizer counts tokens where it is there."""
        choice = Choice(
            reference=self.arms[0],
            treated=self.arms[-1],
            arms=self.arms,
            seeds=self.study.seeds,
            tasks=self.study.tasks if dropping else (),
            profiles=("lm-eval",),
            limit=self.study.evaluation.limit,
        )
        return plan.ordered(
            [
                *plan.data_stages(self.study, self.arms, prints, "overlap" if dropping else None),
                *(plan.overlap_stages(self.study, choice, prints) if dropping else []),
                plan.base_stage(self.study, pretraining, prints),
            ]
        )

    def records(self) -> dict[str, Record]:
        """Make every record of the data half exist and return them by stage."""
        return {name: self.runner.ensure(name) for name in self._stages}

    def tokenizer(self) -> Path | None:
        """Return the base model's tokenizer.json if the base was made already; nothing is fetched for it."""
        record = self.runner.peek("base")
        folder = self.store.objects.get(record.output) if record else None
        path = folder / "tokenizer.json" if folder else None
        return path if path is not None and path.is_file() else None

    def chats(self, stage: str) -> Iterator[Chat]:
        """Yield the chats that a stage left."""
        return normal.read_chats(self._object(stage))

    def decisions(self, stage: str) -> list[Decision]:
        """Return the decisions of the cleaning ("clean") or of a variant ("variant/<name>")."""
        return normal.read_decisions(self.runner.audit(stage))

    def labels(self, stage: str = "label") -> Iterator[TurnLabel]:
        """Yield the labels of the cleaned chats' assistant turns, by the study's pack or by that of another stage."""
        return normal.read_labels(self._object(stage))

    def lineage(self, name: str) -> Lineage:
        """Return the lineage of a chat.

        Args:
            name: the beginning of its id (as read, or as it became), at least 6 characters, or its source
                "<source>:<id>". Of rows with equal turns, which share an id, the first is meant.

        Raises:
            InputError: when no chat, or more than one, is called so.
        """
        cleaning = self.decisions("clean")
        treated = {arm: self.decisions(f"variant/{arm}") for arm in self.arms}
        found: dict[str, str] = {}
        for one in cleaning:
            if _is(one, name):
                found.setdefault(one.chat_id, one.source)
        for decision in (one for decisions in treated.values() for one in decisions if _is(one, name)):
            for one in cleaning:
                if decision.chat_id in (one.chat_id, one.became) and decision.source == one.source:
                    found.setdefault(one.chat_id, one.source)
        if not found:
            some = f", such as {cleaning[0].chat_id[:12]} or {cleaning[0].source}" if cleaning else ""
            raise InputError(
                f"Study '{self.study.name}' has no chat '{name}'. Give the beginning of a chat's id (6 characters or"
                f" more), or its source and id{some}; `harness data stats` prints where all of them stand."
            )
        if len(found) > 1:
            some = ", ".join(f"{chat_id[:12]} ({source})" for chat_id, source in list(found.items())[:5])
            raise InputError(f"{len(found)} chats are called '{name}': {some}. Give more of the id.")
        [(read_id, source)] = found.items()
        # Of rows with equal turns each has decisions of its own.
        return self._follow(
            read_id,
            source,
            [one for one in cleaning if one.source == source],
            {arm: [one for one in decisions if one.source == source] for arm, decisions in treated.items()},
        )

    def _follow(
        self, read_id: str, source: str, cleaning: list[Decision], treated: Mapping[str, list[Decision]]
    ) -> Lineage:
        ids = {read_id, *(one.became for one in cleaning if one.chat_id == read_id and one.became)}

        def find(stage: str, wanted: Collection[str]) -> Chat | None:
            return next((chat for chat in self.chats(stage) if chat.source == source and chat.id in wanted), None)

        variants = {}
        for arm, decisions in treated.items():
            decision = next((one for one in decisions if one.chat_id in ids), None)
            if decision is not None:
                variants[arm] = decision, find(f"variant/{arm}", {decision.became or decision.chat_id})
        read, cleaned = find("chats", {read_id}), find("clean", ids)

        def labels(stage: str) -> tuple[TurnLabel, ...]:
            return tuple(one for one in self.labels(stage) if cleaned is not None and one.chat_id == cleaned.id)

        assert read is not None, f"{read_id} ({source}) was read"
        return Lineage(
            read=read,
            cleaned=cleaned,
            decisions=tuple(one for one in cleaning if one.chat_id in ids),
            labels=labels("label"),
            further={pack: labels(stage) for pack, stage in self.further.items()},
            packs=self.packs,
            variants=variants,
        )

    def _object(self, stage: str) -> Path:
        folder = self.store.objects.get(self.runner.ensure(stage, need_object=True).output)
        assert folder is not None, f"the object of {stage} is there"
        return folder


def _asking_nothing(infos: Mapping[str, catalog.TaskInfo], data_dir: Path | None, results: Path) -> EvaluationStages:
    """Return stages that render the items of tasks and have no engine."""
    return EvaluationStages(
        data_dir=data_dir,
        infos=infos,
        setting=Setting(name=EngineName.VLLM, dtype="", max_length=0),
        identity={},
        predictions=Predictions(results / "predictions"),
        open=answering.refuse,
    )


def _is(decision: Decision, name: str) -> bool:
    if name in (decision.source, decision.chat_id, decision.became):
        return True
    return len(name) >= _SHORTEST and (decision.chat_id.startswith(name) or decision.became.startswith(name))
