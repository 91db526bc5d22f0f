"""What the browser of items reads: outcomes of all items, texts of those that flipped, as plain JSON values.

Owns the form of the data in the page and how much of it there is. Invariant: every item's outcome is there whatever its
size; texts are cut in their middle, never silently, and to the same lengths for both arms.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.page.outcomes import Outcomes, leaf_of
from harness.report.page.texts import Said, Texts

ROOM = 8_000_000
"""Characters of texts in a page: a browser reads that many in about 0.1 s."""
LENGTHS = (4000, 2000, 1000, 500, 250)
"""Longest text, from the first of these with which all texts fit; the last one if none does."""
SHARED = 20_000
"""Longest beginning that prompts share; each is there once."""
# One character a score where a task has no more values than this; nothing in it has to be escaped.
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

Cut = str | tuple[str, int, str]


def overview(one: Outcomes, *, kept: bool) -> dict[str, Any]:
    """Return the outcomes of a task.

    Keys: `leaves` and `subjects` (beginnings of ids and names of subtasks, in one order), `of` (their place, by item),
    `ids` (rest of the id, by item), `seeds`, `values` (palette of scores, null = none), `reference` and `treated` (by
    seed: a letter an item, or a list of places where letters do not reach), `unlike` (places of items asked in
    different words), `kept` (whether texts are there).
    """
    parts = [(leaf_of(item), subject) for item, subject in zip(one.items, one.subjects, strict=True)]
    place = {part: index for index, part in enumerate(dict.fromkeys(parts))}
    known = {_rounded(value) for scores in (*one.reference, *one.treated) for value in scores}
    palette: list[float | None] = [*sorted(value for value in known if value is not None)]
    palette += [None] if None in known else []
    letters = {value: index for index, value in enumerate(palette)}

    def encoded(scores: Sequence[float | None]) -> str | list[int]:
        indices = [letters[_rounded(value)] for value in scores]
        return "".join(map(_LETTERS.__getitem__, indices)) if len(palette) <= len(_LETTERS) else indices

    return {
        "task": one.task,
        "title": one.title,
        "metric": one.metric,
        "leaves": [leaf for leaf, _ in place],
        "subjects": [subject for _, subject in place],
        "of": [place[part] for part in parts],
        "ids": [item.removeprefix(leaf_of(item)) for item in one.items],
        "seeds": [run.name for run in one.runs],
        "values": palette,
        "reference": [encoded(scores) for scores in one.reference],
        "treated": [encoded(scores) for scores in one.treated],
        "unlike": [index for index, same in enumerate(one.asked) if not same],
        "kept": kept,
    }


def wording(one: Outcomes, texts: Texts, *, longest: int, room: int) -> tuple[dict[str, Any], int, int]:
    """Return the texts of a task, how many items' texts had no room, and how much room was used.

    Keys: `shared` (beginnings of prompts), `given` (answers, each once), `items`: place of the item -> [places of its
    beginnings, the rest of the prompt, choices, per seed the places of both arms' answers].

    Args:
        longest: characters of one text.
        room: characters of all of them.
    """
    given: dict[str, int] = {}
    rows: dict[str, list[Any]] = {}
    left_out = used = 0
    for place in _by_agreement(one):
        item = one.items[place]
        asked = texts.asked.get(item)
        if asked is None:
            continue
        answers = [
            [
                _answer(said, longest) if (said := texts.answers[checkpoint].get(item)) else None
                for checkpoint in (run.reference, run.treated)
            ]
            for run in one.runs
        ]
        row = [list(asked.shared), cut(asked.own, 2 * longest), [cut(choice, longest) for choice in asked.choices]]
        cost = len(json.dumps([row, answers], ensure_ascii=False))
        if used + cost > room:
            left_out += 1
            continue
        used += cost
        rows[str(place)] = [
            *row,
            [[None if said is None else given.setdefault(said, len(given)) for said in pair] for pair in answers],
        ]
    shared = [cut(text, SHARED) for text in texts.shared]
    return {"shared": shared, "given": [json.loads(said) for said in given], "items": rows}, left_out, used


def length_of_texts(tasks: Mapping[str, Texts]) -> int:
    """Return the longest text with which those of all tasks fit into a page."""
    lengths = [
        size
        for texts in tasks.values()
        for size in (
            *(len(asked.own) // 2 for asked in texts.asked.values() for _ in range(2)),
            *(len(choice) for asked in texts.asked.values() for choice in asked.choices),
            *(len(said.text) + 40 for given in texts.answers.values() for said in given.values()),
        )
    ]
    return next((most for most in LENGTHS if sum(min(size, most) for size in lengths) <= ROOM), LENGTHS[-1])


def cut(text: str, longest: int) -> Cut:
    """Return a text, or its beginning, how many characters are left out, and its end (where answers often stand)."""
    if len(text) <= longest:
        return text
    tail = longest // 3
    return text[: longest - tail], len(text) - longest, text[-tail:]


def _answer(said: Said, longest: int) -> str:
    """Return an answer as JSON text, so that equal ones are found and kept once."""
    row: dict[str, Any] = {"shots": said.shots}
    if said.logprobs:
        row["logprobs"] = [round(value, 3) if math.isfinite(value) else None for value in said.logprobs]
    else:
        row |= {"text": cut(said.text, longest), "finish": said.finish}
    if said.extracted:
        row["extracted"] = {
            name: cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), longest)
            for name, value in said.extracted.items()
        }
    if said.samples > 1:
        row["samples"] = said.samples
    return json.dumps(row, ensure_ascii=False, sort_keys=True)


def _by_agreement(one: Outcomes) -> list[int]:
    """Return the flipped items, those first on which the seeds agree: if there is no room for all, these are shown."""

    def total(place: int) -> float:
        pairs = [(low[place], high[place]) for low, high in zip(one.reference, one.treated, strict=True)]
        return abs(sum(high - low for low, high in pairs if low is not None and high is not None))

    return sorted(one.flipped(), key=lambda place: (-total(place), place))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
