"""From a study to its graph of stages: pure data, nothing is read or run.

Owns which stages a study has, what each depends on and which settings bear its identity. Does not know
how a stage is executed (see `stages`) or whether it is cached (see `runner`). Invariant: whatever can
change a stage's output is in `settings` or arrives through `inputs`; what cannot is in `arguments`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.study.choice import Choice, completed, runs, score_name
from harness.study.model import BaseKind, Evaluation, Machine, Recipe, Study


class Kind(enum.StrEnum):
    """The kinds of stages; also the folders of the ledger."""

    CHATS = "chats"
    OVERLAP = "overlap"
    CLEAN = "clean"
    LABEL = "label"
    VARIANT = "variant"
    EXPOSURE = "exposure"
    BASE = "base"
    TRAIN = "train"
    ITEMS = "items"
    PREDICT = "predict"
    SCORE = "score"


# Raise a number when the code of a stage changes what it produces.
VERSIONS: Mapping[Kind, int] = dict.fromkeys(Kind, 1) | {
    Kind.CLEAN: 2,
    Kind.LABEL: 2,
    Kind.VARIANT: 3,
    Kind.ITEMS: 2,
    Kind.PREDICT: 2,
    Kind.SCORE: 2,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One node of the graph.

    Attributes:
        name: unique and readable, such as "train/clean/0".
        kind: what it does.
        settings: identity-bearing plain data.
        inputs: role -> name of the stage whose output digest enters the key.
        arguments: what the execution needs beyond that and must not enter the key (paths, widths).
    """

    name: str
    kind: Kind
    settings: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprints:
    """Identities of what lies outside: read by the caller, so that the plan stays pure.

    Attributes:
        sources: per source of chats.
        base: of the base model.
        filter: digest of the study's rule pack, and of what its classifier is computed with.
        filters: the same of further packs, those that variants name, by reference.
        cleaning: versions of the packages that clean and label.
        answers: digest of the file of answers, per variant that replaces some.
        tasks: per definition of a task, of its files and item files.
        training: versions of the packages that train.
        engine: name and version of the inference engine.
    """

    sources: Mapping[str, Any]
    base: Mapping[str, Any]
    filter: str
    answers: Mapping[str, str]
    cleaning: Mapping[str, str]
    tasks: Mapping[str, Any]
    training: Mapping[str, str]
    engine: Mapping[str, str]
    filters: Mapping[str, str] = field(default_factory=dict)


def build(
    study: Study, choice: Choice, *, recipe: Recipe, pretraining: Recipe | None, machine: Machine, prints: Fingerprints
) -> list[Stage]:
    """Return the stages of a study, with those of its controls, in an order in which they can run."""
    study = completed(study, choice)
    overlap = overlap_stages(study, choice, prints)
    return ordered(
        [
            # Before the items, which take minutes: chats that cannot be read are said at once.
            *data_stages(study, choice.variants, prints, "overlap" if overlap else None),
            *[_items(study, task, prints, name=f"items/{task}", limit=choice.limit) for task in choice.definitions],
            *overlap,
            base_stage(study, pretraining, prints),
            *_train_stages(choice, recipe, machine, prints),
            *_evaluation_stages(study, choice, prints),
        ]
    )


def ordered(stages: Sequence[Stage]) -> list[Stage]:
    """Return stages as given, but each after what it needs: cleaning that drops overlaps waits for them."""
    known = {stage.name: stage for stage in stages}
    placed: dict[str, Stage] = {}

    def place(stage: Stage) -> None:
        for name in stage.inputs.values():
            if name not in placed:
                place(known[name])
        placed[stage.name] = stage

    for stage in stages:
        place(stage)
    return list(placed.values())


def data_stages(study: Study, arms: Sequence[str], prints: Fingerprints, overlap: str | None) -> list[Stage]:
    """Return the stages from raw chats to the variants.

    Args:
        overlap: name of the stage that finds chats with passages of benchmark items; None = it is not looked for.
    """
    inputs = {"chats": "chats"}
    if overlap is not None and study.clean.overlap == "drop":
        inputs["overlap"] = overlap
    stages = [
        Stage(
            name="chats",
            kind=Kind.CHATS,
            # A list: which source comes first decides which of two duplicates stays.
            settings={"sources": [[name, found] for name, found in prints.sources.items()], "seed": study.data_seed},
        ),
        Stage(
            name="clean",
            kind=Kind.CLEAN,
            settings={
                "filters": study.clean.model_dump(mode="json", exclude={"overlap_words"}),
                "mix": study.mix.model_dump(mode="json") if study.mix else None,
                "sources": [source.name for source in study.sources],
                "seed": study.data_seed,
                "packages": prints.cleaning,
            },
            inputs=inputs,
        ),
        *_label_stages(study, arms, prints),
    ]
    for arm in arms:
        twin = study.variants[arm].size_of
        stages.append(
            Stage(
                name=f"variant/{arm}",
                kind=Kind.VARIANT,
                # The name of a variant is no part of what it is, so a renamed one is found again.
                settings={
                    "lineage": _lineage(study, arm, prints),
                    "size_of": _lineage(study, twin, prints) if twin else [],
                    "seed": study.data_seed,
                },
                inputs={"chats": "clean", "labels": _labelled(study, study.pack(arm))},
                arguments={"name": arm},
            )
        )
    return stages


def _label_stages(study: Study, arms: Sequence[str], prints: Fingerprints) -> list[Stage]:
    """Return one stage per pack that a variant is made with, the study's own first."""
    packs = dict.fromkeys([study.filter, *(study.pack(arm) for arm in arms)])
    return [
        Stage(
            name=_labelled(study, pack),
            kind=Kind.LABEL,
            # What a pack is called is no part of what it says.
            settings={
                "digest": prints.filter if pack == study.filter else prints.filters[pack],
                "packages": prints.cleaning,
            },
            inputs={"chats": "clean"},
            arguments={"pack": pack},
        )
        for pack in packs
    ]


def _labelled(study: Study, pack: str) -> str:
    return "label" if pack == study.filter else f"label/{pack}"


def _lineage(study: Study, name: str, prints: Fingerprints) -> list[dict[str, Any]]:
    """Return the treatments that make a variant; those of an ancestor that is a random control with its twin's."""
    found = []
    for one in study.lineage_names(name):
        treatment, twin = _treatment(study, one, prints), study.variants[one].size_of
        found.append(treatment | {"size_of": _lineage(study, twin, prints)} if twin and one != name else treatment)
    return found


# Fields that variants got after the first records were published: they enter only the keys of variants that set them.
_LATER_FIELDS = ("share",)


def _treatment(study: Study, name: str, prints: Fingerprints) -> dict[str, Any]:
    """Return what a variant does to its parent; the order in which labels and values are listed is no part of it.

    Its filter enters through the labels.
    """
    variant = study.variants[name]
    unset = {field for field in _LATER_FIELDS if field not in variant.model_fields_set}
    settings = variant.model_dump(mode="json", exclude={"parent", "size_of", "filter", *unset})
    return {
        **settings,
        "labels": sorted(settings["labels"]),
        "harmful": {column: sorted(values) for column, values in settings["harmful"].items()},
        "answers": prints.answers.get(name),
    }


def overlap_stages(study: Study, choice: Choice, prints: Fingerprints) -> list[Stage]:
    """Return the stage that finds shared passages, and what one variant each has seen.

    What is dropped must not depend on how much of the study one command asks, so dropping looks at all tasks of the
    study and all their items; a report looks at the items that are asked.
    """
    if not study.clean.overlap_words:
        return []
    items, extra = {task: f"items/{task}" for task in choice.definitions}, []
    if study.clean.overlap == "drop":
        # Under whatever profile they are asked, their texts are the same.
        items = {task: f"all-items/{task}" for task in study.tasks}
        extra = [_items(study, task, prints, name=items[task], limit=0) for task in study.tasks]
    # Of these, chats that ask a whole prompt are looked for too.
    safety = sorted(task for task in items if prints.tasks[task].get(ASPECT))
    overlap = Stage(
        name="overlap",
        kind=Kind.OVERLAP,
        settings={"words": study.clean.overlap_words} | ({"safety": safety} if safety else {}),
        inputs={"chats": "chats", **{f"items/{task}": stage for task, stage in items.items()}},
    )
    exposures = [
        Stage(
            name=f"exposure/{arm}",
            kind=Kind.EXPOSURE,
            settings={},
            inputs={"chats": f"variant/{arm}", "overlap": "overlap"},
        )
        for arm in choice.variants
    ]
    return [*extra, overlap, *exposures]


def base_stage(study: Study, pretraining: Recipe | None, prints: Fingerprints) -> Stage:
    """Return the stage that fetches or pretrains the base model."""
    settings: dict[str, Any] = {"source": prints.base}
    if study.base.kind is BaseKind.POCKET:
        assert pretraining is not None
        settings |= {"recipe": pretraining.identity(), "rows": study.base.rows, "seed": study.data_seed}
        settings["packages"] = prints.training
    return Stage(name="base", kind=Kind.BASE, settings=settings)


def _train_stages(choice: Choice, recipe: Recipe, machine: Machine, prints: Fingerprints) -> list[Stage]:
    return [
        Stage(
            name=f"train/{arm}/{seed}",
            kind=Kind.TRAIN,
            settings={"recipe": recipe.identity(), "seed": seed, "packages": prints.training},
            inputs={"data": f"variant/{choice.data_of(arm)}", "base": "base"},
            arguments={"arm": arm, "machine": machine},
        )
        for arm in choice.trained
        for seed in choice.seeds_of(arm)
    ]


def _evaluation_stages(study: Study, choice: Choice, prints: Fingerprints) -> list[Stage]:
    asked = study.evaluation
    stages = []
    for arm, seed, model in runs(choice):
        for task in choice.definitions:
            score = score_name(arm, seed, task)
            predict = score_name(arm, seed, task, kind="predict")
            stages += [
                Stage(
                    name=predict,
                    kind=Kind.PREDICT,
                    settings=predict_settings(asked, prints.engine),
                    inputs={"model": model, "items": f"items/{task}"},
                    arguments={"task": task, "arm": arm},
                ),
                Stage(
                    name=score,
                    kind=Kind.SCORE,
                    settings=score_settings(asked, prints.tasks[task]),
                    inputs={"items": f"items/{task}", "predictions": predict},
                    arguments={"task": task, "arm": arm},
                ),
            ]
    return stages


def _items(study: Study, task: str, prints: Fingerprints, *, name: str, limit: int) -> Stage:
    return Stage(
        name=name,
        kind=Kind.ITEMS,
        settings=item_settings(study.evaluation, prints.tasks[task], limit=limit, seed=study.data_seed),
        arguments={"task": task},
    )


def predict_settings(asked: Evaluation, engine: Mapping[str, str]) -> dict[str, Any]:
    """Return what the answers of a checkpoint depend on beyond it and the prompts."""
    return {"engine": dict(engine), "dtype": asked.dtype, "max_length": asked.max_length}


def checkpoint_stages(
    definitions: Sequence[str],
    asked: Evaluation,
    *,
    checkpoint: str,
    model: Any,
    prints: Mapping[str, Any],
    engine: Mapping[str, str],
    seed: int,
) -> list[Stage]:
    """Return the stages that evaluate one checkpoint outside of a study.

    Args:
        definitions: names of what is asked.
        checkpoint: digest of its files.
        model: the checkpoint itself; no part of the key.
        prints: identities of the definitions by name.
    """
    stages = []
    for name in definitions:
        stages += [
            Stage(
                name=f"items/{name}",
                kind=Kind.ITEMS,
                settings=item_settings(asked, prints[name], limit=asked.limit, seed=seed),
                arguments={"task": name},
            ),
            Stage(
                name=f"predict/{name}",
                kind=Kind.PREDICT,
                settings=predict_settings(asked, engine) | {"checkpoint": checkpoint},
                inputs={"items": f"items/{name}"},
                arguments={"task": name, "model": model},
            ),
            Stage(
                name=f"score/{name}",
                kind=Kind.SCORE,
                settings=score_settings(asked, prints[name]),
                inputs={"items": f"items/{name}", "predictions": f"predict/{name}"},
                arguments={"task": name},
            ),
        ]
    return stages


def score_settings(asked: Evaluation, definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return what scores depend on beyond items and answers; the values of k only where they were chosen."""
    chosen = asked.pass_at if definition.get(EXECUTION) else ()
    own = {name: value for name, value in definition.items() if name != ASPECT}
    return {"definition": own} | ({"pass_at": list(chosen)} if chosen else {})


# What of a definition's identity concerns scores alone: how its programs are executed, and who judges its answers; and
# what concerns neither items nor scores, but what is looked for in chats: that it is about safety.
EXECUTION, JUDGE, ASPECT = "execution", "judge", "aspect"


def item_settings(asked: Evaluation, definition: Mapping[str, Any], *, limit: int, seed: int) -> dict[str, Any]:
    """Return what the prompts of a definition depend on.

    Args:
        definition: identity of its files and items.
        seed: of sampled answers.
    """
    return {
        "definition": {name: value for name, value in definition.items() if name not in (EXECUTION, JUDGE, ASPECT)},
        "limit": limit,
        "max_new_tokens": asked.max_new_tokens,
        # Several answers are estimated from where programs are run; of other answers the first one would count.
        "samples": asked.samples if definition.get(EXECUTION) else 1,
        "temperature": asked.temperature,
        "sampling_seed": seed,
    }
