"""Variants: the fork, where one treatment makes the difference between the arms.

Owns what each treatment drops. Does not label (see `alignment`) or order (see `order`). Invariant: whether a
chat leaves depends on its own labels, or on its own keyed hash and the number to drop; no state is shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from harness.errors import InputError, nearest
from harness.nouns import Action, Chat, Decision, Label, Role, TurnLabel
from harness.randomness import keyed_hash
from harness.study.model import Treatment, Variant

KEPT = "kept"


def build(
    chats: Sequence[Chat],
    labels: Iterable[TurnLabel],
    variants: Mapping[str, Variant],
    name: str,
    data_seed: int,
) -> tuple[list[Chat], list[Decision]]:
    """Return the chats of one variant, in the given order, and one decision per chat.

    Reasons are "kept", "label:<label>" (the label of the first turn that dropped the chat) and "random".
    A random control drops as many chats as the variant it matches, those with the smallest keyed hash of all.

    Args:
        chats: the cleaned chats.
        labels: one label per assistant turn of them.
        variants: all variants of the study.
        name: the one to build.
        data_seed: seed of random removal.

    Raises:
        InputError: for an unknown variant, or one that nothing is left of.
    """
    if name not in variants:
        raise InputError(f"There is no variant '{name}'.{nearest(name, variants)}")
    by_chat = _by_chat(chats, labels)
    reasons = _reasons(chats, by_chat, variants, name, data_seed)
    kept = [chat for chat, reason in zip(chats, reasons, strict=True) if reason == KEPT]
    if not kept:
        counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(Counter(reasons).items()))
        raise InputError(
            f"Variant '{name}' is empty: its treatment '{variants[name].treatment.value}' removed all"
            f" {len(chats)} chats{f' ({counts})' if counts else ''}."
            " Use sources with other chats, or fewer labels."
        )
    decisions = [
        Decision(
            chat_id=chat.id,
            step=f"variant:{name}",
            action=Action.KEEP if reason == KEPT else Action.DROP,
            reason=reason,
            source=chat.source,
        )
        for chat, reason in zip(chats, reasons, strict=True)
    ]
    return kept, decisions


def _reasons(
    chats: Sequence[Chat],
    by_chat: Mapping[str, Sequence[Label]],
    variants: Mapping[str, Variant],
    name: str,
    data_seed: int,
) -> list[str]:
    variant = variants[name]
    if variant.treatment is Treatment.KEEP:
        return [KEPT] * len(chats)
    if variant.treatment is Treatment.DROP_CHAT:
        return [_reason(by_chat.get(chat.id, ()), variant.labels) for chat in chats]
    assert variant.treatment is Treatment.RANDOM and variant.size_of is not None
    matched = _reasons(chats, by_chat, variants, variant.size_of, data_seed)
    count = sum(reason != KEPT for reason in matched)
    # The source and the place only decide between exact duplicates, which cleaning can be told to keep.
    ranked = sorted(
        range(len(chats)),
        key=lambda i: (keyed_hash(data_seed, "random", str(variant.draw), chats[i].id), chats[i].source, i),
    )
    dropped = set(ranked[:count])
    return ["random" if i in dropped else KEPT for i in range(len(chats))]


def _reason(found: Sequence[Label], dropping: Sequence[Label]) -> str:
    return next((f"label:{label.value}" for label in found if label in dropping), KEPT)


def _by_chat(chats: Sequence[Chat], labels: Iterable[TurnLabel]) -> dict[str, list[Label]]:
    turns: dict[str, dict[int, Label]] = {}
    for label in labels:
        turns.setdefault(label.chat_id, {})[label.turn] = label.label
    for chat in chats:
        expected = [number for number, turn in enumerate(chat.turns) if turn.role is Role.ASSISTANT]
        assert sorted(turns.get(chat.id, {})) == expected, f"wrong labels: {chat.id} ({chat.source})"
    return {chat_id: [found[number] for number in sorted(found)] for chat_id, found in turns.items()}
