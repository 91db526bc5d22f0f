"""The normal form on disk: chats, decisions and labels as JSON lines in a folder.

Owns the file names and columns. Does not choose the folder or make it appear atomically (the store does).
Invariant: equal values give equal bytes, and reading gives back what was written, character for character.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.nouns import Action, Chat, Decision, Label, Role, Turn, TurnLabel
from harness.store.files import read_jsonl, write_jsonl

CHATS, DECISIONS, LABELS = "chats.jsonl", "decisions.jsonl", "labels.jsonl"
# Two lone surrogates in this order would come back from JSON as one character.
_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def write_chats(folder: Path, chats: Iterable[Chat]) -> int:
    """Write chats; return how many."""
    return write_jsonl(folder / CHATS, (_chat_row(chat) for chat in chats))


def read_chats(folder: Path) -> list[Chat]:
    """Read what `write_chats` wrote.

    Raises:
        HarnessError: when a chat does not fit its id, or the file is not whole: the store is damaged.
    """
    chats = []
    for row in _rows(folder / CHATS):
        turns = tuple(Turn(role=Role(role), text=text) for role, text in row["turns"])
        chat = Chat(turns=turns, source=row["source"], attributes=row["attributes"])
        if chat.id != row["id"]:
            raise HarnessError(
                f"{folder / CHATS} is damaged: chat {row['id']} ({chat.source}) does not fit its id."
                " Delete the folder; the next run makes it again."
            )
        chats.append(chat)
    return chats


def write_decisions(folder: Path, decisions: Iterable[Decision]) -> int:
    """Write decisions; return how many."""
    return write_jsonl(folder / DECISIONS, (asdict(decision) for decision in decisions))


def read_decisions(folder: Path) -> list[Decision]:
    """Read what `write_decisions` wrote."""
    return [Decision(**{**row, "action": Action(row["action"])}) for row in _rows(folder / DECISIONS)]


def write_labels(folder: Path, labels: Iterable[TurnLabel]) -> int:
    """Write labels; return how many."""
    return write_jsonl(folder / LABELS, (asdict(label) for label in labels))


def read_labels(folder: Path) -> list[TurnLabel]:
    """Read what `write_labels` wrote."""
    return [TurnLabel(**{**row, "label": Label(row["label"])}) for row in _rows(folder / LABELS)]


def _chat_row(chat: Chat) -> dict[str, Any]:
    assert not any(_SPLIT_PAIR.search(turn.text) for turn in chat.turns), f"{chat.source}: a split surrogate pair"
    turns = [[turn.role.value, turn.text] for turn in chat.turns]
    return {"id": chat.id, "turns": turns, "source": chat.source, "attributes": chat.attributes}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from read_jsonl(path)
    except json.JSONDecodeError as error:
        raise HarnessError(f"{path} is damaged: {error}. Delete the folder; the next run makes it again.") from error
