"""A published table of scores, judged by what one seed and that many items can support.

Owns the form of `training/published/*.toml` and the arithmetic on it; layout is `published_views`. Invariant: every
number comes from the file or is computed from it.

With n items, a share c of which two checkpoints answer differently, and a gap d, the variance of the gap over new items
is (c - d^2)/n, c/n where the gap is none. Over S training seeds of standard deviation s in each arm, paired by number,
it is c/n + 2 s^2/S on S - 1 degrees of freedom. The smallest gap that is called with a probability of 80 % follows from
that (`harness.compare.planned`); p-values are exact (McNemar 1947, `harness.compare.flipped`).
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from harness import compare, layout
from harness.errors import InputError, nearest
from harness.study.strict import Fraction, Positive, Strict

LEVEL, POWER = 0.05, 0.8

Score = Annotated[float, Field(gt=0.0, le=100.0)]


class PublishedTask(Strict):
    """One line of the table; scores in per cent.

    Attributes:
        items: how many questions the task has.
        clusters: how many groups they come in; None where nobody counted.
        cluster: what the groups are; None where items stand alone.
        printed: relative gap as published, to one digit.
    """

    title: str
    items: Positive
    clusters: Positive | None = None
    cluster: str | None = None
    base: Score
    reference: Score
    treated: Score
    printed: float


class Assumptions(Strict):
    """What the table does not say.

    Attributes:
        changed: share of the items that two checkpoints answer differently.
        seed_sd: standard deviation of a score over training seeds, points.
        cluster_factor: clustered over naive standard errors, at most.
        seeds: training seeds per arm of studies that could speak of the data.
    """

    changed: Fraction
    seed_sd: Annotated[float, Field(gt=0.0)]
    cluster_factor: Annotated[float, Field(ge=1.0)]
    seeds: tuple[Annotated[int, Field(ge=2)], ...] = Field(strict=False, min_length=1)


class Published(Strict):
    """A published comparison of two arms and their base.

    Attributes:
        base, reference, treated: what the columns are called.
        seeds: training seeds per arm.
        size_control: whether an arm of equal size was trained.
        safety_measure: whether it was measured what the treatment costs in safety.
    """

    name: str
    title: str
    source: str
    notes: str = ""
    base: str
    reference: str
    treated: str
    seeds: Positive
    size_control: bool
    safety_measure: bool
    assumptions: Assumptions
    tasks: tuple[PublishedTask, ...] = Field(strict=False, min_length=1)

    @model_validator(mode="after")
    def _gaps_are_those_printed(self) -> Published:
        wrong = [
            f"{task.title}: scores give {gap:.1f} %, printed is {task.printed} %"
            for task in self.tasks
            if round(gap := 100 * (task.treated - task.reference) / task.reference, 1) != task.printed
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class Support:
    """What one line of a published table can support; gaps and effects in points, relative gaps as fractions.

    Attributes:
        gap: treated - reference.
        relative: gap / reference, as printed.
        worse_by: gap / treated, the denominator of "worse by".
        right: items that reference and treated have right, as nearly as the scores tell.
        net: difference of the two.
        changed: items that are assumed to have changed; at least `net`.
        best_p: exact McNemar p if every change went one way: no p can be smaller.
        likely_p: exact McNemar p if `changed` items changed.
        clustered_p: p if the standard error over items is larger by the cluster factor; None where items stand alone.
        smallest: smallest gap with 80 % power for these checkpoints, over items alone.
        smallest_by_seeds: the same for the data, by number of seeds.
        luck: standard deviation over seeds at which luck alone reaches this gap in 5 % of studies; 0 = items suffice.
        below_base: whether both arms score below the base.
    """

    task: PublishedTask
    gap: float
    relative: float
    worse_by: float
    right: tuple[int, int]
    net: int
    changed: int
    best_p: float
    likely_p: float
    clustered_p: float | None
    smallest: float
    smallest_by_seeds: dict[int, float]
    luck: float
    below_base: bool

    @property
    def told_apart(self) -> bool:
        """Whether the two checkpoints differ beyond the items, under every assumption made here."""
        return max(self.likely_p, self.clustered_p or 0.0) <= LEVEL


def load(name: str) -> Published:
    """Return a published table by name.

    Raises:
        InputError: unknown name, or a file that is wrong.
    """
    known = layout.names("training", "published")
    if name not in known:
        raise InputError(f"There is no published table named '{name}'.{nearest(name, known)}")
    try:
        return Published.model_validate(tomllib.loads(known[name].read_text(encoding="utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{known[name]}: {error}") from None


def supports(table: Published) -> list[Support]:
    """Return what every line of a table can support."""
    return [_support(task, table.assumptions) for task in table.tasks]


def _support(task: PublishedTask, assumed: Assumptions) -> Support:
    from scipy.special import ndtr, ndtri  # slow to import

    gap = task.treated - task.reference
    right = tuple(round(task.items * score / 100) for score in (task.reference, task.treated))
    net = right[1] - right[0]
    changed = max(abs(net), round(assumed.changed * task.items))
    # Gains and losses are whole numbers: their sum and difference are both even or both odd.
    changed += (changed - net) % 2
    share = assumed.changed * 100**2 / task.items
    # As many items as the gap has to have changed, whatever is assumed.
    least = max(assumed.changed, abs(gap) / 100)
    error = math.sqrt((least - (gap / 100) ** 2) / task.items) * 100
    critical = float(ndtri(1 - LEVEL / 2))
    clustered = None
    if task.cluster is not None and error > 0:
        clustered = 2 * float(ndtr(-abs(gap) / (assumed.cluster_factor * error)))
    return Support(
        task=task,
        gap=gap,
        relative=gap / task.reference,
        worse_by=gap / task.treated,
        right=(right[0], right[1]),
        net=net,
        changed=changed,
        best_p=compare.flipped(max(net, 0), max(-net, 0)),
        likely_p=compare.flipped((changed + net) // 2, (changed - net) // 2),
        clustered_p=clustered,
        smallest=_smallest(task, assumed, 1),
        smallest_by_seeds={seeds: _smallest(task, assumed, seeds) for seeds in assumed.seeds},
        luck=math.sqrt(max(0.0, (gap / critical) ** 2 - share) / 2),
        below_base=max(task.reference, task.treated) < task.base,
    )


def _smallest(task: PublishedTask, assumed: Assumptions, seeds: int) -> float:
    """Return the smallest gap, in points, that so many paired seeds find; of one seed, over items alone."""
    design = compare.Design(
        items=task.items, seeds=seeds, changed=assumed.changed, seed_sd=assumed.seed_sd / 100, persists=1.0
    )
    return 100 * compare.planned(design, method=compare.Method.PAIRED_RUNS, confidence=1 - LEVEL, power=POWER)
