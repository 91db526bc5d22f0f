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
from harness.canonical import digest
from harness.errors import InputError
from harness.report.averages import Average, TaskHead, arm_of
from harness.report.result import ArmRow, Control, ControlKind, Curve, Result, ScoreSet, Seen, TaskRow
from harness.report.tradeoff import trade_off
from harness.store import Record, Run
from harness.study.choice import Choice, completed, definition, runs, score_name, usual_pair
from harness.study.curation import Treatment
from harness.study.judging import AGAIN_ARM, BASE_ARM, RESERVED, SHUFFLED_ARM, Rule
from harness.study.model import Study
from harness.study.relabelled import name_of

_MATCHED = {"chats": "chats", "lengths": "chats of every length", "words": "words"}


def run_of(
    *, study: Study, choice: Choice, heads: Mapping[str, TaskHead], records: Mapping[str, tuple[str, str]]
) -> Run:
    """Return what has to be kept beside the records so that `again` gives the same result.

    Args:
        records: stage name -> (kind, key).
    """
    own = {name: variant for name, variant in study.variants.items() if name not in RESERVED}
    return Run(
        # Keys that were not set stay unset, as some may not stand beside others; but what a report shows has to outlive
        # a change of its default.
        study=study.model_copy(update={"variants": own}).model_dump(mode="json", exclude_defaults=True)
        | study.model_dump(mode="json", include={"filter", "profiles", "verdict"}),
        choice=asdict(choice),
        selection=_selection(study, choice),
        tasks={name: asdict(heads[name]) for name in choice.definitions},
        records=dict(records),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a run asked: its study with the variants that its controls add, what of it was run, heads by definition."""

    study: Study
    choice: Choice
    heads: Mapping[str, TaskHead]


def asked(run: Run) -> Asked:
    """Return what a run asked.

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
    return Asked(study=completed(study, choice), choice=choice, heads=heads)


def again(run: Run, records: Mapping[str, Record]) -> Result:
    """Return the result of a run from its records.

    Raises:
        InputError: the run is not one that this version understands.
    """
    own = asked(run)
    try:
        result = assemble(study=own.study, choice=own.choice, infos=own.heads, records=records)
    except KeyError as error:
        raise InputError(
            f"The run '{run.name}' was written by another version of harness: {error} is not in its records. Run"
            " `harness ablate` again: what that version lacks is made."
        ) from None
    return replace(result, selection=run.selection)


def assemble(*, study: Study, choice: Choice, infos: Mapping[str, TaskHead], records: Mapping[str, Record]) -> Result:
    """Join the records of a finished study."""
    study = completed(study, choice)
    rows = [_task(task, study, choice, infos[task], records) for task in choice.definitions]
    safety = [row for row in rows if infos[row.task].aspect == "safety"]
    judged, overall = _judged([row for row in rows if row not in safety], choice, study.verdict)
    scores = tuple(
        _score_set(arm, seed, task, records[score_name(arm, seed, task)].facts)
        for arm, seed, _ in runs(choice)
        for task in choice.definitions
    )
    beside = None
    if safety:
        # All checkpoints have one judge; the first is the base's, or the reference's where the pair stands alone.
        arm, seed, _ = runs(choice)[0]
        beside = trade_off(
            capability=judged,
            safety=safety,
            scores=scores,
            heads=infos,
            judges={row.task: records[score_name(arm, seed, row.task)].facts.get("judge") for row in safety},
            doses={arm: dose(arm, study) for arm in choice.arms},
            pair=(choice.reference, choice.treated),
            confidence=study.verdict.confidence,
        )
    return Result(
        study=study.name,
        title=study.title,
        reference=choice.reference,
        treated=choice.treated,
        seeds=choice.seeds,
        limit=choice.limit,
        selection=_selection(study, choice),
        profiles=choice.profiles,
        filter=name_of(study.filter),
        funnel=_funnel(records),
        training=_training(choice, records),
        arms=tuple(_arm(arm, study, choice, records) for arm in choice.arms),
        tasks=judged,
        rule=study.verdict,
        verdict=overall.study,
        primary=overall.primary,
        curves=tuple(
            Curve(arm=arm, seed=seed, losses=tuple(records[model].facts["losses"]))
            for arm, seed, model in runs(choice)
            if seed is not None
        ),
        scores=scores,
        tradeoff=beside,
    )


def dose(arm: str, study: Study) -> float | None:
    """Return the share of the treated chats that an arm keeps as they are; None where that is no question of dose."""
    if arm not in study.variants:
        return None
    *ancestors, variant = study.lineage(arm)
    if variant.size_of or variant.treatment is Treatment.SHUFFLE_ANSWERS:
        return None
    if any(one.treatment is not Treatment.KEEP for one in ancestors):
        return None
    return 1.0 if variant.treatment is Treatment.KEEP else variant.dose


def _judged(rows: Sequence[TaskRow], choice: Choice, rule: Rule) -> tuple[tuple[TaskRow, ...], compare.Judgements]:
    """Return the rows with the verdicts on their gaps and controls, and the judgements of the first profile.

    Every profile is a family of its own: to show a second one beside it changes no verdict of the first.
    """
    found: dict[str, TaskRow] = {}
    families: list[compare.Judgements] = []
    for profile in choice.profiles:
        names = {definition(task, profile): task for task in choice.tasks}
        own = [row for row in rows if row.task in names]
        if not own:
            continue
        margins = {name: rule.margins[task] / 100 for name, task in names.items() if task in rule.margins}
        primary = next((name for name, task in names.items() if task == rule.primary), None)
        judged = compare.judge(
            {row.task: row.gap for row in own}, margin=rule.margin / 100, margins=margins, primary=primary
        )
        families.append(judged)
        # Every task has the same controls, and each of them is a question of its own.
        controls = [
            compare.judge({row.task: row.controls[place].gap for row in own}, margin=rule.margin / 100, margins=margins)
            for place in range(len(own[0].controls))
        ]
        for row in own:
            beside = tuple(
                replace(one, judgement=control.tasks[row.task])
                for one, control in zip(row.controls, controls, strict=True)
            )
            found[row.task] = replace(row, judgement=judged.tasks[row.task], controls=beside)
    none = compare.Judgements(tasks={}, study=compare.Verdict.INCONCLUSIVE)
    return tuple(found[row.task] for row in rows), families[0] if families else none


def _selection(study: Study, choice: Choice) -> str:
    """Name what was asked for beyond the study file, so that a quick look never overwrites the whole report."""
    parts = []
    if (choice.reference, choice.treated) != usual_pair(study):
        parts.append(f"{choice.treated}-against-{choice.reference}")
    if BASE_ARM not in choice.arms:
        parts.append("alone")
    if choice.seeds != study.seeds:
        parts.append(f"seeds-{len(choice.seeds)}")
    if choice.limit != study.evaluation.limit:
        parts.append(f"limit-{choice.limit}")
    if choice.tasks != study.tasks:
        parts.append("-".join(choice.tasks))
    if choice.profiles != study.profiles:
        parts.append("-".join(choice.profiles))
    name = "_".join(parts)
    # A file name has 255 bytes; the digest keeps two long selections apart.
    return name if len(name) <= 120 else f"{name[:100]}-{digest('selection', name)[:12]}"


def _score_set(arm: str, seed: int | None, task: str, facts: Mapping[str, Any]) -> ScoreSet:
    return ScoreSet(
        arm=arm,
        seed=seed,
        task=task,
        items=tuple(facts["item"]),
        clusters=tuple(facts["cluster"]),
        subtasks=tuple(facts["subtask"]),
        prompts=tuple(facts["prompt"]),
        metrics={name: tuple(values) for name, values in facts["scores"].items()},
    )


def _funnel(records: Mapping[str, Record]) -> dict[str, Any]:
    chats, clean = records["chats"].facts, records["clean"].facts
    return {
        "cut": chats["cut"],
        "read": chats["rows"],
        "selected": chats["selected"],
        "cleaned": clean["cleaned"],
        "mixed": clean["chats"],
        "dropped_by_cleaning": clean["dropped"],
        "repaired": clean["repaired"],
        "repeat_a_passage": clean["flagged"],
        "labels": records["label"].facts["turns"],
    }


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
            treatment=treatment(arm, study, choice),
            chats=0,
            supervised_tokens=0,
            steps=0,
            seeds=(),
            dropped={},
            weights=weights,
        )
    data, seeds = choice.data_of(arm), choice.seeds_of(arm)
    facts = [records[f"train/{arm}/{seed}"].facts for seed in seeds]
    return ArmRow(
        name=arm,
        treatment=_with_pack(arm, study, choice),
        chats=int(records[f"variant/{data}"].facts["chats"]),
        supervised_tokens=int(facts[0]["supervised_tokens"]),
        steps=int(facts[0]["steps"]),
        seeds=seeds,
        dropped=records[f"variant/{data}"].facts["dropped"],
        treated=records[f"variant/{data}"].facts["treated"],
        weights={str(seed): str(own["weights"]) for seed, own in zip(seeds, facts, strict=True)},
        cut_chats=int(facts[0]["cut_chats"]),
        silent_chats=int(facts[0]["silent_chats"]),
        diverged=tuple(seed for seed, own in zip(seeds, facts, strict=True) if None in own["losses"]),
        dose=dose(arm, study),
    )


def treatment(arm: str, study: Study, choice: Choice) -> str:
    """Say what was done to the chats of an arm."""
    if arm == BASE_ARM:
        return "not fine-tuned"
    if arm == AGAIN_ARM:
        return f"as '{choice.data_of(arm)}', under other seeds"
    variant = study.variants[arm]
    words = variant.treatment.value.replace("_", " ")
    if variant.size_of:
        words = f"random removal, as many {_MATCHED[variant.match]} as '{variant.size_of}'"
    if variant.share:
        words = f"answers shuffled in {variant.share:.0%} of the chats"
    if variant.dose:
        words += f", {variant.dose:.0%} left as they are"
    if variant.parent:
        words += f", on '{variant.parent}'"
    return words


def _with_pack(arm: str, study: Study, choice: Choice) -> str:
    """Say what was done to the chats of an arm, and by which filter pack where that is not the study's."""
    pack = study.filter if arm == BASE_ARM else study.pack(choice.data_of(arm))
    labelled = "" if pack == study.filter else f", labelled by {name_of(pack)}"
    return treatment(arm, study, choice) + labelled


def _task(task: str, study: Study, choice: Choice, info: TaskHead, records: Mapping[str, Record]) -> TaskRow:
    arms: dict[str, compare.Arm] = {}
    clusters: dict[str, str] = {}
    subtasks: dict[str, str] = {}
    unextracted: dict[str, float] = {}
    for arm in choice.arms:
        facts = [records[score_name(arm, seed, task)].facts for seed in choice.seeds_of(arm) or (None,)]
        arms[arm] = arm_of(arm, info, facts)
        if "unextracted" in facts[0]["scores"]:
            # Of a subtask without a pattern to extract by, nothing is counted.
            shares = [np.array(one["scores"]["unextracted"], dtype=float) for one in facts]
            unextracted[arm] = float(np.nanmean(np.concatenate(shares)))
        for one in facts:  # of every arm, as one may have items that others lack
            clusters |= zip(one["item"], one["cluster"], strict=True)
            subtasks |= zip(one["item"], one["subtask"], strict=True)
    averaged = Average(info.average, clusters, subtasks, study.verdict.confidence)
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
            Control(kind=kind, reference=first, treated=second, gap=averaged.gap(arms[first], arms[second]))
            for kind, first, second in _controls(study, choice)
        ),
        flips=averaged.flips(arms[choice.reference], arms[choice.treated]),
        parts=averaged.parts(arms[choice.reference], arms[choice.treated]),
        seen=_seen(task, choice, arms, averaged, records),
        shortened_prompts=sum(facts["shortened_prompts"] for facts in asked),
        unfinished=sum(facts["unfinished"] for facts in asked),
        unextracted=unextracted,
        isolation=tuple(sorted(isolation)),
    )


def _controls(study: Study, choice: Choice) -> list[tuple[ControlKind, str, str]]:
    """Return (what it shows, reference, treated) of every comparison beside the pair's own."""
    found = []
    for arm in choice.arms:
        if arm == AGAIN_ARM:
            found.append((ControlKind.SAME_DATA, choice.reference, arm))
        elif arm == SHUFFLED_ARM:
            found.append((ControlKind.SHUFFLED, choice.reference, arm))
        elif arm not in (BASE_ARM, choice.reference, choice.treated) and study.variants[arm].size_of:
            found.append((ControlKind.RANDOM, arm, choice.treated))
    return found


def _seen(
    task: str,
    choice: Choice,
    arms: Mapping[str, compare.Arm],
    averaged: Average,
    records: Mapping[str, Record],
) -> Seen | None:
    if "overlap" not in records:
        return None

    def of(arm: str) -> set[str]:
        return set() if arm == BASE_ARM else set(records[f"exposure/{arm}"].facts["items"].get(task, ()))

    reference, treated = of(choice.reference), of(choice.treated)
    pair = arms[choice.reference], arms[choice.treated]
    unseen = {*pair[0].items, *pair[1].items} - reference - treated
    without = None
    if (reference or treated) and not any(unseen.isdisjoint(arm.items) for arm in pair):
        without = averaged.gap(pair[0].only(unseen), pair[1].only(unseen))
    return Seen(
        words=int(records["overlap"].facts["words"]),
        reference_only=tuple(sorted(reference - treated)),
        treated_only=tuple(sorted(treated - reference)),
        shared=tuple(sorted(reference & treated)),
        gap_without=without,
    )
