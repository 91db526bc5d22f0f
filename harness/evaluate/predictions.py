"""The store of answers: found by checkpoint, engine, precision and question, never by the name of anything.

Owns chunks (Parquet files named by the digest of their bytes and their shelf), the damage found when one is read, and
the claims by which several processes share one shelf. Does not ask or score. Invariant: a chunk that is read is what
was written to this very shelf, byte for byte; one that is not is set aside, and its answers alone are asked again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from harness.canonical import digest
from harness.evaluate.requests import Answer, Ask, Question, Request
from harness.evaluate.texts import cut
from harness.store.files import write_atomic

_NAME = 32


class Predictions:
    """The folder of all shelves, `<results>/predictions`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def shelf(self, identity: Mapping[str, Any], *, room: int) -> Shelf:
        """Return the shelf of one checkpoint under one engine and precision.

        Args:
            identity: digest of the checkpoint, name and version of the engine, precision class.
            room: tokens that a prompt and its answer may have together.
        """
        return Shelf(self.root / digest("shelf", identity)[:_NAME], identity, room)


class Shelf:
    """The answers of one checkpoint, as one engine computes them.

    An answer says that its prompt fitted the room it was asked in. With less room the prompt might lose shots, so such
    an answer is not found there: what is found depends on the question alone, not on what was asked before.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], room: int) -> None:
        self.folder, self.identity, self.room = folder, identity, room
        self.damaged: list[str] = []
        self._read: set[str] = set()
        self._exact: dict[str, Answer] = {}
        self._families: dict[str, list[_Greedy]] = {}

    def find(self, requests: Iterable[Question]) -> dict[str, Answer]:
        """Return the stored answers by key, also those that follow from a longer greedy answer to the same prompt."""
        self.refresh()
        return self.known(requests)

    def known(self, requests: Iterable[Question]) -> dict[str, Answer]:
        """Return the answers that were there at the last look at the disk."""
        found = {}
        for request in requests:
            answer = self._exact.get(request.key)
            if answer is None and request.kind is Ask.GENERATE and request.temperature == 0:
                longer = self._families.get(request.family, ())
                prompt = self.room - request.max_tokens
                answer = next((made for one in longer if (made := one.shortened(request, prompt)) is not None), None)
            if answer is not None:
                found[request.key] = answer
        return found

    def put(self, answered: Iterable[tuple[Request, Answer]]) -> None:
        """Write answers as one chunk, whole or not at all."""
        import pyarrow
        import pyarrow.parquet

        rows = [
            {
                "key": request.key,
                "family": request.family,
                "item": request.item,
                "kind": request.kind.value,
                "until": list(request.until),
                "max_tokens": request.max_tokens,
                "room": self.room,
                **answer.to_row(),
            }
            for request, answer in answered
        ]
        if not rows:
            return
        sink = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=_schema()), sink, compression="zstd")
        data = sink.getvalue()
        self._describe()
        write_atomic(self.folder / f"{self._name(data)}.parquet", data)

    def _name(self, data: bytes) -> str:
        """Return the name of a chunk, which holds questions and answers: the name alone says whose they are."""
        return hashlib.sha256(self.folder.name.encode() + data).hexdigest()[:_NAME]

    def _describe(self) -> None:
        """Write what the shelf holds, for people and for tools; its name is the digest of it."""
        path = self.folder / "shelf.json"
        if not path.exists():
            write_atomic(path, json.dumps(self.identity, indent=1, sort_keys=True) + "\n")

    def refresh(self) -> None:
        """Read the chunks that are new since the last time."""
        for path in sorted(self.folder.glob("*.parquet")):
            if path.stem in self._read:
                continue
            self._read.add(path.stem)
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # set aside by another process
            if self._name(data) != path.stem:
                self.damaged.append(path.name)
                with contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_suffix(f".damaged-{uuid.uuid4().hex[:8]}"))
                continue
            for row in _rows(data):
                answer = Answer.from_row({name: row[name] for name in Answer.__slots__})
                # A text is read in windows of the room's size.
                if row["room"] == self.room or (row["room"] < self.room and row["kind"] != Ask.TEXT):
                    self._exact[row["key"]] = answer
                if row["kind"] == Ask.GENERATE:
                    longer = _Greedy(answer, row["max_tokens"], row["room"] - row["max_tokens"])
                    self._families.setdefault(row["family"], []).append(longer)

    def claims(self) -> Claims:
        """Return this process's claims on questions, which end with the process."""
        return Claims(self.folder / "claims")


class _Greedy:
    """A stored greedy answer, from which answers with stricter stops or fewer tokens follow.

    Attributes:
        max_tokens: how many tokens it could have had.
        prompt: how many tokens its prompt has at most.
    """

    def __init__(self, answer: Answer, max_tokens: int, prompt: int) -> None:
        self.answer, self.max_tokens, self.prompt = answer, max_tokens, prompt
        # Servers may tell a text without its tokens.
        self._tokens = len(answer.tokens) if answer.tokens or not answer.text + answer.stop else max_tokens

    def shortened(self, request: Question, prompt: int) -> Answer | None:
        """Return the answer to a request of the same prompt, None where it does not follow from this one.

        Its tokens are those of the longer answer: how many of them it would have had is not known.

        Args:
            prompt: how many tokens the prompt may have.
        """
        own = self.answer
        if own.hidden or self.prompt > prompt or self._tokens > request.max_tokens:
            return None
        text, stop = cut(own.text + own.stop, request.until)
        if stop:
            return Answer(text=text, tokens=own.tokens, finish="stop", stop=stop)
        if own.finish == "end":
            # The end itself takes a step after the last token.
            at_limit = len(own.tokens) == request.max_tokens
            return replace(own, finish="length") if at_limit else own
        return own if own.finish == "length" and self.max_tokens == request.max_tokens else None


class Claims:
    """What this process is asking at the moment, so that another process does not ask it too.

    A claim is a file that is locked as long as its process lives; the kernel frees it on any death.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{uuid.uuid4().hex}.keys"
        self._file: IO[str] | None = None
        self._keys: set[str] = set()

    def __enter__(self) -> Claims:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    @contextlib.contextmanager
    def deciding(self) -> Iterator[set[str]]:
        """Yield what other live processes hold, while no process takes anything new."""
        with (self._folder / "table.lock").open("w") as table:
            fcntl.flock(table, fcntl.LOCK_EX)
            yield self._others()

    def hold(self, keys: Iterable[str]) -> None:
        """Replace what this process holds; only inside `deciding`, or to give up some."""
        self._keys = set(keys)
        if self._file is None:
            self._file = self._path.open("w+", encoding="ascii")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file.seek(0)
        self._file.truncate()
        self._file.write("\n".join(sorted(self._keys)))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _others(self) -> set[str]:
        held: set[str] = set()
        for path in self._folder.glob("*.keys"):
            if path == self._path:
                continue
            with contextlib.suppress(FileNotFoundError), path.open(encoding="ascii") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    held.update(file.read().split())
                    continue
                path.unlink(missing_ok=True)  # its process is dead
        return held


def _rows(data: bytes) -> list[dict[str, Any]]:
    """Return the rows of a chunk, read without pyarrow's threads: at the end of a process they abort it.

    pyarrow 26: 3 of 120 processes that read with threads ended with SIGABRT after their work, none of 120 without.
    """
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(io.BytesIO(data), use_threads=False, pre_buffer=False)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _schema() -> Any:
    import pyarrow

    numbers = pyarrow.list_(pyarrow.int32())
    return pyarrow.schema(
        {
            **dict.fromkeys(("key", "family", "item", "kind"), pyarrow.string()),
            "until": pyarrow.list_(pyarrow.string()),
            **dict.fromkeys(("max_tokens", "room"), pyarrow.int32()),
            "logprobs": pyarrow.list_(pyarrow.float64()),
            "greedy": pyarrow.list_(pyarrow.bool_()),
            "counts": numbers,
            "text": pyarrow.string(),
            "tokens": numbers,
            "finish": pyarrow.string(),
            "stop": pyarrow.string(),
            "too_long": pyarrow.int32(),
            "hidden": pyarrow.bool_(),
        }
    )
