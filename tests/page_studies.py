"""A result with items, texts, curves, parts and controls, of any size, for the tests of the page and to look at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from test_report import arm, result

from harness import compare
from harness.report.page.texts import Asked, Said, Texts
from harness.report.result import Control, ControlKind, Curve, Part, Result, ScoreSet, TaskRow

ARMS = ("base", "aligned", "clean", "random", "again")
SEEDS = (0, 1, 2)
SHOT = (
    "The following are multiple choice questions (with answers).\n\n"
    + "What is asked?\nA. one\nB. two\nAnswer: A\n\n" * 50
)


def drawn(rate: float, items: int, seed: int, shared: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return 0 and 1 [items], of which most depend on the item alone: about a third of the items flip under a seed."""
    own = np.random.default_rng([seed, int(1000 * rate)]).random(items)
    return ((0.6 * shared + 0.4 * own) < rate).astype(float)


def study(
    tasks: Sequence[tuple[str, int, int]] = (("mmlu", 300, 57), ("drop", 60, 1)),
    *,
    arms: Sequence[str] = ARMS,
    extra: str = "",
    gaps: Sequence[float] = (0.06, -0.05, 0.0, 0.01),
) -> tuple[Result, dict[str, Texts]]:
    """Return a result and the texts of its items.

    Args:
        tasks: (name, items, subjects).
        arms: names: base, reference, treated, and as many controls.
        extra: stands in every prompt, answer and what was read in it.
    """
    rows, scores, texts = [], [], {}
    for number, (name, items, subjects) in enumerate(tasks):
        row, own = _task(name, items, subjects, arms, gaps[number % len(gaps)])
        rows.append(row)
        scores += own
        texts[name] = _texts(own, arms, extra, generated=number % 2 == 1)
    judged = compare.judge({row.task: row.gap for row in rows})
    lucky = compare.judge({row.task: row.controls[-1].gap for row in rows}) if rows[0].controls else None
    smallest = {row.task: 0.021 + 0.01 * number for number, row in enumerate(rows)}
    rows = [
        replace(
            row,
            judgement=replace(judged.tasks[row.task], smallest=smallest[row.task], seeds_needed=8),
            controls=tuple(replace(one, judgement=lucky.tasks[row.task] if lucky else None) for one in row.controls),
        )
        for row in rows
    ]
    shown = result(
        *rows,
        title="A small world with and without refusals",
        reference=arms[1],
        treated=arms[2],
        arms=tuple(
            arm(name, chats=chats, supervised_tokens=chats * 900, steps=chats // 14)
            for name, chats in zip(arms, (0, 1400, 1010, 1010, 1400), strict=False)
        ),
        curves=tuple(
            Curve(arm=name, seed=seed, losses=_losses(place, seed))
            for place, name in enumerate(arms[1:])
            for seed in SEEDS
        ),
        scores=tuple(scores),
    )
    return shown, texts


def dosed(shown: Result, **doses: float) -> Result:
    """Return a result whose arms have these doses."""
    arms = tuple(replace(arm, dose=doses.get(arm.name)) for arm in shown.arms)
    return replace(shown, arms=arms)


def _task(name: str, items: int, subjects: int, arms: Sequence[str], effect: float) -> tuple[TaskRow, list[ScoreSet]]:
    names = [f"{name}_subject_number_{place}" if subjects > 1 else name for place in range(subjects)]
    of = [names[place * subjects // items] for place in range(items)]
    ids = [f"{leaf}/{place:05d}" for place, leaf in enumerate(of)]
    shared = np.random.default_rng(len(name)).random(items)
    rates = (0.4, 0.5, 0.5 + effect, 0.5, 0.5)
    values, sets = {}, []
    for place, (one, rate) in enumerate(zip(arms, rates, strict=False)):
        seeds: Sequence[int | None] = [None] if one == arms[0] else SEEDS
        values[one] = np.array([drawn(rate, items, 10 * place + (seed or 0), shared) for seed in seeds])
        for seed, row in zip(seeds, values[one], strict=True):
            sets.append(
                ScoreSet(
                    arm=one,
                    seed=seed,
                    task=name,
                    items=tuple(ids),
                    clusters=tuple(of),
                    prompts=tuple(ids),
                    subtasks=tuple(leaf.removeprefix(f"{name}_") for leaf in of),
                    metrics={"acc": tuple(map(float, row))},
                )
            )
    reference, treated = values[arms[1]], values[arms[2]]
    clusters = np.array(of) if subjects > 1 else None
    places = {leaf: [at for at, own in enumerate(of) if own == leaf] for leaf in names}
    controls = [
        Control(
            kind=ControlKind.RANDOM if place == 3 else ControlKind.SAME_DATA,
            reference=arms[place] if place == 3 else arms[1],
            treated=arms[2] if place == 3 else arms[place],
            gap=compare.gap(values[arms[place]], treated, clusters)
            if place == 3
            else compare.gap(reference, values[arms[place]], clusters),
        )
        for place in range(3, len(arms))
    ]
    return TaskRow(
        task=name,
        title=name.upper() if name.isidentifier() else name,
        metric="acc",
        chance=0.25,
        items=items,
        scores={one: compare.interval(own, clusters) for one, own in values.items()},
        gap=compare.gap(reference, treated, clusters),
        controls=tuple(controls),
        parts=tuple(
            Part(
                name=leaf.removeprefix(f"{name}_"),
                items=len(own),
                gap=compare.gap(reference[:, own], treated[:, own]),
            )
            for leaf, own in places.items()
        )
        if subjects > 1
        else (),
    ), sets


def _texts(sets: Sequence[ScoreSet], arms: Sequence[str], extra: str, *, generated: bool) -> Texts:
    items = sets[0].items
    return Texts(
        shared=(SHOT,),
        asked={
            item: Asked(
                shared=(0,),
                own=f"Question {item}: {extra} " + "which of these would you say is the case? " * 10,
                choices=() if generated else (" A", " B", f" C{extra}", " D"),
            )
            for item in items
        },
        answers={
            (one.arm, one.seed): {
                item: Said(
                    text=f"I think {item} is {score:g} {extra}" if generated else "",
                    logprobs=() if generated else (-1.5 - score, -2.25, -0.5 - (one.seed or 0), -3.0),
                    finish="stop" if generated else "",
                    extracted={"strict": f"{score:g} {extra}"} if generated else {},
                    shots=5,
                    samples=1,
                )
                for item, score in zip(items, one.metrics["acc"], strict=True)
            }
            for one in sets
            if one.arm in arms[1:3]
        },
    )


def _losses(place: int, seed: int) -> tuple[float, ...]:
    draw = np.random.default_rng([place, seed])
    steps = np.arange(90 + 30 * place)
    return tuple(map(float, 2.2 * np.exp(-steps / 40) + 1.1 + 0.05 * place + 0.06 * draw.standard_normal(len(steps))))
