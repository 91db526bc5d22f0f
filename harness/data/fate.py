"""What a variant knows of a chat, and what becomes of it: the nouns between the treatments.

Owns their form. Decides nothing (see `variants`). Invariant: an outline holds no text, so that the chats need not be in
memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.data.reading.selection import texts
from harness.nouns import Action, Chat, Label, Role

KEPT, RANDOM, DOSE, SHUFFLED = "kept", "random", "dose", "shuffled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What a treatment needs to know of a chat, so that the texts need not be in memory.

    Attributes:
        chat_id, source: the chat's.
        labels: the label of each assistant turn, by its number.
        words: whitespace-separated words of its assistant turns.
        columns: the values, as `select` compares them, of the columns that some variant's `harmful` names.
    """

    chat_id: str
    source: str
    labels: Mapping[int, Label]
    words: int
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Borrowed:
    """An answer of another chat in place of a turn's own.

    Attributes:
        turn: the turn that gets it.
        chat: place, among all outlines, of the chat that it is from.
        of: the turn that it is of there.
        replaced: whether that turn's answer had been replaced before.
    """

    turn: int
    chat: int
    of: int
    replaced: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What becomes of a chat.

    Attributes:
        action: keep, drop, mask or change.
        reason: "kept", "label:<label>" of the first turn acted on, "random", "shuffled", or "dose:<label>" where it was
            spared.
        end: number of turns that stay, from the start; None = all.
        masked: turns that bear no loss.
        replaced: turns that get another answer.
        borrowed: turns that get the answer of another chat, in order.
    """

    action: Action = Action.KEEP
    reason: str = KEPT
    end: int | None = None
    masked: tuple[int, ...] = ()
    replaced: tuple[int, ...] = ()
    borrowed: tuple[Borrowed, ...] = ()

    @property
    def untouchable(self) -> set[int]:
        """Turns that no further treatment acts on: without loss, or no longer what was labelled."""
        return {*self.masked, *self.replaced, *(one.turn for one in self.borrowed)}


def outline(chat: Chat, labels: Mapping[int, Label], columns: Sequence[str] = ()) -> Outline:
    """Return the outline of a labelled chat.

    Raises:
        AssertionError: when a label is missing: an unlabelled turn must not be taken for an unaligned one.
    """
    expected = [number for number, turn in enumerate(chat.turns) if turn.role is Role.ASSISTANT]
    assert sorted(labels) == expected, f"wrong labels: {chat.id} ({chat.source})"
    return Outline(
        chat_id=chat.id,
        source=chat.source,
        labels=labels,
        words=sum(len(turn.text.split()) for turn in chat.turns if turn.role is Role.ASSISTANT),
        columns={name: texts(chat.attributes[name]) for name in columns if name in chat.attributes},
    )
