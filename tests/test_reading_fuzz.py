"""Hostile files: whatever the bytes, reading gives chats that can be kept, or one InputError; never more, never a hang.

The files are valid ones of every format, layout and packing with keys dropped, values swapped, rows mixed, bytes
flipped and ends cut off. The short run is the same every time; the long one draws anew.
"""

from __future__ import annotations

import copy
import datetime
import gzip
import itertools
import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from reading_files import opened
from test_formats import ROWS
from test_trees import FORKED, table

from harness.data import normal
from harness.errors import InputError

SEEDS: dict[str, list[dict[str, Any]]] = {name: [row, {**row, "id": "b", "n": 1}] for name, row in ROWS.items()} | {
    "oasst": [FORKED, {**ROWS["oasst"], "message_tree_id": "u"}],
    "table": list(table(FORKED)),
    "single": [{"prompt": "Q", "response": "A", "category": {"hate": True}, "is_safe": False}] * 2,
    "alpaca": [{**ROWS["alpaca"], "history": [["q", "a"]], "system": "S", "id": 7}, ROWS["alpaca"]],
    "odd": [{"id": "\ud800\x00", "conversations": [{"from": "human", "value": "\udfff\ud800 שלום \u202e\x00"}]}] * 2,
}
#: What a value is swapped for.
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 1.5, 1e308, float("nan"), 10**30, "", "x", "q", "A", "\x00", "\ud800", "\u202e"),
    *("### Human:", "### Assistant: ### Human: x", "system", "gpt", "asistant", [], [[]], {}, [None], ["q", "a"]),
    *([["q", "a", "b"]], {"": ""}, {"role": "user", "content": "Q"}, [{"from": "gpt", "value": "A"}], [{}], [{}, 1]),
]
KEYS = [
    "conversations",
    "messages",
    "text",
    "id",
    "role",
    "content",
    "output",
    "response",
    "prompt",
    "replies",
    "",
    "\n",
]
LAYOUTS = ["lines", "array", "indented", "wrapped", "concatenated", "parquet"]
PACKINGS = {
    "plain": bytes,
    "gzip": lambda content: gzip.compress(content, 1),
    "zstd": lambda content: pyarrow.compress(content, codec="zstd", asbytes=True),
}
LONGEST = datetime.timedelta(seconds=10)


class File(NamedTuple):
    """A file to read, and how."""

    name: str
    content: bytes
    settings: dict[str, Any]


def places(rows: list[Any]) -> list[tuple[Any, Any]]:
    """Return every (container, key) in rows."""
    found, waiting = [], [rows]
    while waiting:
        value = waiting.pop()
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            found.append((value, key))
            if isinstance(item, (dict, list)):
                waiting.append(item)
    return found


def bend(draw: st.DrawFn, rows: list[Any]) -> None:
    """Change one thing in rows."""
    container, key = draw(st.sampled_from(places(rows) or [({}, None)]))
    change = draw(st.sampled_from(["swap", "swap", "drop", "text", "rename", "repeat", "move"]))
    if key is None:
        return
    if change == "swap":
        container[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
    elif change == "text":
        container[key] = draw(st.text(st.characters(), max_size=20))
    elif change == "drop":
        del container[key]
    elif change == "rename" and isinstance(container, dict):
        container[draw(st.sampled_from(KEYS))] = container.pop(key)
    elif change == "repeat" and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif change == "move":
        other, place = draw(st.sampled_from(places(rows)))
        container[key] = copy.deepcopy(other[place])


def written(rows: list[Any], layout: str, path: Path) -> bytes:
    """Return rows as the bytes of a file; what Parquet cannot hold is written as lines."""
    if layout == "parquet":
        try:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, write_page_checksum=len(rows) > 2)
            return path.read_bytes()
        except (pyarrow.ArrowException, ValueError, TypeError, OverflowError, AttributeError):
            layout = "lines"
    texts = [
        json.dumps(row, ensure_ascii="\\ud" in json.dumps(row), indent=2 * (layout == "indented") or None)
        for row in rows
    ]
    joined = {
        "lines": "\n".join(texts) + "\n",
        "array": "[" + ",".join(texts) + "]",
        "indented": "[\n" + ",\n".join(texts) + "\n]",
        "wrapped": '{"version": 1, "data": [' + ", ".join(texts) + '], "tags": ["a"]}',
        "concatenated": "\n\n".join(texts),
    }[layout]
    return joined.encode()


def break_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Change one thing in bytes."""
    at = draw(st.integers(0, max(len(content) - 1, 0)))
    change = draw(st.sampled_from(["flip", "flip", "cut", "cut", "drop", "insert", "zero", "double"]))
    if change == "flip":
        return (
            content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :] if content else b""
        )
    if change == "insert":
        extra = draw(
            st.sampled_from(
                [b"\0", b"\xff", b"\n", b'"', b"{", b"]", b"\\u", b"\xef\xbb\xbf", b"[" * 5000, b"9" * 5000]
            )
        )
        return content[:at] + extra + content[at:]
    return {
        "cut": content[:at],
        "drop": content[:at] + content[at + draw(st.integers(1, 40)) :],
        "zero": content[:at] + b"\0" * 8 + content[at + 8 :],
        "double": content + content[at:],
    }[change]


@st.composite
def files(draw: st.DrawFn, folder: Path) -> File:
    name = draw(st.sampled_from(sorted(SEEDS)))
    rows: list[Any] = copy.deepcopy(SEEDS[name])
    if draw(st.integers(0, 7)) == 0:
        rows.insert(draw(st.integers(0, len(rows))), copy.deepcopy(SEEDS[draw(st.sampled_from(sorted(SEEDS)))][0]))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        bend(draw, rows)
    layout = draw(st.sampled_from(LAYOUTS))
    content = written(rows, layout, folder / "made.parquet")
    broken = draw(st.sampled_from(["", "", "", "inside", "outside"]))
    if broken == "inside":
        content = break_bytes(draw, content)
    content = PACKINGS[draw(st.sampled_from(["plain", "plain", "gzip", "zstd"]))](content)
    if broken == "outside":
        content = break_bytes(draw, content)
    ending = draw(st.sampled_from(["jsonl", "json", "parquet"])) if broken else {"lines": "jsonl"}.get(layout, "json")
    optional = {
        "format": st.sampled_from(list(ROWS)),
        "paths": st.sampled_from(["best", "all"]),
        "on_truncated": st.just("keep"),
        "on_duplicate_id": st.just("number"),
        "select": st.sampled_from([{"n": ["1"]}, {"tree_state": ["ready_for_export"]}, {"\n": [""]}]),
    }
    chosen = {key: draw(values) for key, values in optional.items() if draw(st.integers(0, 11)) == 0}
    if chosen.get("format", "oasst") != "oasst":
        chosen.pop("paths", None)
    if name == "pku-saferlhf" and chosen.get("format", name) == name:
        chosen["prefer"] = draw(st.sampled_from(["safer", "better"]))
    return File(f"x.{ending}", content, chosen)


@contextmanager
def watched() -> Iterator[None]:
    """Fail where the code is, if it hangs."""

    def hang(*_: object) -> None:
        raise AssertionError("reading hangs")

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, LONGEST.total_seconds())
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check(folder: Path, file: File) -> str:
    """Read a file and hold what came of it against what may; return which of the two it was."""
    path = folder / file.name
    path.write_bytes(file.content)
    found = opened(path, **file.settings)
    try:
        with watched():
            chats = list(found.chats)
    except InputError as error:
        said = str(error)
    else:
        said = ""
    event("an error" if said else "chats")
    if said:
        assert str(path) in said or "Source 's'" in said
        assert said.isprintable() and len(said) < 3000
        return "an error"
    assert found.selected == len(chats) <= found.made and (found.made or found.cut)
    assert normal.write_chats(folder, chats) == len(chats)
    again = list(normal.read_chats(folder))
    assert again == chats and [chat.id for chat in again] == [chat.id for chat in chats]
    return "chats"


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def test_the_files_that_the_fuzz_starts_from_are_read(folder: Path) -> None:
    for (name, rows), layout, packing in itertools.product(SEEDS.items(), LAYOUTS, PACKINGS):
        if layout == "parquet" and (packing != "plain" or name == "odd"):
            continue
        content = PACKINGS[packing](written(rows, layout, folder / "made.parquet"))
        path = folder / ("x.jsonl" if layout == "lines" else "x.json")
        path.write_bytes(content)
        wanted = {"prefer": "safer"} if name == "pku-saferlhf" else {}
        found = opened(path, **wanted)
        assert len(list(found.chats)) == (1 if name == "table" else 2), (name, layout, packing)


def outcomes(folder: Path, examples: int, **options: Any) -> Counter[str]:
    """Check so many files; return how many were read and how many refused."""
    found = Counter[str]()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=QUIET, **options)
    @given(data=st.data())
    def every(data: st.DataObject) -> None:
        found[check(folder, data.draw(files(folder)))] += 1

    every()
    return found


def test_whatever_the_bytes_there_are_chats_or_one_error(folder: Path) -> None:
    found = outcomes(folder, 4_000, derandomize=True)
    assert min(found["chats"], found["an error"]) > 400, "files of either kind, or the draw tests nothing"


@pytest.mark.slow
def test_whatever_the_bytes_there_are_chats_or_one_error_at_length(folder: Path) -> None:
    found = outcomes(folder, 10_000)
    assert min(found["chats"], found["an error"]) > 1_000, "files of either kind, or the draw tests nothing"
