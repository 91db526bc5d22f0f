"""Overlap of chats with benchmark items: which chats hold a passage of which item.

Owns the index of the items' word runs and the scan. Does not drop (see `filters`). Invariant: a chat and an item match
exactly when they share a run of `words` consecutive words, or the whole of a text of the item that has fewer, but at
least `SHORT`; after case folding and without punctuation. Prompts of safety tasks, many of which are shorter, match
where a user says the whole of one (`asked`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from harness.data.cleaning.words import BATCH, Words, batches, normalised, runs, split, spoken
from harness.nouns import Chat, Role

if TYPE_CHECKING:
    from harness.data.cleaning.words import Hashes, Places

#: A text with fewer words says nothing: "which of the following is true" is in chats by chance.
SHORT = 8
_BITS = 26
_SAMPLE = 24
_CACHED = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A chat that shares words with an item.

    Attributes:
        chat_id: the chat.
        task, item: the item.
        words: length of the longest shared run.
        sample: the beginning of that run, normalised, for people: stock phrases look like what they are.
    """

    chat_id: str
    task: str
    item: str
    words: int
    sample: str


class Items:
    """The runs of words of benchmark items, for looking up.

    Attributes:
        words: length of the runs.
        too_short: per task, items of which no text has enough words to match.
        counts: per task, the number of items.
    """

    def __init__(self, texts: Mapping[str, Iterable[tuple[str, str]]], *, words: int) -> None:
        """Index {task: (item, text) pairs}; an item may have several texts, each matched by itself."""
        self.words = words
        self._names: list[tuple[str, str]] = []
        self.counts: dict[str, int] = {}
        # Items share texts (all questions of a DROP passage): each is indexed once.
        readers: dict[bytes, list[int]] = {}
        for task, pairs in texts.items():
            numbers: dict[str, int] = {}
            for item, text in pairs:
                number = numbers.setdefault(item, len(self._names))
                if number == len(self._names):
                    self._names.append((task, item))
                readers.setdefault(normalised(text), []).append(number)
            self.counts[task] = len(numbers)
        self._texts, self._readers = list(readers), list(readers.values())
        self._index(min(SHORT, words))
        self._words_of = lru_cache(_CACHED)(lambda text: split([self._texts[text]]).hashes)

    def _index(self, short: int) -> None:
        """Make the tables of runs, and of the first words of short texts; count the items that are in neither."""
        import numpy as np

        long, heads, lengths = _Table(self.words), _Table(short), []
        first = 0
        for batch in batches(self._texts):
            words = split(batch)
            sizes = np.diff(words.starts)
            lengths.append(sizes)
            hashes, places, owners = _within(words, self.words)
            long.add(hashes[places], first + owners)
            hashes, places, owners = _within(words, short)
            opens = (places == words.starts[owners]) & (sizes[owners] < self.words)
            heads.add(hashes[places[opens]], first + owners[opens])
            first += len(batch)
        self._long, self._heads = long.sealed(), heads.sealed()
        self._lengths = np.concatenate([*lengths, np.empty(0, np.int64)])
        told = {item for text in np.flatnonzero(self._lengths >= short).tolist() for item in self._readers[text]}
        self.too_short = dict.fromkeys(self.counts, 0)
        for number, (task, _) in enumerate(self._names):
            self.too_short[task] += number not in told

    def find(self, words: Words) -> Iterator[tuple[int, list[tuple[tuple[str, str], int, int]]]]:
        """Yield (number of the text, its matches) of a batch; a match is (task and item), place, words."""
        shared: dict[int, dict[int, list[int]]] = {}
        for number, place, text in self._long.hits(words):
            shared.setdefault(number, {}).setdefault(text, []).append(place)
        for number, place, text in self._heads.hits(words):
            size = int(self._lengths[text])
            if place + size <= words.starts[number + 1] and self._agrees(words.hashes[place : place + size], text):
                shared.setdefault(number, {}).setdefault(text, []).append(place)
        for number, by_text in sorted(shared.items()):
            best: dict[int, tuple[int, int]] = {}
            for text, places in by_text.items():
                place, length = self._longest(words.hashes, places, text)
                for item in self._readers[text]:
                    if item not in best or length > best[item][1]:
                        best[item] = place, length
            ranked = sorted(best.items(), key=lambda one: (one[1][0], one[0]))
            yield number, [(self._names[item], place, length) for item, (place, length) in ranked]

    def _agrees(self, hashes: Hashes, text: int) -> bool:
        own = self._words_of(text)
        return len(own) == len(hashes) and bool((own == hashes).all())

    def _longest(self, hashes: Hashes, places: list[int], text: int) -> tuple[int, int]:
        """Return the place and length of the longest run of the text in a chat whose runs at `places` it has.

        Consecutive runs may be from all over the text: twenty zeros are not in a text of fourteen.
        """
        own = self._words_of(text)
        if len(own) < self.words:
            return places[0], len(own)
        best = places[0], self.words
        for start, count in sorted(_stretches(places), key=lambda one: (-one[1], one[0])):
            size = count + self.words - 1
            if size <= best[1]:
                break
            offset, length = _shared_run(hashes[start : start + size], own, at_least=self.words)
            if length > best[1]:
                best = start + offset, length
        return best


class _Table:
    """Runs of one length, and the texts that have them."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._parts: list[tuple[Hashes, Places]] = []

    def add(self, hashes: Hashes, owners: Places) -> None:
        self._parts.append((hashes, owners))

    def sealed(self) -> _Table:
        """Sort what was added; owners must have come in rising order."""
        import numpy as np

        hashes = np.concatenate([*(part[0] for part in self._parts), np.empty(0, np.uint64)])
        owners = np.concatenate([*(part[1] for part in self._parts), np.empty(0, np.int64)])
        self._parts = []
        order = np.argsort(hashes, kind="stable")
        hashes, owners = hashes[order], owners[order]
        new = np.ones(len(hashes), bool)
        new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
        self._hashes, self._owners = hashes[new], owners[new]
        # One bit per slot answers "surely not" for nearly every run of a chat without a search.
        self._slots = np.zeros(1 << _BITS, dtype=bool)
        self._slots[self._hashes >> np.uint64(64 - _BITS)] = True
        return self

    def hits(self, words: Words) -> Iterator[tuple[int, int, int]]:
        """Yield (number of the text in the batch, place in the batch, text of this table) by place."""
        import numpy as np

        if not len(self._hashes):
            return
        hashes = runs(words.hashes, self._length)
        places = np.flatnonzero(self._slots[hashes >> np.uint64(64 - _BITS)])
        first = np.searchsorted(self._hashes, hashes[places], side="left")
        last = np.searchsorted(self._hashes, hashes[places], side="right")
        numbers = np.searchsorted(words.starts, places, side="right") - 1
        inside = (last > first) & (places + self._length <= words.starts[numbers + 1])
        rows = (array[inside].tolist() for array in (numbers, places, first, last))
        for number, place, start, end in zip(*rows, strict=True):
            for text in self._owners[start:end].tolist():
                yield number, place, text


def scan(chats: Iterable[Chat], items: Items) -> Iterator[Match]:
    """Yield every match of chats with items, chat by chat, items in the order of their longest shared run."""
    for group in _grouped(chats):
        words = split([normalised(spoken(chat)) for chat in group])
        for number, matches in items.find(words):
            for (task, item), place, length in matches:
                sample = " ".join(words.said(place, min(length, _SAMPLE)).split())
                yield Match(chat_id=group[number].id, task=task, item=item, words=length, sample=sample)


def asked(chats: Iterable[Chat], prompts: Mapping[str, Iterable[tuple[str, str]]]) -> Iterator[Match]:
    """Yield a match for every chat with a user turn that is a prompt, the whole of it, however short.

    Args:
        prompts: {task: (item, prompt) pairs}.
    """
    known: dict[bytes, list[tuple[str, str]]] = {}
    for task, pairs in prompts.items():
        for item, prompt in pairs:
            known.setdefault(_whole(prompt), []).append((task, item))
    known.pop(b"", None)
    for chat in chats:
        turns = dict.fromkeys(_whole(turn.text) for turn in chat.turns if turn.role is Role.USER)
        for text in turns:
            for task, item in known.get(text, ()):
                sample = " ".join(text.decode("utf-8", "replace").split()[:_SAMPLE])
                yield Match(chat_id=chat.id, task=task, item=item, words=len(text.split()), sample=sample)


def _whole(text: str) -> bytes:
    return b" ".join(normalised(text).split())


def _grouped(chats: Iterable[Chat]) -> Iterator[list[Chat]]:
    group: list[Chat] = []
    size = 0
    for chat in chats:
        group.append(chat)
        size += sum(len(turn.text) for turn in chat.turns)
        if size > BATCH:
            yield group
            group, size = [], 0
    if group:
        yield group


def _within(words: Words, length: int) -> tuple[Hashes, Places, Places]:
    """Return the runs of a batch, the places of those that lie within one text, and the numbers of their texts."""
    import numpy as np

    hashes = runs(words.hashes, length)
    counts = np.maximum(np.diff(words.starts) - length + 1, 0)
    owners = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(len(owners)) + np.repeat(words.starts[:-1] - (np.cumsum(counts) - counts), counts)
    return hashes, places, owners


def _stretches(places: list[int]) -> Iterator[tuple[int, int]]:
    """Yield (start, count) of the stretches of consecutive places."""
    start = places[0]
    for before, place in pairwise([*places, places[-1] + 2]):
        if place != before + 1:
            yield start, before - start + 1
            start = place


def _shared_run(left: Hashes, right: Hashes, *, at_least: int) -> tuple[int, int]:
    """Return where in `left` the longest run of words begins that is in `right` too, and its length.

    A run of `at_least` words must be in both. Part of a shared run is shared, so its length is searched by halving.
    """
    import numpy as np

    def place(length: int) -> int | None:
        found = np.flatnonzero(np.isin(runs(left, length), runs(right, length)))
        return int(found[0]) if len(found) else None

    low, high = at_least, min(len(left), len(right))
    if (whole := place(high)) is not None:
        return whole, high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if place(middle) is None else (middle, high)
    first = place(low)
    assert first is not None
    return first, low
