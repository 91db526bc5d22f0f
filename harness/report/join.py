"""The join: from the records of a study to one result that every view is drawn from.

Owns how the numbers of a report are found in records. Does no statistics (see `harness.compare`) and no layout.
Invariant: it reads records only, so a report is the same whether its stages ran now or long ago.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from harness import compare
from harness.errors import InputError
from harness.report.result import ArmRow, Control, ControlKind, Curve, Result, ScoreSet, Seen, TaskRow
from harness.store import Record, Run
from harness.study.choice import BASE_ARM, Choice, choose, runs, score_name
from harness.study.model import Study

_Floats = np.ndarray[Any, np.dtype[np.float64]]
_MATCHED = {"chats": "chats", "lengths": "chats of every length", "words": "words"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskHead:
    """What a report says of a definition of a task beside its scores.

    Attributes:
        title: for people.
        profile: the scoring profile.
        primary: the metric that is compared; more of it is better.
        chance: score of guessing, 0 to 1.
        average: over subtasks: "micro" (by their size) or "macro" (all alike).
    """

    title: str
    profile: str
    primary: str
    chance: float
    average: str

    @classmethod
    def of(cls, info: Any) -> TaskHead:
        """Return the head of a `catalog.TaskInfo`."""
        return cls(**{name: getattr(info, name) for name in cls.__slots__})


def run_of(
    *, study: Study, choice: Choice, heads: Mapping[str, TaskHead], records: Mapping[str, tuple[str, str]]
) -> Run:
    """Return what has to be kept beside the records so that `again` gives the same result.

    Args:
        records: stage name -> (kind, key).
    """
    return Run(
        # Keys that were not set stay unset, as some may not stand beside others; but what a report shows has to outlive
        # a change of its default.
        study=study.model_dump(mode="json", exclude_defaults=True)
        | study.model_dump(mode="json", include={"filter", "profiles"}),
        choice=asdict(choice),
        selection=_selection(study, choice),
        tasks={name: asdict(heads[name]) for name in choice.definitions},
        records=dict(records),
    )


def again(run: Run, records: Mapping[str, Record]) -> Result:
    """Return the result of a run from its records.

    Raises:
        InputError: the run's study is not one that this version understands.
    """
    try:
        study = Study.model_validate(run.study)
        lists: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in run.choice.items()
        }
        choice = Choice(**lists)
        heads = {name: TaskHead(**head) for name, head in run.tasks.items()}
    except (ValueError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        raise InputError(
            f"The run '{run.name}' was written by another version of harness and cannot be read ({what}). Run `harness"
            " ablate` again: what is recorded is found, and the run is written anew."
        ) from None
    try:
        result = assemble(study=study, choice=choice, infos=heads, records=records)
    except KeyError as error:
        raise InputError(
            f"The run '{run.name}' was written by another version of harness: {error} is not in its records. Run"
            " `harness ablate` again: what that version lacks is made."
        ) from None
    return replace(result, selection=run.selection)


def assemble(*, study: Study, choice: Choice, infos: Mapping[str, TaskHead], records: Mapping[str, Record]) -> Result:
    """Join the records of a finished study."""
    rows = [_task(task, choice, infos[task], records) for task in choice.definitions]
    judged = compare.judge({row.task: row.gap for row in rows})
    return Result(
        study=study.name,
        title=study.title,
        reference=choice.reference,
        treated=choice.treated,
        seeds=choice.seeds,
        limit=choice.limit,
        selection=_selection(study, choice),
        profiles=choice.profiles,
        filter=study.filter,
        funnel={
            "cut": records["chats"].facts["cut"],
            "read": records["chats"].facts["rows"],
            "selected": records["chats"].facts["selected"],
            "cleaned": records["clean"].facts["cleaned"],
            "mixed": records["clean"].facts["chats"],
            "dropped_by_cleaning": records["clean"].facts["dropped"],
            "repaired": records["clean"].facts["repaired"],
            "repeat_a_passage": records["clean"].facts["flagged"],
            "labels": records["label"].facts["turns"],
        },
        training=_training(choice, records),
        arms=tuple(_arm(arm, study, choice, records) for arm in choice.arms),
        tasks=tuple(replace(row, judgement=judged.tasks[row.task]) for row in rows),
        verdict=judged.study,
        primary=judged.primary,
        curves=tuple(
            Curve(arm=arm, seed=seed, losses=tuple(records[model].facts["losses"]))
            for arm, seed, model in runs(choice)
            if seed is not None
        ),
        scores=tuple(
            _score_set(arm, seed, task, records[score_name(arm, seed, task)].facts)
            for arm, seed, _ in runs(choice)
            for task in choice.definitions
        ),
    )


def _selection(study: Study, choice: Choice) -> str:
    """Name what was asked for beyond the study file, so that a quick look never overwrites the whole report."""
    usual = choose(study, pair=(), seeds=None, tasks=None, limit=None)
    parts = []
    if (choice.reference, choice.treated) != (usual.reference, usual.treated):
        parts.append(f"{choice.treated}-against-{choice.reference}")
    if choice.seeds != usual.seeds:
        parts.append(f"seeds-{len(choice.seeds)}")
    if choice.limit != usual.limit:
        parts.append(f"limit-{choice.limit}")
    if choice.tasks != usual.tasks:
        parts.append("-".join(choice.tasks))
    if choice.profiles != usual.profiles:
        parts.append("-".join(choice.profiles))
    return "_".join(parts)


def _score_set(arm: str, seed: int | None, task: str, facts: Mapping[str, Any]) -> ScoreSet:
    return ScoreSet(
        arm=arm,
        seed=seed,
        task=task,
        items=tuple(facts["item"]),
        clusters=tuple(facts["cluster"]),
        prompts=tuple(facts["prompt"]),
        metrics={name: tuple(values) for name, values in facts["scores"].items()},
    )


def _training(choice: Choice, records: Mapping[str, Record]) -> dict[str, Any]:
    trained = [records[model].facts for arm, _, model in runs(choice) if arm != BASE_ARM]
    return {
        "attention": sorted({facts["attention"] for facts in trained}),
        "accelerator": sorted({facts["accelerator"] for facts in trained}),
        "parameters": sorted({facts["parameters"] for facts in trained}),
        "cut_chats": sum(facts["cut_chats"] for facts in trained),
    }


def _arm(arm: str, study: Study, choice: Choice, records: Mapping[str, Record]) -> ArmRow:
    if arm == BASE_ARM:
        weights = {"": str(records["base"].facts["weights"])}
        return ArmRow(
            name=arm,
            treatment="not fine-tuned",
            chats=0,
            supervised_tokens=0,
            steps=0,
            seeds=(),
            dropped={},
            weights=weights,
        )
    variant = study.variants[arm]
    words = variant.treatment.value.replace("_", " ")
    if variant.size_of:
        words = f"random removal, as many {_MATCHED[variant.match]} as '{variant.size_of}'"
    if variant.dose:
        words += f", {variant.dose:.0%} left as they are"
    if variant.parent:
        words += f", on '{variant.parent}'"
    facts = [records[f"train/{arm}/{seed}"].facts for seed in choice.seeds]
    return ArmRow(
        name=arm,
        treatment=words,
        chats=int(records[f"variant/{arm}"].facts["chats"]),
        supervised_tokens=int(facts[0]["supervised_tokens"]),
        steps=int(facts[0]["steps"]),
        seeds=choice.seeds,
        dropped=records[f"variant/{arm}"].facts["dropped"],
        treated=records[f"variant/{arm}"].facts["treated"],
        weights={str(seed): str(own["weights"]) for seed, own in zip(choice.seeds, facts, strict=True)},
        cut_chats=int(facts[0]["cut_chats"]),
        silent_chats=int(facts[0]["silent_chats"]),
        diverged=tuple(seed for seed, own in zip(choice.seeds, facts, strict=True) if None in own["losses"]),
    )


def _task(task: str, choice: Choice, info: TaskHead, records: Mapping[str, Record]) -> TaskRow:
    arms, clusters, subtasks, unextracted = {}, {}, {}, {}
    for arm in choice.arms:
        own: list[int | None] = [None] if arm == BASE_ARM else list(choice.seeds)
        facts = [records[score_name(arm, seed, task)].facts for seed in own]
        arms[arm] = compare.Arm(
            name=arm,
            items=facts[0]["item"],
            prompts=facts[0]["prompt"],
            scores=_primary(info, facts),
        )
        if "unextracted" in facts[0]["scores"]:
            # Of a subtask without a pattern to extract by, nothing is counted.
            unextracted[arm] = float(np.nanmean(np.array([one["scores"]["unextracted"] for one in facts], dtype=float)))
        clusters = dict(zip(facts[0]["item"], facts[0]["cluster"], strict=True))
        subtasks = dict(zip(facts[0]["item"], facts[0]["subtask"], strict=True))
    averaged = _Average(info.average, clusters, subtasks)
    isolation = {
        level for arm, seed, _ in runs(choice) if (level := records[score_name(arm, seed, task)].facts.get("isolation"))
    }
    asked = [records[score_name(arm, seed, task, kind="predict")].facts for arm, seed, _ in runs(choice)]
    return TaskRow(
        task=task,
        title=info.title if choice.profiles == ("lm-eval",) else f"{info.title}, {info.profile}",
        profile=info.profile,
        metric=info.primary,
        chance=info.chance,
        items=len(clusters),
        scores={name: averaged.interval(arm) for name, arm in arms.items()},
        gap=averaged.gap(arms[choice.reference], arms[choice.treated]),
        controls=tuple(
            Control(
                kind=ControlKind.RANDOM,
                reference=name,
                treated=choice.treated,
                gap=averaged.gap(arms[name], arms[choice.treated]),
            )
            for name in choice.arms
            if name not in (BASE_ARM, choice.reference, choice.treated)
        ),
        seen=_seen(task, choice, arms, averaged, records),
        shortened_prompts=sum(facts["shortened_prompts"] for facts in asked),
        unfinished=sum(facts["unfinished"] for facts in asked),
        unextracted=unextracted,
        isolation=tuple(sorted(isolation)),
    )


def _primary(info: TaskHead, facts: Sequence[Mapping[str, Any]]) -> _Floats:
    """Return the primary metric [seeds, items], NaN where an item has none.

    Raises:
        InputError: no item has it, such as a metric of a whole corpus, or it is no share.
    """
    scores = np.array(
        [one["scores"].get(info.primary) or [None] * len(one["item"]) for one in facts],
        dtype=float,
    )
    if np.isnan(scores).all():
        raise InputError(
            f"Task '{info.title}' has no '{info.primary}' of single items, so arms cannot be compared item by item."
            " Leave it out with --tasks; `harness eval` gives a checkpoint's value for the whole task."
        )
    outside = scores[(scores < 0) | (scores > 1)]
    if outside.size:
        raise InputError(
            f"Task '{info.title}' gives an item a '{info.primary}' of {outside[0]:g}, and what is compared is shares"
            " between 0 and 1. Leave it out with --tasks; `harness eval` gives a checkpoint's value for the whole task."
        )
    return scores


@dataclass(frozen=True, slots=True)
class _Average:
    """How scores of items become one number: "micro" counts items alike, "macro" subtasks (InstructEval's BBH)."""

    average: str
    clusters: Mapping[str, str]
    subtasks: Mapping[str, str]

    def interval(self, arm: compare.Arm) -> compare.Estimate:
        """Return the average of an arm over the items that have a score under every seed."""
        has = arm.only({item for item, own in zip(arm.items, arm.scores.T, strict=True) if not np.isnan(own).any()})
        return compare.interval(has.scores, self._clusters(has.items), weights=self._weights(has.items))

    def gap(self, reference: compare.Arm, treated: compare.Arm) -> compare.Gap | compare.Incomparable:
        """Return the difference of two arms' averages."""
        paired = compare.pair(reference, treated)
        if isinstance(paired, compare.Incomparable):
            return paired
        weights = self._weights(paired.items)
        return compare.gap(paired.reference, paired.treated, self._clusters(paired.items), weights=weights, seed=0)

    def _clusters(self, items: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.array([self.clusters[item] for item in items])

    def _weights(self, items: Sequence[str]) -> _Floats:
        """Return what every item counts [items], so that the mean is the average of these items."""
        if self.average == "micro":
            return np.ones(len(items))
        own = [self.subtasks[item] for item in items]
        names, place, counts = np.unique(own, return_inverse=True, return_counts=True)
        weights: _Floats = len(own) / (len(names) * counts[place])
        return weights


def _seen(
    task: str,
    choice: Choice,
    arms: Mapping[str, compare.Arm],
    averaged: _Average,
    records: Mapping[str, Record],
) -> Seen | None:
    if "overlap" not in records:
        return None

    def of(arm: str) -> set[str]:
        return set() if arm == BASE_ARM else set(records[f"exposure/{arm}"].facts["items"].get(task, ()))

    reference, treated = of(choice.reference), of(choice.treated)
    unseen = set(averaged.clusters) - reference - treated
    without = None
    if (reference or treated) and unseen:
        without = averaged.gap(arms[choice.reference].only(unseen), arms[choice.treated].only(unseen))
    return Seen(
        words=int(records["overlap"].facts["words"]),
        reference_only=tuple(sorted(reference - treated)),
        treated_only=tuple(sorted(treated - reference)),
        shared=tuple(sorted(reference & treated)),
        gap_without=without,
    )
