"""What of a study is run: the pair, its controls, seeds and tasks.

Owns the selection that the command line makes, the arms that [controls] adds, and the names under which runs and scores
are known. Invariant: unless the pair stands alone, the base model, every control of it and every other dose of the
treated variant are among the arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.errors import InputError, nearest
from harness.study.curation import Treatment, Variant
from harness.study.judging import AGAIN_ARM, BASE_ARM, RESERVED, SHUFFLED_ARM
from harness.study.model import Study

__all__ = ["BASE_ARM", "Choice", "alone", "choose", "completed", "definition", "runs", "score_name", "usual_pair"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What of a study is run.

    Attributes:
        reference, treated: the pair that is compared.
        arms: all arms in order of the table: base, the pair, other doses of the treated one, the controls.
        seeds: training seeds.
        tasks: task names.
        profiles: scoring profiles.
        limit: items per task; 0 = all.
        again: training seeds of the arm `again`, which trains the reference's data; empty where there is none.
    """

    reference: str
    treated: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    profiles: tuple[str, ...]
    limit: int
    again: tuple[int, ...] = ()

    @property
    def definitions(self) -> tuple[str, ...]:
        """Names of what is asked and scored: every task under every profile."""
        return tuple(definition(task, profile) for profile in self.profiles for task in self.tasks)

    @property
    def trained(self) -> tuple[str, ...]:
        """The arms that are trained: all but the base."""
        return tuple(arm for arm in self.arms if arm != BASE_ARM)

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants whose datasets are made, each once."""
        return tuple(dict.fromkeys(self.data_of(arm) for arm in self.trained))

    def data_of(self, arm: str) -> str:
        """Return the variant whose data a trained arm is trained on."""
        return self.reference if arm == AGAIN_ARM else arm

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """Return the training seeds of an arm; none for the base."""
        return {BASE_ARM: (), AGAIN_ARM: self.again}.get(arm, self.seeds)


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
    usual = usual_pair(study)
    names = list(pair) or list(usual)
    for name in names:
        _require_variant(study, name)
    if len(names) != 2 or names[0] == names[1]:
        raise InputError(
            f"--variant takes two different variants, reference first, such as --variant {','.join(usual)};"
            f" given: '{','.join(names)}'."
        )
    _require_tasks_and_seeds(study, tasks or (), seeds)
    chosen = study.seeds[:seeds]
    doses = [name for name in study.variants if name not in names and _another_dose(study, name, names[1])]
    controls = [name for name, variant in study.variants.items() if variant.size_of in names and name not in names]
    again: tuple[int, ...] = ()
    if names[0] != BASE_ARM:
        if study.controls.same_data:
            # After the study's last one, not after the last that is asked: with more seeds they are seeds of the pair.
            again = tuple(max(study.seeds) + 1 + place for place in range(len(chosen)))
            controls.append(AGAIN_ARM)
        if study.controls.shuffled:
            controls.append(SHUFFLED_ARM)
    return Choice(
        reference=names[0],
        treated=names[1],
        arms=(BASE_ARM, *[name for name in names if name != BASE_ARM], *doses, *controls),
        seeds=chosen,
        tasks=tuple(dict.fromkeys(tasks)) if tasks else study.tasks,
        profiles=tuple(dict.fromkeys(profiles)) if profiles else study.profiles,
        limit=study.evaluation.limit if limit is None else limit,
        again=again,
    )


def _require_tasks_and_seeds(study: Study, tasks: Sequence[str], seeds: int | None) -> None:
    for name in tasks:
        if name not in study.tasks:
            raise InputError(
                f"Study '{study.name}' does not evaluate a task named '{name}'.{nearest(name, study.tasks)}"
            )
    if seeds is not None and not 1 <= seeds <= len(study.seeds):
        raise InputError(
            f"--seeds {seeds}: study '{study.name}' names {len(study.seeds)} seeds {list(study.seeds)}; ask for 1 to"
            f" {len(study.seeds)}, or add seeds to the study file."
        )


def _another_dose(study: Study, name: str, treated: str) -> bool:
    """Whether a variant is the treated one but for its dose."""
    if treated == BASE_ARM:
        return False
    one, other = (study.variants[each].model_dump(exclude={"dose"}) for each in (name, treated))
    return one == other and study.variants[treated].treatment not in (Treatment.KEEP, Treatment.RANDOM)


def usual_pair(study: Study) -> tuple[str, ...]:
    """Return the pair of a command that names none: the first two variants that are no controls; fewer if there are."""
    plain = [name for name, one in study.variants.items() if one.treatment is not Treatment.RANDOM]
    return tuple(name for name in plain if name not in RESERVED)[:2]


def completed(study: Study, choice: Choice) -> Study:
    """Return the study with the variants that its controls add for a choice; a completed one as it is."""
    if SHUFFLED_ARM not in choice.arms or SHUFFLED_ARM in study.variants:
        return study
    shuffled = Variant(parent=choice.reference, treatment=Treatment.SHUFFLE_ANSWERS, share=study.controls.shuffled)
    return study.model_copy(update={"variants": {**study.variants, SHUFFLED_ARM: shuffled}})


def _require_variant(study: Study, name: str) -> None:
    if name in (*study.variants, BASE_ARM):
        return
    known = [*study.variants, BASE_ARM]
    control = " It is compared with the reference in every report that has it." if name in RESERVED else ""
    raise InputError(f"Study '{study.name}' has no variant named '{name}'.{control or nearest(name, known)}")


def alone(choice: Choice) -> Choice:
    """Return the choice without the base and without controls: the pair is compared with nothing else."""
    return replace(choice, arms=(choice.reference, choice.treated), again=())


def runs(choice: Choice) -> list[tuple[str, int | None, str]]:
    """Return (arm, seed, stage that makes its model) of every checkpoint that is evaluated."""
    return [
        (arm, seed, "base" if seed is None else f"train/{arm}/{seed}")
        for arm in choice.arms
        for seed in (choice.seeds_of(arm) or (None,))
    ]


def score_name(arm: str, seed: int | None, task: str, *, kind: str = "score") -> str:
    """Return the name of the stage that scores (or predicts) one checkpoint on one task."""
    return f"{kind}/{arm}/{task}" if seed is None else f"{kind}/{arm}/{seed}/{task}"
