"""Ask a checkpoint: what is stored is not asked, what another process asks is waited for, the rest goes to the engine.

Owns the order of questions, the size of chunks and the wait for other processes. Does not know tasks or how an engine
works. Invariant: an answer is in the store before it is returned, so a kill loses at most the answers that were not
yet written, and no written one is asked again.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.errors import InputError
from harness.evaluate.engines import Setting, Shape
from harness.evaluate.predictions import Claims, Shelf
from harness.evaluate.requests import Answer, Ask, Question, Request

# A chunk is written when it has this many answers or is this old, whichever comes first.
CHUNK = 256
SECONDS = 20.0
# Questions taken at a time; the engine always has another block waiting, so that its batches never drain.
BLOCK = 256


class Answering(Protocol):
    """What is asked: an engine that has one checkpoint's weights."""

    def answers(self, model: Path, blocks: Iterator[Sequence[Request]]) -> Iterator[tuple[Request, Answer]]:
        """Answer blocks of requests in any order; a block is drawn when there is room for it."""
        ...


@dataclass(kw_only=True)
class Told:
    """What became of the questions.

    Attributes:
        answers: by key, those of too long prompts too.
        asked: how many the engine answered now.
        damaged: chunks that were not what was written; set aside and asked again.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: int = 0
    damaged: list[str] = field(default_factory=list)


def ask(
    requests: Iterable[Question],
    *,
    model: Path,
    shelf: Shelf,
    engine: Answering,
    on_answers: Callable[[int, int], None] = lambda done, total: None,
    check: Callable[[], None] = lambda: None,
) -> Told:
    """Return an answer to every request, from the shelf where it has it.

    Args:
        model: the checkpoint's folder.
        on_answers: called with (done, total).
        check: called before answers are stored; raises where the folder is no longer what the shelf is named after.
    """
    wanted = {request.key: request for request in requests}
    told = Told(answers=shelf.find(wanted.values()))
    told.damaged = shelf.damaged
    if len(told.answers) == len(wanted):
        on_answers(len(wanted), len(wanted))
        return told

    def heard() -> None:
        on_answers(len(told.answers), len(wanted))

    with shelf.claims() as claims:
        while missing := [request for key, request in wanted.items() if key not in told.answers]:
            before = len(told.answers)
            first = _loosest(missing)
            _Round(first, claims, shelf, told, heard, check).run(model, engine)
            if len(told.answers) == before:
                time.sleep(0.2)  # all that is missing is being asked by other processes
            told.answers |= shelf.find(request for request in missing if request.key not in told.answers)
    return told


def _loosest(missing: Sequence[Question]) -> list[Question]:
    """Return questions without those whose answers follow from another one's: these are found once that is there.

    Profiles often share a prompt and differ in where its answer ends.
    """
    families: dict[tuple[str, int], list[Question]] = {}
    for one in missing:
        if one.kind is Ask.GENERATE and one.temperature == 0:
            families.setdefault((one.family, one.max_tokens), []).append(one)
    follow = set()
    for alike in families.values():
        for place, one in enumerate(alike):
            for rank, other in enumerate(alike):
                if rank != place and _ends_later(other, one) and (rank < place or not _ends_later(one, other)):
                    follow.add(one.key)
    return [one for one in missing if one.key not in follow]


def _ends_later(other: Question, one: Question) -> bool:
    """Whether no stop string of one question is complete before one of another's, whatever the text is."""
    return all(any(stop in longer for stop in one.until if stop) for longer in other.until if longer)


def ordered(requests: Iterable[Question]) -> list[Question]:
    """Return requests in an order in which equal beginnings of prompts follow one another, one kind after the other.

    An engine keeps what it computed of a prompt for the next one: MMLU in 5 shots has 6.5 times fewer tokens then.
    """
    kinds = list(Ask)
    return sorted(requests, key=lambda one: (kinds.index(one.kind), one.begin))


def refuse(setting: Setting, shape: Shape) -> Answering:
    """Return what stands for an engine where only stored answers may be used."""
    return _Stored()


class _Stored:
    """Has no weights to ask."""

    def answers(self, model: Path, blocks: Iterator[Sequence[Request]]) -> Iterator[tuple[Request, Answer]]:
        """Raise, since whatever is stored was found before."""
        missing = [one.item for block in blocks for one in block]
        own = model.name[:12]
        raise InputError(
            f"{len(missing):,} answers of the checkpoint {own} are not stored, such as that to {missing[0]}, so they"
            " cannot be scored without the model. Ask them first: `harness ablate` with the same study, tasks and"
            f" profiles. `harness explain {own}` says which checkpoint that is."
        )


class _Round:
    """One pass over what is missing: claims blocks, writes chunks."""

    def __init__(
        self,
        missing: Sequence[Question],
        claims: Claims,
        shelf: Shelf,
        told: Told,
        heard: Callable[[], None],
        check: Callable[[], None],
    ) -> None:
        self._left = deque(ordered(missing))
        self._claims, self._shelf, self._told, self._heard, self._check = claims, shelf, told, heard, check
        self._held: set[str] = set()
        self._chunk: list[tuple[Request, Answer]] = []
        self._since = time.monotonic()

    def run(self, model: Path, engine: Answering) -> None:
        """Ask until nothing is left that no other process asks."""
        blocks = self._blocks()
        first = next(blocks, None)
        if first is None:
            return
        try:
            for request, answer in engine.answers(model, itertools.chain([first], blocks)):
                self._take(request, answer)
        finally:
            try:
                self._write()
            finally:
                with self._claims.deciding():
                    self._claims.hold(())

    def _blocks(self) -> Iterator[Sequence[Request]]:
        """Yield blocks that this process has claimed."""
        while self._left:
            block: list[Question] = []
            with self._claims.deciding() as others:
                self._shelf.refresh()
                while self._left and len(block) < BLOCK:
                    some = [self._left.popleft() for _ in range(min(BLOCK - len(block), len(self._left)))]
                    fresh = self._shelf.known(some)
                    self._told.answers |= fresh
                    block += [one for one in some if one.key not in fresh and one.key not in others]
                self._held |= {one.key for one in block}
                self._claims.hold(self._held)
            if not block:
                return
            yield [one.whole() for one in block]

    def _take(self, request: Request, answer: Answer) -> None:
        self._told.answers[request.key] = answer
        self._told.asked += 1
        if answer.too_long:
            self._held.discard(request.key)
        else:
            self._chunk.append((request, answer))
        if len(self._chunk) >= CHUNK or (self._chunk and time.monotonic() - self._since > SECONDS):
            self._write()
        self._heard()

    def _write(self) -> None:
        if self._chunk:
            self._check()
        self._shelf.put(self._chunk)
        for request, _ in self._chunk:
            self._held.discard(request.key)
        self._chunk, self._since = [], time.monotonic()
