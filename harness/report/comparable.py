"""Which rows of a leaderboard may be ranked together.

Owns what makes entries comparable, the merging of entries that are the same checkpoints, and the entry over all tasks.
Does not read records (see `harness.commands.leaderboard`) and ranks nothing (see `leaderboard`). Invariant: two
entries of one group were asked the same prompts about the same items under the same conditions; nothing depends on
their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.canonical import digest

Floats = np.ndarray[Any, np.dtype[np.float64]]

ALL_TASKS = "all tasks"
"""Name of the board over all tasks."""

SHARED = ("aspect", "profile", "limit", "engine", "dtype", "max_length")
"""Conditions in which the tasks of a score over all tasks agree: refusals are no capability."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Origin:
    """Where a row comes from: a study, one run of it (such as "pocket/whole") and an arm."""

    study: str
    run: str
    arm: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Entry:
    """One arm of one run on one task.

    Attributes:
        origins: who had it; several where studies share checkpoints.
        treatment: what was done to its chats, in words.
        filter: the rule pack that its treatment rests on; empty where none does.
        base: the base model's name.
        seeds: training seeds; empty for a base.
        chats, supervised_tokens: of one run.
        weights, answers: digests of the weights and of the answers, one per run.
        task, title, metric, chance: what was asked; chance is the score of guessing, 0 to 1.
        conditions: what must agree for rows to be ranked together, by name.
        items, clusters, prompts: one per item, in the order of the sorted items.
        counts: what every item counts in the average, mean 1 [items].
        scores: [runs, items], NaN where an item has none.
        factor, offset: what turns the average into the score that is shown: average / factor - offset.
    """

    origins: tuple[Origin, ...]
    treatment: str
    filter: str
    base: str
    seeds: tuple[int, ...]
    chats: int
    supervised_tokens: int
    weights: tuple[str, ...]
    answers: tuple[str, ...]
    task: str
    title: str
    metric: str
    chance: float
    conditions: Mapping[str, str]
    items: Sequence[str]
    clusters: Sequence[str]
    prompts: Sequence[str]
    counts: Floats
    scores: Floats
    factor: float = 1.0
    offset: float = 0.0

    @property
    def checkpoints(self) -> frozenset[tuple[str, str]]:
        """(weights, answers) of every run: entries with the same ones are the same."""
        return frozenset(zip(self.weights, self.answers, strict=True))


def name_of(entry: Entry) -> str:
    """Return the arms of an entry with their studies, such as "clean (pocket)"; of many the first ones."""
    arms = list(dict.fromkeys(origin.arm for origin in entry.origins))
    studies = list(dict.fromkeys(origin.study for origin in entry.origins))
    return f"{_first(arms, ' = ')} ({_first(studies, ', ')})"


def _first(names: list[str], between: str) -> str:
    more = len(names) - _NAMED
    return between.join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


# Arms and studies that a row's name has at most.
_NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Entries of one board, what is said of those that cannot be on it, and all of them."""

    entries: tuple[Entry, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    any_of: tuple[Entry, ...] = ()


def groups(entries: Iterable[Entry]) -> list[Group]:
    """Return what may be ranked together: first over all tasks, then task by task, the larger ones first."""
    alike: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        alike.setdefault((entry.task, digest("conditions", dict(entry.conditions))), []).append(entry)
    merged = {place: _merged(own) for place, own in alike.items()}
    order = sorted(merged, key=lambda place: (place[0], -len(merged[place]), place[1]))
    single = [_sound(merged[place]) for place in order]
    return [*_over_all(single), *single]


def _merged(entries: Sequence[Entry]) -> list[Entry]:
    """Merge entries with the same checkpoints, and those whose checkpoints another one has all of."""
    found: list[Entry] = []
    origins: list[set[Origin]] = []
    owners: dict[tuple[str, str], list[int]] = {}
    for entry in sorted(entries, key=lambda one: (-len(one.checkpoints), one.origins)):
        own = entry.checkpoints
        known = owners.get(min(own), [])
        owner = next((place for place in known if own <= found[place].checkpoints), None)
        if owner is None:
            for checkpoint in own:
                owners.setdefault(checkpoint, []).append(len(found))
            found.append(entry)
            origins.append(set(entry.origins))
        else:
            origins[owner].update(entry.origins)
    return [replace(entry, origins=tuple(sorted(own))) for entry, own in zip(found, origins, strict=True)]


def _sound(entries: Sequence[Entry]) -> Group:
    """Set apart entries without a score for every item: left out of a mean, an item would flatter its arm."""
    sound, left_out = [], []
    for entry in entries:
        missing = np.isnan(entry.scores).any(axis=0)
        outside = ((entry.scores < 0) | (entry.scores > 1)).any(axis=0)
        if missing.any():
            count, item = int(missing.sum()), entry.items[int(np.argmax(missing))]
            left_out.append((name_of(entry), f"{count} items have no {entry.metric}, such as '{item}'"))
        elif outside.any():
            item = entry.items[int(np.argmax(outside))]
            left_out.append((name_of(entry), f"the {entry.metric} of item '{item}' is not between 0 and 1"))
        else:
            sound.append(entry)
    return Group(entries=tuple(sound), left_out=tuple(left_out), any_of=tuple(entries))


def _over_all(singles: Sequence[Group]) -> list[Group]:
    """Return one group for every set of boards, one per task, that the same checkpoints are on.

    All tasks that were asked under the same profile, limit and engine have to be among them: a mean over fewer tasks
    is another score.
    """
    series: dict[str, dict[str, list[Group]]] = {}
    for group in singles:
        one = group.any_of[0]
        shared = digest("series", {name: one.conditions.get(name, "") for name in SHARED})
        series.setdefault(shared, {}).setdefault(one.task, []).append(group)
    found = []
    for tasks in series.values():
        # Under the same weights, answers that differ (another machine) are rows of their own: here the first counts.
        by_weights: dict[tuple[str, ...], dict[str, tuple[int, Entry]]] = {}
        for task, groups in sorted(tasks.items()):
            for place, group in enumerate(groups):
                for entry in group.entries:
                    by_weights.setdefault(tuple(sorted(entry.weights)), {}).setdefault(task, (place, entry))
        together: dict[tuple[int, ...], list[Entry]] = {}
        lacking = []
        for _, parts in sorted(by_weights.items()):
            own = [entry for _, entry in parts.values()]
            if len(parts) == len(tasks) > 1:
                together.setdefault(tuple(place for place, _ in parts.values()), []).append(_joined(own))
            else:
                titles = sorted(groups[0].any_of[0].title for task, groups in tasks.items() if task not in parts)
                lacking.append((name_of(own[0]), f"has no score on {', '.join(titles)}"))
        for number, (_, group_entries) in enumerate(sorted(together.items(), key=lambda one: (-len(one[1]), one[0]))):
            found.append(Group(entries=tuple(group_entries), left_out=() if number else tuple(sorted(lacking))))
    return found


def _joined(parts: Sequence[Entry]) -> Entry:
    """Return the entry over several tasks: every task counts alike, however many items it has.

    The mean over tasks of (score - chance) / (1 - chance). `counts` give every item its share of that, times the
    factor that keeps the average of items within 0 to 1. Items of all tasks and runs are then compared at once, so
    that what the seeds do to several tasks together is seen.
    """
    total = sum(len(part.items) for part in parts)
    factor = len(parts) / sum(1 / (1 - part.chance) for part in parts)
    shares = [factor / (1 - part.chance) * total / (len(parts) * len(part.items)) for part in parts]
    # Row s of two arms stands for the same training seed: the first task's order holds for all.
    orders = [_order(parts[0].weights, part.weights) for part in parts]
    answers = [[part.answers[place] for place in order] for part, order in zip(parts, orders, strict=True)]
    return replace(
        parts[0],
        origins=tuple(sorted({origin for part in parts for origin in part.origins})),
        answers=tuple(digest("answers", list(own)) for own in zip(*answers, strict=True)),
        task=ALL_TASKS,
        title=", ".join(part.title for part in parts),
        metric="chance-corrected mean",
        chance=0.0,
        conditions={name: parts[0].conditions.get(name, "") for name in SHARED}
        | {f"board of {part.title}": digest("conditions", dict(part.conditions)) for part in parts},
        items=[f"{part.task} {item}" for part in parts for item in part.items],
        clusters=[f"{part.task} {cluster}" for part in parts for cluster in part.clusters],
        prompts=[prompt for part in parts for prompt in part.prompts],
        counts=np.concatenate([part.counts * share for part, share in zip(parts, shares, strict=True)]),
        scores=np.concatenate([part.scores[order] for part, order in zip(parts, orders, strict=True)], axis=1),
        factor=factor,
        offset=sum(part.chance / (1 - part.chance) for part in parts) / len(parts),
    )


def _order(wanted: Sequence[str], given: Sequence[str]) -> list[int]:
    """Return the places of `given` that make it `wanted`; both have the same weights."""
    places: dict[str, list[int]] = {}
    for place, one in enumerate(given):
        places.setdefault(one, []).append(place)
    return [places[one].pop(0) for one in wanted]
