"""From a study to its graph of stages: pure data, nothing is read or run.

Owns which stages a study has, what each depends on and which settings bear its identity. Does not know
how a stage is executed (see `stages`) or whether it is cached (see `runner`). Invariant: whatever can
change a stage's output is in `settings` or arrives through `inputs`; what cannot is in `arguments`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.study.choice import BASE_ARM, Choice, runs, score_name
from harness.study.model import BaseKind, Machine, Recipe, Study, Variant


class Kind(enum.StrEnum):
    """The kinds of stages; also the folders of the ledger."""

    CHATS = "chats"
    CLEAN = "clean"
    LABEL = "label"
    VARIANT = "variant"
    BASE = "base"
    TRAIN = "train"
    ITEMS = "items"
    PREDICT = "predict"
    SCORE = "score"


# Raise a number when the code of a stage changes what it produces.
VERSIONS: Mapping[Kind, int] = dict.fromkeys(Kind, 1)


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
        filter: digest of the rule pack.
        tasks: per task, of its definition and item files.
        training: versions of the packages that train.
        engine: name and version of the inference engine and of lm-eval.
    """

    sources: Mapping[str, Any]
    base: Mapping[str, Any]
    filter: str
    tasks: Mapping[str, Any]
    training: Mapping[str, str]
    engine: Mapping[str, str]


def build(
    study: Study, choice: Choice, *, recipe: Recipe, pretraining: Recipe | None, machine: Machine, prints: Fingerprints
) -> list[Stage]:
    """Return the stages of a study in an order in which they can run."""
    return [
        *_data_stages(study, choice, prints),
        _base_stage(study, pretraining, prints),
        *_train_stages(choice, recipe, machine, prints),
        *_evaluation_stages(study, choice, prints),
    ]


def _data_stages(study: Study, choice: Choice, prints: Fingerprints) -> list[Stage]:
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
                "filters": study.clean.model_dump(mode="json"),
                "mix": study.mix.model_dump(mode="json") if study.mix else None,
                "sources": [source.name for source in study.sources],
                "seed": study.data_seed,
            },
            inputs={"chats": "chats"},
        ),
        Stage(
            name="label",
            kind=Kind.LABEL,
            settings={"pack": study.filter, "digest": prints.filter},
            inputs={"chats": "clean"},
        ),
    ]
    for arm in choice.arms:
        if arm == BASE_ARM:
            continue
        variant = study.variants[arm]
        twin = study.variants[variant.size_of] if variant.size_of else None
        stages.append(
            Stage(
                name=f"variant/{arm}",
                kind=Kind.VARIANT,
                # The name of a variant is no part of what it is, so a renamed one is found again.
                settings={
                    "treatment": _treatment(variant),
                    "size_of": _treatment(twin) if twin else None,
                    "seed": study.data_seed if twin else None,
                },
                inputs={"chats": "clean", "labels": "label"},
                arguments={"name": arm},
            )
        )
    return stages


def _treatment(variant: Variant) -> dict[str, Any]:
    """Return what a variant does; the order in which its labels are listed is no part of it."""
    settings = variant.model_dump(mode="json", exclude={"size_of"})
    return {**settings, "labels": sorted(settings["labels"])}


def _base_stage(study: Study, pretraining: Recipe | None, prints: Fingerprints) -> Stage:
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
            inputs={"data": f"variant/{arm}", "base": "base"},
            arguments={"arm": arm, "machine": machine},
        )
        for arm in choice.arms
        if arm != BASE_ARM
        for seed in choice.seeds
    ]


def _evaluation_stages(study: Study, choice: Choice, prints: Fingerprints) -> list[Stage]:
    asked = study.evaluation
    stages = [
        Stage(
            name=f"items/{task}",
            kind=Kind.ITEMS,
            settings={"definition": prints.tasks[task], "limit": choice.limit, "max_new_tokens": asked.max_new_tokens},
            arguments={"task": task},
        )
        for task in choice.tasks
    ]
    for arm, seed, model in runs(choice):
        for task in choice.tasks:
            score = score_name(arm, seed, task)
            predict = score_name(arm, seed, task, kind="predict")
            stages += [
                Stage(
                    name=predict,
                    kind=Kind.PREDICT,
                    settings={"engine": prints.engine, "dtype": asked.dtype, "max_length": asked.max_length},
                    inputs={"model": model, "items": f"items/{task}"},
                    arguments={"task": task, "arm": arm},
                ),
                Stage(
                    name=score,
                    kind=Kind.SCORE,
                    settings={"definition": prints.tasks[task], "profile": study.profile},
                    inputs={"items": f"items/{task}", "predictions": predict},
                    arguments={"task": task, "arm": arm},
                ),
            ]
    return stages
