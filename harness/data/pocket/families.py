"""The four families side by side, and the items that training text must never contain.

Owns the numbers of items and the split into test and dev. Does not know any wording.
Invariant: no prompt of a test or dev item is ever returned by `fresh`.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

from harness.data.pocket import choices, programs, reading, reasoning
from harness.data.pocket.world import VERSION, Dice, Exercise
from harness.errors import InputError, nearest

FAMILIES: dict[str, ModuleType] = {
    "pocket_mmlu": choices,
    "pocket_bbh": reasoning,
    "pocket_humaneval": programs,
    "pocket_drop": reading,
}
#: Items of each subtask in the test split; the dev split (few-shots) has DEV of each.
SIZES = {
    "pocket_mmlu": (30,) * 7,
    "pocket_bbh": (70, 70, 70),
    "pocket_humaneval": (15, 45, 30, 45, 30),
    "pocket_drop": (
        85,
        85,
        30,
    ),  # sums are out of the base model's reach: a few, so that there is something to gain
}
DEV = 5


def subtasks(family: str) -> tuple[str, ...]:
    """Return the subtask names of a family, in their fixed order."""
    if family not in FAMILIES:
        raise InputError(f"pocket has no family '{family}'.{nearest(family, FAMILIES)}")
    names: tuple[str, ...] = FAMILIES[family].SUBTASKS
    return names


@cache
def exercises(family: str) -> dict[str, tuple[Exercise, ...]]:
    """Return all items of a family under their split, "dev" and "test", all prompts different."""
    seen: set[str] = set()
    splits: dict[str, list[Exercise]] = {"dev": [], "test": []}
    for subtask, size in zip(subtasks(family), SIZES[family], strict=True):
        dice = Dice(VERSION, "items", family, subtask)
        for split, count in (("dev", DEV), ("test", size)):
            while count:
                exercise: Exercise = FAMILIES[family].draw(dice, subtask)
                if exercise.prompt not in seen:
                    seen.add(exercise.prompt)
                    splits[split].append(exercise)
                    count -= 1
    return {split: tuple(found) for split, found in splits.items()}


@cache
def held_out(family: str) -> frozenset[str]:
    """Return the prompts of all test and dev items of a family."""
    return frozenset(exercise.prompt for split in exercises(family).values() for exercise in split)


def fresh(dice: Dice, family: str, subtask: str) -> Exercise:
    """Draw an exercise for training text: any but the held-out ones."""
    while True:
        exercise: Exercise = FAMILIES[family].draw(dice, subtask)
        if exercise.prompt not in held_out(family):
            return exercise


def rows(family: str, split: str) -> list[dict[str, Any]]:
    """Return the items of a split as rows for a task, each with a stable `item_id`."""
    found = exercises(family)
    if split not in found:
        raise InputError(f"{family} has no split '{split}'.{nearest(split, found)}")
    counters: dict[str, int] = {}
    made = []
    for exercise in found[split]:
        number = counters[exercise.subtask] = counters.get(exercise.subtask, -1) + 1
        item_id = f"{family}/{exercise.subtask}/{split}/{number}"
        row = {"item_id": item_id, **exercise.columns}
        if family == "pocket_humaneval":
            row["task_id"] = item_id
        made.append(row)
    return made
