"""The nouns that all layers share: chats, labels, decisions.

Plain frozen values without behaviour beyond their own identity. Does not read, write or decide.
Invariant: a chat's id is a digest of its turns, so equal contents have equal ids everywhere.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from harness.canonical import digest


class Role(enum.StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Label(enum.StrEnum):
    """What the alignment filter says of one assistant turn."""

    FULL_REFUSAL = "full_refusal"
    PARTIAL_REFUSAL = "partial_refusal"
    CAPABILITY_DISCLAIMER = "capability_disclaimer"
    IDENTITY_DISCLAIMER = "identity_disclaimer"
    MORALISING = "moralising"
    NONE = "none"
    UNDETERMINED = "undetermined"


class Action(enum.StrEnum):
    """What became of a chat at one step."""

    KEEP = "keep"
    DROP = "drop"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One message of a chat."""

    role: Role
    text: str


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A conversation in normal form.

    `source` names where it came from (file and row or generator), and does not enter the id.
    """

    turns: tuple[Turn, ...]
    source: str = ""
    attributes: dict[str, Any] = field(default_factory=dict, compare=False, hash=False)

    @cached_property
    def id(self) -> str:
        """Content digest of the turns: 32 hex digits."""
        return digest("chat", [[turn.role.value, turn.text] for turn in self.turns])[:32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Why one chat stayed or left at one step; `reason` is a stable name that reports count by."""

    chat_id: str
    step: str
    action: Action
    reason: str
    detail: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnLabel:
    """The label of one assistant turn, with the rule that gave it and the characters it fired on."""

    chat_id: str
    turn: int
    label: Label
    rule: str
    start: int
    end: int
