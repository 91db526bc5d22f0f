"""The use case behind `harness predictions`: what a study's checkpoints answered, item by item.

Owns how an item is found by a part of its name and how two arms are laid side by side. Asks and scores nothing.
Invariant: it shows what the records and objects hold; what is not there is named, never made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.commands.ablate import Ablation
from harness.errors import InputError
from harness.evaluate.requests import Request
from harness.store.files import read_jsonl
from harness.study.choice import score_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What one checkpoint answered to one item, and what that was worth.

    Attributes:
        answers: one per sample, as stored.
        extracted: what scoring read in them, by filter.
        prompt: digest of the prompt that was sent; it differs between arms only where one lost shots.
    """

    arm: str
    seed: int | None
    answers: tuple[Mapping[str, Any], ...]
    extracted: Mapping[str, Any]
    scores: Mapping[str, float]
    prompt: str
    shots: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One item with what the checkpoints answered."""

    task: str
    item: str
    primary: str
    request: Request
    given: tuple[Given, ...]


class Inspection:
    """A study's stored answers."""

    def __init__(self, ablation: Ablation) -> None:
        self._ablation = ablation

    def item(self, name: str, *, arms: Sequence[str] = (), seed: int | None = None) -> list[Shown]:
        """Return an item under every definition that has it.

        Args:
            name: the item's name, its end, or any part that no other item has.
            arms: which ones; empty = all of the choice.
            seed: training seed; None = the first.

        Raises:
            InputError: no item or several have that name, or the study has not been evaluated.
        """
        choice = self._ablation.choice
        every = [(task, row["item"]) for task in choice.definitions for row in self._items(task)]
        exact = [(task, item) for task, item in every if item == name or item.endswith((f"/{name}", f"::{name}"))]
        found = exact or [(task, item) for task, item in every if name in item]
        if not found:
            raise InputError(
                f"No item of study '{self._ablation.study.name}' is named '{name}'. `harness predictions diff` prints"
                " the names of items."
            )
        if len({item for _, item in found}) > 1:
            some = ", ".join(sorted({item for _, item in found})[:5])
            raise InputError(f"{len(found)} items are named like '{name}', such as {some}. Give more of the name.")
        return [self._shown(task, {item}, arms or choice.arms, seed)[item] for task, item in found]

    def differing(self, task: str, *, seed: int | None = None) -> Iterator[Shown]:
        """Yield the items of a definition on which the pair's scores differ, in order of the items.

        Raises:
            InputError: no such definition in the choice, or it has not been evaluated.
        """
        choice = self._ablation.choice
        pair = (choice.reference, choice.treated)
        shown = self._shown(task, None, pair, seed)
        for row in self._items(task):
            one = shown[row["item"]]
            values = {given.scores.get(one.primary) for given in one.given}
            if len(values) > 1:
                yield one

    def _items(self, task: str) -> list[dict[str, Any]]:
        return list(read_jsonl(self._folder(f"items/{task}") / "items.jsonl"))

    def _shown(self, task: str, only: set[str] | None, arms: Sequence[str], seed: int | None) -> dict[str, Shown]:
        requests: dict[str, Request] = {}
        for raw in read_jsonl(self._folder(f"items/{task}") / "requests.jsonl"):
            if only is None or raw["item"] in only:
                requests.setdefault(raw["item"], Request.from_row(raw))
        info = self._ablation.infos[task]
        given: dict[str, list[Given]] = {item: [] for item in requests}
        for arm in arms:
            own = self._seed(arm, seed)
            scores = {
                row["item"]: row
                for row in read_jsonl(self._folder(score_name(arm, own, task)) / "scores.jsonl")
                if row["item"] in requests
            }
            answers: dict[str, list[dict[str, Any]]] = {}
            for row in read_jsonl(self._folder(score_name(arm, own, task, kind="predict")) / "answers.jsonl"):
                if row["item"] in requests:
                    answers.setdefault(row["item"], []).append(row)
            for item, rows in answers.items():
                given[item].append(
                    Given(
                        arm=arm,
                        seed=own,
                        answers=tuple(rows),
                        extracted=scores[item].get("extracted", {}),
                        scores=scores[item]["scores"],
                        prompt=rows[0]["prompt"],
                        shots=rows[0]["shots"],
                    )
                )
        return {
            item: Shown(task=task, item=item, primary=info.primary, request=requests[item], given=tuple(given[item]))
            for item in requests
        }

    def _seed(self, arm: str, seed: int | None) -> int | None:
        """Return the seed of an arm's checkpoint: of an arm with seeds of its own the one in the same place."""
        choice = self._ablation.choice
        if seed is not None and seed not in choice.seeds:
            raise InputError(f"Seed {seed} is none of the study's: {', '.join(map(str, choice.seeds))}.")
        own = choice.seeds_of(arm)
        return own[0 if seed is None else choice.seeds.index(seed)] if own else None

    def _folder(self, stage: str) -> Path:
        """Return the folder of a stage that has run."""
        record = self._ablation.runner.peek(stage)
        if record is None:
            raise InputError(
                f"Stage '{stage}' of study '{self._ablation.study.name}' has not run in {self._ablation.store.root}:"
                " run `harness ablate` with the same study, tasks, --limit and --profile first."
            )
        folder = self._ablation.store.objects.get(record.output)
        if folder is None:
            raise InputError(
                f"The answers of stage '{stage}' are recorded but not kept in {self._ablation.store.root / 'objects'}"
                " (a ledger alone was copied, or they were removed). `harness ablate` makes them again."
            )
        return folder
