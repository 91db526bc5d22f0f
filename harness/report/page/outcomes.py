"""How every item came out under both arms, seed by seed, and which ones flipped.

Owns the pairing of score sets for the browser of items. Decides nothing about gaps. Invariant: an item is flipped
where, under one seed, both arms have a score and the two differ; an item that one arm lacks is kept and has no score
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.result import Result, ScoreSet, TaskRow

SAME = 1e-9
"""Scores closer than this are equal: a mean of samples may differ in its last digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The two checkpoints that one seed compares; the base is one checkpoint for all seeds."""

    name: str
    reference: tuple[str, int | None]
    treated: tuple[str, int | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """The scores of a task's items.

    Attributes:
        items: ids; every list of scores is in their order.
        subjects: the subject or subtask of every item, for people.
        clusters: what the items share, such as a passage.
        runs: one per seed.
        reference, treated: [runs][items]; None where a checkpoint has no score.
        asked: whether both arms of every run were asked in the same words, by item.
    """

    task: str
    title: str
    metric: str
    items: tuple[str, ...]
    subjects: tuple[str, ...]
    clusters: tuple[str, ...]
    runs: tuple[Run, ...]
    reference: tuple[tuple[float | None, ...], ...]
    treated: tuple[tuple[float | None, ...], ...]
    asked: tuple[bool, ...]

    def flipped(self) -> list[int]:
        """Return the places of the items that flipped under any seed."""
        return [
            place
            for place in range(len(self.items))
            if any(_differ(one[place], other[place]) for one, other in zip(self.reference, self.treated, strict=True))
        ]


def leaf_of(item: str) -> str:
    """Return the beginning of an item's id that its subtask gave it, with the slash; empty where there is none."""
    leaf, slash, _ = item.partition("/")
    return leaf + slash if slash else ""


def outcomes(result: Result) -> list[Outcomes]:
    """Return the outcomes of all tasks of which the result has items' scores, in their order."""
    found = [_outcomes(row, result) for row in result.tasks]
    return [one for one in found if one is not None]


def _outcomes(row: TaskRow, result: Result) -> Outcomes | None:
    sets = {(one.arm, one.seed): one for one in result.scores if one.task == row.task}

    def place(arm: str, seed: int) -> tuple[str, int | None]:
        return (arm, seed) if (arm, seed) in sets else (arm, None)

    runs = tuple(
        Run(name=str(seed), reference=place(result.reference, seed), treated=place(result.treated, seed))
        for seed in result.seeds
        if place(result.reference, seed) in sets and place(result.treated, seed) in sets
    )
    if not runs:
        return None
    clusters: dict[str, str] = {}
    subjects: dict[str, str] = {}
    for run in runs:
        for one in (sets[run.reference], sets[run.treated]):
            clusters |= zip(one.items, one.clusters, strict=True)
            subjects |= zip(one.items, one.subtasks or (row.task,) * len(one.items), strict=True)
    items = tuple(clusters)
    prompts = {checkpoint: dict(zip(one.items, one.prompts, strict=True)) for checkpoint, one in sets.items()}
    return Outcomes(
        task=row.task,
        title=row.title,
        metric=row.metric,
        items=items,
        subjects=tuple(subjects.values()),
        clusters=tuple(clusters.values()),
        runs=runs,
        reference=tuple(_scores(sets[run.reference], row.metric, items) for run in runs),
        treated=tuple(_scores(sets[run.treated], row.metric, items) for run in runs),
        asked=tuple(
            all(prompts[run.reference].get(item) == prompts[run.treated].get(item) for run in runs) for item in items
        ),
    )


def _scores(one: ScoreSet, metric: str, items: Sequence[str]) -> tuple[float | None, ...]:
    values = one.metrics.get(metric, (None,) * len(one.items))
    known = dict(zip(one.items, values, strict=True))
    return tuple(known.get(item) for item in items)


def _differ(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) > SAME
