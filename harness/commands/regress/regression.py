"""The use case behind `harness regress`: may a new version of a filter replace the one in use?

Owns which two arms are compared, that nothing is trained where both versions leave the same chats, and what is reported
of each task. Prints nothing. Invariant: it runs stages of `harness ablate`, so that every record is shared with it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import compare
from harness.commands import ablate
from harness.commands.ablate import Ablation
from harness.commands.regress.language import Gate, parse
from harness.commands.regress.outcome import Outcome, Scores, Tested, judge
from harness.compare import Incomparable
from harness.errors import InputError
from harness.progress import Progress
from harness.report.averages import TaskHead, arm_of, counts
from harness.report.result import Result
from harness.store import Record
from harness.study import Study, load_study
from harness.study.choice import definition, score_name
from harness.study.relabelled import name_of, under

REGRESSED, OPEN = 10, 11
"""Exit codes: a task regressed; under --strict, nothing of the sort was shown but not everything passed either."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for.

    Attributes:
        ablation: study, seeds, tasks and places; without a pair, which follows from the rest.
        new, old: filter packs; `old` empty = the study's.
        variant: whose labels change; empty = the study's first that acts on labels.
        gate: what may be lost, in the gate language.
        strict: whether what is not shown to hold fails.
        alpha: see `outcome.judge`.
    """

    ablation: ablate.Request
    new: str
    old: str = ""
    variant: str = ""
    gate: str
    strict: bool = False
    alpha: float = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One task of the report.

    Attributes:
        title: for people.
        tested: what the gate says.
        command: shows the items that changed.
    """

    title: str
    tested: Tested
    command: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One version of the filter: its name as an arm, the chats that its variant leaves, and what became of others."""

    name: str
    pack: str
    chats: int
    dropped: Mapping[str, int]
    treated: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """All that `harness regress` reports."""

    study: str
    variant: str
    reference: Arm
    treated: Arm
    seeds: tuple[int, ...]
    limit: int
    gate: str
    alpha: float
    strict: bool
    lines: tuple[Line, ...]

    def named(self, outcome: Outcome) -> list[Line]:
        """Return the tasks of which the gate says this."""
        return [line for line in self.lines if line.tested.outcome is outcome]

    @property
    def open(self) -> list[Line]:
        """Gated tasks of which neither verdict was shown."""
        return [line for line in self.lines if line.tested.outcome.open]

    @property
    def same(self) -> bool:
        """Whether both versions leave the same chats, so that nothing was trained."""
        return bool(self.named(Outcome.SAME))

    @property
    def exit_code(self) -> int:
        """0 = may replace it, 10 = a task regressed, 11 = strict, and not every gated task was shown to hold."""
        if self.named(Outcome.REGRESSED):
            return REGRESSED
        return OPEN if self.strict and self.open else 0


class Regression:
    """A gate that has been read, and the two arms that it is about."""

    def __init__(self, request: Request, progress: Progress, *, dry: bool = False) -> None:
        """Read, check and plan; nothing is run.

        Raises:
            InputError: whatever is wrong with the gate, the packs, the study, the data or the installation.
        """
        study, _ = load_study(request.ablation.study)
        self.request = request
        self.packs = _packs(study, request)
        self.variant = request.variant or _first_that_reads_labels(study)
        tasks, profiles = request.ablation.tasks or study.tasks, request.ablation.profiles or study.profiles
        # A task may be gated under all profiles by its own name, or under one by that of its definition.
        self._asked = {definition(task, profile): (task, profile) for profile in profiles for task in tasks}
        self.gate: Gate = parse(request.gate, list(dict.fromkeys([*tasks, *self._asked])))
        self._pair = tuple(under(self.variant, pack) for pack in self.packs)
        self.ablation = Ablation(replace(request.ablation, pair=self._pair, alone=True), progress, dry=dry)
        self._refuse_judged()

    def _refuse_judged(self) -> None:
        """Refuse checks on tasks whose scores are a filter's judgement: its own error is in no test of the gate."""
        infos = self.ablation.infos
        judged = [task for task in self._asked if infos[task].aspect == "safety" and self._check(task) is not None]
        if judged:
            others = dict.fromkeys(task for name, (task, _) in self._asked.items() if infos[name].aspect != "safety")
            instead = f"Leave them out with --tasks {','.join(others)}" if others else "Ask other tasks"
            raise InputError(
                f"--gate covers {', '.join(judged)}, and a filter judges the answers there: how often it errs is in no"
                f" test of a gate. {instead}; `harness ablate` shows them with the judge's error."
            )

    def unchanged(self) -> bool | None:
        """Whether both versions leave the same chats, as far as records tell; None = not known yet."""
        known = [self.ablation.runner.peek(f"variant/{arm}") for arm in self.ablation.choice.arms]
        outputs = [one.output for one in known if one is not None]
        return None if len(outputs) < len(known) else len(set(outputs)) == 1

    def run(self) -> tuple[Verdict, Result | None]:
        """Train and evaluate what the new version changes, and test it; the result is None where nothing changed."""
        choice, runner = self.ablation.choice, self.ablation.runner
        for arm in choice.arms:
            runner.ensure(f"variant/{arm}")
        heads = self.ablation.heads()
        if self.unchanged():
            same = [
                Tested(task=task, check=self._check(task), gap=None, outcome=Outcome.SAME)
                for task in choice.definitions
            ]
            return self._verdict(same, heads), None
        result = self.ablation.run()
        records = runner.settle()
        scores = {task: scores_of(task, heads[task], choice.arms, choice.seeds, records) for task in choice.definitions}
        checks = {task: self._check(task) for task in choice.definitions}
        return self._verdict(judge(scores, checks, alpha=self.request.alpha), heads), result

    def _check(self, task: str) -> Any:
        return self.gate.of(task, self._asked[task][0])

    def _verdict(self, tested: Sequence[Tested], heads: Mapping[str, TaskHead]) -> Verdict:
        choice = self.ablation.choice
        old, new = (self._arm(arm, pack) for arm, pack in zip(choice.arms, self.packs, strict=True))
        return Verdict(
            study=self.ablation.study.name,
            variant=self.variant,
            reference=old,
            treated=new,
            seeds=choice.seeds,
            limit=choice.limit,
            gate=self.gate.text,
            alpha=self.request.alpha,
            strict=self.request.strict,
            lines=tuple(
                Line(title=self._title(one.task, heads[one.task]), tested=one, command=self._command(one.task))
                for one in tested
            ),
        )

    def _arm(self, arm: str, pack: str) -> Arm:
        facts = self.ablation.runner.ensure(f"variant/{arm}").facts
        return Arm(
            name=arm,
            pack=name_of(pack),
            chats=int(facts["chats"]),
            dropped=facts["dropped"],
            treated=facts["treated"],
        )

    def _title(self, task: str, head: TaskHead) -> str:
        profile = self._asked[task][1]
        return head.title if {one for _, one in self._asked.values()} == {"lm-eval"} else f"{head.title}, {profile}"

    def _command(self, name: str) -> str:
        """Return the command that shows the items of a task that changed."""
        task, profile = self._asked[name]
        asked = self.request.ablation
        parts = ["harness", "predictions", "diff", "--study", asked.study, "--task", task]
        parts += ["--variant", ",".join(self._pair)]
        if {one for _, one in self._asked.values()} != {"lm-eval"} or asked.profiles:
            parts += ["--profile", profile]
        given = (("--limit", asked.limit), ("--data", asked.data_dir), ("--results", asked.results))
        for option, value in given:
            if value is not None and str(value) != "results":
                parts += [option, str(value)]
        return shlex.join(parts)


def scores_of(
    task: str, head: TaskHead, arms: Sequence[str], seeds: Sequence[int], records: Mapping[str, Record]
) -> Scores | Incomparable:
    """Return the scores of a pair on one task, paired by item, or why they do not pair.

    Args:
        arms: reference and treated.
        records: by stage.
    """
    facts = {arm: [records[score_name(arm, seed, task)].facts for seed in seeds] for arm in arms}
    reference, treated = (arm_of(arm, head, own) for arm, own in facts.items())
    paired = compare.pair(reference, treated)
    if isinstance(paired, Incomparable):
        return paired
    first = facts[arms[0]][0]
    clusters, subtasks = (dict(zip(first["item"], first[name], strict=True)) for name in ("cluster", "subtask"))
    return Scores(
        items=paired.items,
        reference=paired.reference,
        treated=paired.treated,
        clusters=[clusters[item] for item in paired.items],
        weights=counts([subtasks[item] for item in paired.items], head.average),
    )


def _packs(study: Study, request: Request) -> tuple[str, str]:
    """Return the older and the newer pack."""
    old = request.old or study.filter
    if name_of(old) == name_of(request.new):
        default = "" if request.old else f" (the filter of study '{study.name}', since --against was not given)"
        raise InputError(
            f"--filter and --against are both called '{name_of(old)}'{default}: name two versions, such as --filter"
            " alignment@1.1.0 --against alignment@1.0.0."
        )
    return old, request.new


def _first_that_reads_labels(study: Study) -> str:
    found = [name for name, variant in study.variants.items() if variant.treatment.reads_labels]
    if not found:
        raise InputError(
            f"No variant of study '{study.name}' acts on labels, so no version of a filter changes anything in it."
        )
    return found[0]
