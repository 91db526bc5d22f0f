"""Mixing: several sources become one collection, if asked with a fixed share of one of them.

Owns which chats are left out for the share. Does not read or clean. Invariant: whether a chat is left out
depends on its own keyed hash and on the counts, never on the order of the sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import InputError
from harness.nouns import Action, Chat, Decision
from harness.randomness import keyed_hash
from harness.study.model import Mix

STEP = "mix"


def mix(
    chats_by_source: Mapping[str, Sequence[Chat]], settings: Mix | None, data_seed: int
) -> tuple[list[Chat], list[Decision]]:
    """Return the mixed chats, source by source in their own order, and one decision per chat read.

    With a share s fixed for one source of n chats beside m others, the larger side is cut: the source to
    round(s m / (1 - s)), or the others to round(n (1 - s) / s).

    Raises:
        InputError: when one side is empty, or the share leaves nothing of it.
    """
    everything = [chat for chats in chats_by_source.values() for chat in chats]
    left_out: set[int] = set()
    if settings is not None:
        fixed = list(chats_by_source[settings.source])
        others = [chat for name, chats in chats_by_source.items() if name != settings.source for chat in chats]
        left_out = _left_out(fixed, others, settings, data_seed)
    kept = [chat for chat in everything if id(chat) not in left_out]
    decisions = [
        Decision(
            chat_id=chat.id,
            step=STEP,
            action=Action.DROP if id(chat) in left_out else Action.KEEP,
            reason="mix" if id(chat) in left_out else "kept",
            source=chat.source,
        )
        for chat in everything
    ]
    return kept, decisions


def _left_out(fixed: list[Chat], others: list[Chat], settings: Mix, data_seed: int) -> set[int]:
    share = settings.share
    if not fixed or not others:
        empty = f"source '{settings.source}' has" if not fixed else "the other sources have"
        raise InputError(f"mix.share = {share} cannot hold: {empty} no chats. Remove [mix] or add chats.")
    wanted = round(share * len(others) / (1 - share))
    side, keep = (fixed, wanted) if wanted <= len(fixed) else (others, round(len(fixed) * (1 - share) / share))
    if keep == 0:
        raise InputError(
            f"mix.share = {share} of '{settings.source}' leaves nothing of one side: there are"
            f" {len(fixed)} chats of it and {len(others)} others. Add chats or choose another share."
        )
    ranked = sorted(side, key=lambda chat: (keyed_hash(data_seed, "mix", chat.id, chat.source), chat.source))
    return {id(chat) for chat in ranked[keep:]}
