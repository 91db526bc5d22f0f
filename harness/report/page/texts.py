"""Prompts and answers of items, read from the objects of a run's records.

Owns which files of which stages hold them. Cuts and escapes nothing (see `payload`, `shell`). Invariant: it reads what
is kept and makes nothing; a task of which an object is gone has no texts at all, so that no half
of a comparison is shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.report.page.outcomes import Outcomes, leaf_of
from harness.store import Objects, Record
from harness.store.files import read_jsonl
from harness.study.choice import score_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a checkpoint is asked about an item.

    Attributes:
        shared: places in `Texts.shared` of what the prompt begins with, in order; the rest is `own`.
        choices: continuations that are scored; with their contexts where these differ. Empty where text is generated.
    """

    shared: tuple[int, ...]
    own: str
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """What a checkpoint answered: a text, or the log-probability of every choice.

    Attributes:
        finish: "stop", "end" or "length" of a generated text.
        extracted: what scoring read in the answer, by filter.
        shots: examples in the prompt that was sent.
        samples: how many answers there are; the first is shown.
    """

    text: str
    logprobs: tuple[float, ...]
    finish: str
    extracted: Mapping[str, Any]
    shots: int
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """The texts of some items of a task; `answers` by checkpoint (arm, seed) and item."""

    shared: tuple[str, ...]
    asked: Mapping[str, Asked]
    answers: Mapping[tuple[str, int | None], Mapping[str, Said]]


@dataclass(slots=True)
class _Beginnings:
    """The longest common beginnings of prompts, by what they belong to."""

    found: dict[str, tuple[str, int]] = field(default_factory=dict)

    def see(self, group: str, text: str) -> None:
        begin, count = self.found.get(group, (text, 0))
        if not text.startswith(begin):
            begin = begin[: _common(begin, text)]
        self.found[group] = (begin, count + 1)

    def of(self, group: str) -> str:
        """Return the beginning up to the end of a line; empty for a group of one, whose beginning is all of it."""
        begin, count = self.found.get(group, ("", 0))
        return begin[: begin.rfind("\n") + 1] if count > 1 else ""


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def load(tasks: Sequence[Outcomes], records: Mapping[str, Record], objects: Objects) -> dict[str, Texts]:
    """Return the texts of all items that flipped, by task; without the tasks whose objects are not kept.

    Args:
        records: of the run, by stage name.
    """
    found = {}
    for one in tasks:
        wanted = {one.items[place] for place in one.flipped()}
        checkpoints = dict.fromkeys(checkpoint for run in one.runs for checkpoint in (run.reference, run.treated))
        names = [f"items/{one.task}"]
        for arm, seed in checkpoints:
            names += [score_name(arm, seed, one.task, kind=kind) for kind in ("predict", "score")]
        folders = {name: _folder(name, records, objects) for name in names}
        kept = {name: folder for name, folder in folders.items() if folder is not None}
        if len(kept) < len(names):
            continue
        shared, asked = _prompts(kept[names[0]], wanted, dict(zip(one.items, one.clusters, strict=True)))
        found[one.task] = Texts(
            shared=shared,
            asked=asked,
            answers={
                (arm, seed): _answers(
                    kept[score_name(arm, seed, one.task, kind="predict")], kept[score_name(arm, seed, one.task)], wanted
                )
                for arm, seed in checkpoints
            },
        )
    return found


def _folder(stage: str, records: Mapping[str, Record], objects: Objects) -> Path | None:
    return objects.get(records[stage].output) if stage in records else None


def _prompts(
    folder: Path, wanted: Collection[str], clusters: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, Asked]]:
    """Return the shared beginnings of prompts and what remains of each; the first sample of an item stands for all."""
    raw: dict[str, tuple[str, tuple[str, ...]]] = {}
    leaves, passages, seen = _Beginnings(), _Beginnings(), set()
    for row in read_jsonl(folder / "requests.jsonl"):
        item, contexts, choices = row["item"], row["contexts"], row["continuations"]
        if item in seen:
            continue
        seen.add(item)
        prompt = contexts[0] if len(contexts) == 1 else ""
        if prompt:
            leaves.see(leaf_of(item), prompt)
            passages.see(clusters.get(item, item), prompt)
        else:
            choices = [context + choice for context, choice in zip(contexts, choices, strict=True)]
        if item in wanted:
            raw[item] = prompt, tuple(choices)
    places: dict[str, int] = {}
    asked = {}
    for item, (prompt, choices) in raw.items():
        first = leaves.of(leaf_of(item))
        rest = prompt[len(first) :]
        second = passages.of(clusters.get(item, item))[len(first) :]
        parts = [part for part in (first, second) if part]
        asked[item] = Asked(
            shared=tuple(places.setdefault(part, len(places)) for part in parts),
            own=rest[len(second) :],
            choices=choices,
        )
    return tuple(places), asked


def _answers(predictions: Path, scores: Path, wanted: Collection[str]) -> dict[str, Said]:
    extracted = {
        row["item"]: row.get("extracted", {}) for row in read_jsonl(scores / "scores.jsonl") if row["item"] in wanted
    }
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in read_jsonl(predictions / "answers.jsonl"):
        if row["item"] in wanted:
            rows.setdefault(row["item"], []).append(row)
    return {
        item: Said(
            text=own[0]["text"],
            logprobs=tuple(own[0]["logprobs"]),
            finish=own[0]["finish"],
            extracted=extracted.get(item, {}),
            shots=own[0]["shots"],
            samples=len(own),
        )
        for item, own in rows.items()
    }
