"""The use case behind `harness ablate`: prepare a study, say what it would cost, run it, join its arms.

Owns the order of these four, and the checks that come before any work. Prints nothing. Invariant: every
error of input that can be found without training is found before training.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import fingerprints, layout, plan
from harness.errors import InputError, MissingPackageError
from harness.evaluate import answering, catalog
from harness.evaluate.engines import Engine, EngineName, Setting
from harness.evaluate.predictions import Predictions
from harness.plan import Kind
from harness.progress import Progress
from harness.report.averages import TaskHead
from harness.report.graph import gib
from harness.report.join import assemble, run_of
from harness.report.numbers import counted
from harness.report.result import Result
from harness.runner import Runner, State, free_bytes
from harness.stages import Context
from harness.stages.data import require_unasked
from harness.stages.evaluation import EvaluationStages, opened, require_isolation
from harness.store import Record, Runs, Store
from harness.study import Machine, Recipe, Study, load_pretraining, load_recipe, load_study
from harness.study.choice import Choice, alone, choose, completed, definition, runs, score_name
from harness.study.judging import SHUFFLED_ARM
from harness.study.relabelled import with_packs
from harness.train import base as bases
from harness.train import budget


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for."""

    study: str
    pair: tuple[str, ...] = ()
    seeds: int | None = None
    tasks: tuple[str, ...] = ()
    limit: int | None = None
    data_dir: Path | None = None
    results: Path = Path("results")
    ranks: int | None = None
    profiles: tuple[str, ...] = ()
    allow_unsafe: bool = False
    stored_only: bool = False
    alone: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What the training of one arm under one of its seeds costs; `estimated` where the data has not been read."""

    arm: str
    seeds: int
    chats: int
    tokens: int
    steps: int
    estimated: bool
    parameters: int
    footprint: budget.Footprint


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A study with its recipes.

    Attributes:
        file: the study's file; what it names relatively is looked for beside it.
        pretraining: the recipe of the base's pretraining; None for a base that is fetched.
    """

    study: Study
    file: Path
    recipe: Recipe
    pretraining: Recipe | None

    @classmethod
    def read(cls, name: str) -> Loaded:
        """Return a study by shipped name or path, with the recipes that it names.

        Raises:
            InputError: one of the files is not there or has errors.
        """
        study, file = load_study(name)
        recipe = load_recipe(study.recipe, beside=file)
        return cls(study=study, file=file, recipe=recipe, pretraining=load_pretraining(study, file))


class Ablation:
    """A study that has been read and planned."""

    def __init__(
        self, request: Request, progress: Progress, *, dry: bool = False, loaded: Loaded | None = None
    ) -> None:
        """Read, check and plan; nothing is run.

        Args:
            dry: only to be looked at, so missing packages and unreachable sources are named, not fatal.
            loaded: the study, in place of the one that the request names.

        Raises:
            InputError: whatever is wrong with the request, the study, the data or the installation.
        """
        self.request, self.progress = request, progress
        loaded = loaded or Loaded.read(request.study)
        self.study_file = loaded.file
        self.recipe, self.pretraining = loaded.recipe, loaded.pretraining
        self.study, pair = with_packs(loaded.study, request.pair)
        self.choice: Choice = choose(
            self.study,
            pair=pair,
            seeds=request.seeds,
            tasks=request.tasks or None,
            limit=request.limit,
            profiles=request.profiles,
        )
        if request.alone:
            self.choice = alone(self.choice)
        self.study = completed(self.study, self.choice)
        self.machine = self._machine()
        layout.require_folders(results=request.results, data_dir=request.data_dir)
        self.infos = self._definitions(self.choice.tasks, request.profiles or self.study.profiles)
        # What overlaps with a task is dropped whether this command asks the task or not.
        dropping = self.study.clean.overlap == "drop"
        asked = self.infos | (self._definitions(self.study.tasks, ("lm-eval",)) if dropping else {})
        if not dry:
            require_packages(self.study)
        self.store = Store(request.results)
        self.engine = Engine(log=request.results / "logs" / "engine.txt")
        prints = fingerprints.of(
            self.study, self.study_file, tasks=asked, arms=self.choice.variants, data_dir=request.data_dir, dry=dry
        )
        self.evaluation = self._evaluation(asked, prints.engine)
        self.stages = plan.build(
            self.study,
            self.choice,
            recipe=self.recipe,
            pretraining=self.pretraining,
            machine=self.machine,
            prints=prints,
        )
        self.runner = Runner(self.stages, store=self.store, execute=self._context().executions(), progress=progress)

    def _machine(self) -> Machine:
        """Return how wide the recipe runs, as it is asked for.

        Raises:
            InputError: a width by which a batch cannot be divided.
        """
        machine = self.recipe.machine
        if self.request.ranks is not None:
            machine = budget.widen(self.recipe, self.request.ranks)
        budget.accumulation(self.recipe, machine)
        if self.pretraining is not None:
            budget.accumulation(self.pretraining, self.pretraining.machine)
        return machine

    def states(self) -> list[tuple[plan.Stage, State]]:
        """Return every stage with what is known of it."""
        return [(stage, self.runner.state(stage.name)) for stage in self.stages]

    def make(self, name: str) -> Record:
        """Make the record and the object of one stage exist, after all that comes before it."""
        try:
            return self.runner.ensure(name, need_object=True)
        finally:
            self.engine.stop()

    def run(self) -> Result:
        """Make every record of the study exist and join the arms."""
        if self.request.stored_only:
            self._check_stored()
        try:
            for stage in self.stages:
                if stage.kind not in (Kind.TRAIN, Kind.PREDICT, Kind.SCORE):
                    self.runner.ensure(stage.name)
            self._check_prompts()
            self._check_sandbox()
            self._check_base()
            trainings = [stage.name for stage in self.stages if stage.kind is Kind.TRAIN]
            self._check_disk([name for name in trainings if self.runner.state(name) is not State.CACHED])
            self.runner.ensure_all(trainings, parallel=self.machine.parallel)
            self._ask()
            records = self.runner.settle()
        finally:
            self.engine.stop()
        heads = self.heads()
        result = assemble(study=self.study, choice=self.choice, infos=heads, records=records)
        places = {stage.name: (stage.kind.value, records[stage.name].key) for stage in self.stages}
        Runs(self.store.root).put(run_of(study=self.study, choice=self.choice, heads=heads, records=places))
        return result

    def _context(self) -> Context:
        """Return what the execution of stages needs."""
        return Context(
            study=self.study,
            study_file=self.study_file,
            recipe=self.recipe,
            pretraining=self.pretraining,
            machine=self.machine,
            data_dir=self.request.data_dir,
            evaluation=self.evaluation,
        )

    def heads(self) -> dict[str, TaskHead]:
        """Return what a report says of every definition, by name."""
        return {name: TaskHead.of(info) for name, info in self.infos.items()}

    def _evaluation(self, infos: Mapping[str, catalog.TaskInfo], identity: Mapping[str, str]) -> EvaluationStages:
        """Return the stages that ask and score, over the study's engine."""
        asked = self.study.evaluation
        return EvaluationStages(
            data_dir=self.request.data_dir,
            infos=infos,
            setting=Setting(name=EngineName(asked.engine), dtype=asked.dtype, max_length=asked.max_length),
            identity=identity,
            predictions=Predictions(self.request.results / "predictions"),
            open=answering.refuse if self.request.stored_only else self.engine.bound,
            allow_unsafe=self.request.allow_unsafe,
        )

    def _definitions(self, tasks: Sequence[str], profiles: Sequence[str]) -> dict[str, catalog.TaskInfo]:
        """Return the definitions of tasks under profiles by name."""
        folder = self.study.tasks_path
        path = None if folder is None else self.study_file.parent / folder
        found = {}
        for profile in profiles:
            for task in tasks:
                info = catalog.passing(catalog.definition(task, profile, path), self.study.evaluation.pass_at)
                name = definition(task, profile)
                if info.name != name:
                    raise InputError(
                        f"{info.path} defines '{task}' under the profile '{profile}' and is named '{info.name}'. In a"
                        f" study it has to be named '{name}'."
                    )
                if not info.higher_is_better:
                    raise InputError(
                        f"Task '{task}' is scored by '{info.primary}', of which less is better: a study compares shares"
                        " between 0 and 1 of which more is better. Leave the task out; `harness eval` asks it of a"
                        " checkpoint."
                    )
                found[name] = info
        return found

    def _check_stored(self) -> None:
        """Raise where stored answers alone cannot do, since there is no checkpoint that they would be found by."""
        models = {model: self.runner.peek(model) for _, _, model in runs(self.choice)}
        missing = [name for name, record in models.items() if record is None]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(models)} checkpoints of study '{self.study.name}' were not made in"
                f" {self.store.root}, such as '{missing[0]}', so there are no answers of theirs to score. Run `harness"
                " ablate` with the same study, variants and seeds first."
            )
        for arm, seed, model in runs(self.choice):
            known = all(self._has_answers(arm, seed, task) for task in self.choice.definitions)
            record = models[model]
            if not known and record is not None and self.store.objects.get(record.output) is None:
                raise InputError(
                    f"The checkpoint of stage '{model}' is recorded but not kept in {self.store.root / 'objects'}, and"
                    " answers are found by its weights. `harness ablate` makes it again."
                )

    def _has_answers(self, arm: str, seed: int | None, task: str) -> bool:
        """Whether a checkpoint's scores are there, or its answers in a form that can be scored without it."""
        if self.runner.state(score_name(arm, seed, task)) is State.CACHED:
            return True
        record = self.runner.peek(score_name(arm, seed, task, kind="predict"))
        return record is not None and self.store.objects.get(record.output) is not None

    def _ask(self) -> None:
        """Ask every checkpoint all tasks that it was not asked yet in one go; the stages then find their answers."""
        for arm, seed, model in runs(self.choice):
            names = [score_name(arm, seed, task, kind="predict") for task in self.choice.definitions]
            waiting = [name for name in names if self.runner.state(name) is not State.CACHED]
            if not waiting:
                continue
            folders = [self.runner.folder(f"items/{name.rpartition('/')[2]}") for name in waiting]
            title = f"asking {arm}{'' if seed is None else f', seed {seed}'}: {counted(len(waiting), 'task')}"
            self.evaluation.ask_together(opened(self.runner.folder(model)), folders, title, self.progress)

    def forecast(self) -> list[Forecast]:
        """Return what every arm's training costs, from records where they exist, else from the study's estimate."""
        known = self.runner.peek("base")
        model = self.study.base
        if known is not None:
            model = model.model_copy(update={"parameters": int(known.facts["parameters"])})
        size = budget.footprint(base=model, recipe=self.recipe, machine=self.machine)
        assumed = self.study.estimate
        found = []
        for arm in self.choice.trained:
            data, seeds = self.choice.data_of(arm), self.choice.seeds_of(arm)
            variant = self.runner.peek(f"variant/{data}")
            training = self.runner.peek(f"train/{arm}/{seeds[0]}")
            # Shuffling moves answers and takes no chat away.
            expected = self.choice.reference if arm == SHUFFLED_ARM else data
            chats = int(variant.facts["chats"]) if variant else assumed.chats.get(expected, 0)
            tokens = int(training.facts["tokens"]) if training else None
            found.append(
                Forecast(
                    arm=arm,
                    seeds=len(seeds),
                    chats=chats,
                    tokens=chats * assumed.tokens_per_chat * self.recipe.epochs if tokens is None else tokens,
                    steps=budget.total_steps(
                        rows=chats, epochs=self.recipe.epochs, global_batch=self.recipe.global_batch
                    ),
                    estimated=variant is None or tokens is None,
                    parameters=model.parameters,
                    footprint=size,
                )
            )
        return found

    def _check_base(self) -> None:
        """Raise before any training when the base has no chat template or no room for a task's answers."""
        model = self.store.objects.get(self.runner.ensure("base").output)
        if model is None:
            return
        if not bases.has_chat_template(model):
            raise InputError(
                f"The tokenizer of the base model '{self.study.base.name}' has no chat template, so chats cannot be"
                " rendered for training. Use a base whose tokenizer_config.json has one, or a folder with"
                " chat_template.jinja."
            )
        room = min(self.study.evaluation.max_length, bases.max_positions(model))
        for task in self.choice.definitions:
            longest = int(self.runner.ensure(f"items/{task}").facts["longest_answer"])
            if longest >= room:
                raise InputError(
                    f"Task '{task}' generates up to {longest} tokens, and prompt and answer together may have {room}"
                    " (evaluation.max_length, or the model's positions). Raise max_length or set max_new_tokens."
                )

    def _check_prompts(self) -> None:
        """Raise before any training when chats ask the prompts of a safety task; where overlap is looked for."""
        safety = [task for task in self.choice.definitions if self.infos[task].aspect is catalog.Aspect.SAFETY]
        if safety and self.study.clean.overlap_words:
            sizes = {task: int(self.runner.ensure(f"items/{task}").facts["items"]) for task in safety}
            exposures = {arm: self.runner.ensure(f"exposure/{arm}").facts for arm in self.choice.variants}
            require_unasked(exposures, sizes)

    def _check_sandbox(self) -> None:
        """Raise before any training when programs would have to be run at its end and cannot be."""
        waiting = {
            stage.arguments["task"]
            for stage in self.stages
            if stage.kind is Kind.SCORE and self.runner.state(stage.name) is not State.CACHED
        }
        require_isolation([self.infos[name] for name in waiting], allow_unsafe=self.request.allow_unsafe)

    def _check_disk(self, names: Sequence[str]) -> None:
        """Raise when the checkpoints of the trainings to come do not fit on the disk."""
        if not names:
            return
        record = self.runner.ensure("base")
        model = self.study.base.model_copy(update={"parameters": int(record.facts["parameters"])})
        needed = budget.disk_needed(
            base=model, recipe=self.recipe, machine=self.machine, runs=len(names), at_once=self.machine.parallel
        )
        free = free_bytes(self.store.root)
        if needed > free:
            raise InputError(
                f"The checkpoints of {len(names)} trainings need {gib(needed)} in {self.store.root.resolve()}, where"
                f" {gib(free)} are free. Free some, give --results on a larger disk, or ask for fewer --seeds."
            )


def require_packages(study: Study) -> None:
    """Raise where a package that trains or evaluates is not installed; imports none.

    Raises:
        MissingPackageError: names the extra that brings it.
    """
    needed = [("deepspeed", "training"), (study.evaluation.engine, "evaluation"), ("lm_eval", "the tasks")]
    for module, purpose in needed:
        if importlib.util.find_spec(module) is None:
            raise MissingPackageError(
                f"The package '{module}' ({purpose}) is not installed. Install the extra: pip install 'harness[cpu]'"
                " (no GPU) or 'harness[gpu]'; from a checkout `make install` does it from the lock."
            )
