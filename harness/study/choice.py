"""What of a study is run: the pair, its controls, seeds and tasks.

Owns the selection that the command line makes and the names under which runs and scores are known.
Invariant: unless the pair stands alone, the base model and every random control of it are among the arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.errors import InputError, nearest
from harness.study.curation import Treatment
from harness.study.model import Study

BASE_ARM = "base"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What of a study is run.

    Attributes:
        reference, treated: the pair that is compared.
        arms: all arms in order of the table: base, the pair, the controls.
        seeds: training seeds.
        tasks: task names.
        profiles: scoring profiles.
        limit: items per task; 0 = all.
    """

    reference: str
    treated: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    profiles: tuple[str, ...]
    limit: int

    @property
    def definitions(self) -> tuple[str, ...]:
        """Names of what is asked and scored: every task under every profile."""
        return tuple(definition(task, profile) for profile in self.profiles for task in self.tasks)


def definition(task: str, profile: str) -> str:
    """Return the name of a task's definition under a profile."""
    return task if profile == "lm-eval" else f"{task}_{profile}"


def choose(
    study: Study,
    *,
    pair: Sequence[str],
    seeds: int | None,
    tasks: Sequence[str] | None,
    limit: int | None,
    profiles: Sequence[str] = (),
) -> Choice:
    """Check and complete what the command line asks of a study.

    Args:
        pair: reference and treated variant; empty = the first two that are not random controls.
        seeds: number of seeds, the first ones of the study; None = all.
        tasks: task names; None = the study's.
        limit: items per task; None = the study's.
        profiles: scoring profiles; empty = the study's.

    Raises:
        InputError: unknown variant or task of the study, a pair that is none, too many seeds.
    """
    plain = [name for name, variant in study.variants.items() if variant.treatment is not Treatment.RANDOM]
    names = list(pair) or plain[:2]
    for name in names:
        if name not in study.variants and name != BASE_ARM:
            raise InputError(
                f"Study '{study.name}' has no variant named '{name}'.{nearest(name, [*study.variants, BASE_ARM])}"
            )
    if len(names) != 2 or names[0] == names[1]:
        raise InputError(
            f"--variant takes two different variants, reference first, such as --variant {','.join(plain[:2])};"
            f" given: '{','.join(names)}'."
        )
    for name in tasks or ():
        if name not in study.tasks:
            raise InputError(
                f"Study '{study.name}' does not evaluate a task named '{name}'.{nearest(name, study.tasks)}"
            )
    if seeds is not None and not 1 <= seeds <= len(study.seeds):
        raise InputError(
            f"--seeds {seeds}: study '{study.name}' names {len(study.seeds)} seeds {list(study.seeds)}; ask for 1 to"
            f" {len(study.seeds)}, or add seeds to the study file."
        )
    controls = [name for name, variant in study.variants.items() if variant.size_of in names and name not in names]
    arms = [BASE_ARM, *[name for name in names if name != BASE_ARM], *controls]
    return Choice(
        reference=names[0],
        treated=names[1],
        arms=tuple(arms),
        seeds=study.seeds[:seeds],
        tasks=tuple(dict.fromkeys(tasks)) if tasks else study.tasks,
        profiles=tuple(dict.fromkeys(profiles)) if profiles else study.profiles,
        limit=study.evaluation.limit if limit is None else limit,
    )


def alone(choice: Choice) -> Choice:
    """Return the choice without the base and without controls: the pair is compared with nothing else."""
    return replace(choice, arms=(choice.reference, choice.treated))


def runs(choice: Choice) -> list[tuple[str, int | None, str]]:
    """Return (arm, seed, stage that makes its model) of every checkpoint that is evaluated."""
    return [
        (arm, seed, "base" if arm == BASE_ARM else f"train/{arm}/{seed}")
        for arm in choice.arms
        for seed in ([None] if arm == BASE_ARM else choice.seeds)
    ]


def score_name(arm: str, seed: int | None, task: str, *, kind: str = "score") -> str:
    """Return the name of the stage that scores (or predicts) one checkpoint on one task."""
    return f"{kind}/{arm}/{task}" if seed is None else f"{kind}/{arm}/{seed}/{task}"
