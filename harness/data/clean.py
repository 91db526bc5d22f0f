"""Cleaning: the paper's quality filters, one reason per dropped chat.

Owns the filters and their order (arXiv 2308.13449, section on data cleaning: API failures, low quality,
duplicates). Does not detect near-duplicates or languages yet. Invariant: every chat read yields exactly one
decision, so kept + dropped = read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from harness.nouns import Action, Chat, Decision, Role
from harness.study.model import Clean

STEP = "clean"
KEPT = "kept"


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What the two filters that look back remember."""

    queries: Counter[str] = field(default_factory=Counter)
    chats: set[str] = field(default_factory=set)


def clean(chats: Iterable[Chat], settings: Clean) -> tuple[list[Chat], list[Decision]]:
    """Return the chats that pass every filter, in order, and one decision per chat read.

    The first filter that fails names the reason: not_alternating, empty_turn, short_user_input,
    few_words_per_message, too_long, repeated_query, exact_duplicate. The last two count only chats that
    passed the filters before them, and keep the earliest.
    """
    kept: list[Chat] = []
    decisions: list[Decision] = []
    seen = _Seen()
    for chat in chats:
        reason, detail = _verdict(chat, settings, seen)
        if reason == KEPT:
            kept.append(chat)
        action = Action.KEEP if reason == KEPT else Action.DROP
        decisions.append(
            Decision(chat_id=chat.id, step=STEP, action=action, reason=reason, detail=detail, source=chat.source)
        )
    assert len(kept) + sum(decision.action is Action.DROP for decision in decisions) == len(decisions)
    return kept, decisions


def _verdict(chat: Chat, settings: Clean, seen: _Seen) -> tuple[str, str]:
    for reason, problem in _FILTERS.items():
        detail = problem(chat, settings)
        if detail:
            return reason, detail
    query = " ".join(_query(chat).split()).casefold()
    if settings.max_repeats and seen.queries[query] >= settings.max_repeats:
        return "repeated_query", f"{settings.max_repeats} earlier chats open with the same user text"
    if settings.deduplicate and chat.id in seen.chats:
        return "exact_duplicate", "an earlier chat has the same turns"
    seen.queries[query] += 1
    seen.chats.add(chat.id)
    return KEPT, ""


def _query(chat: Chat) -> str:
    return next(turn.text for turn in chat.turns if turn.role is Role.USER)


def _not_alternating(chat: Chat, settings: Clean) -> str:
    """An optional system turn, then user and assistant in strict turn, the assistant last."""
    del settings
    start = 1 if chat.turns and chat.turns[0].role is Role.SYSTEM else 0
    if len(chat.turns) == start:
        return "there are no turns"
    for number, turn in enumerate(chat.turns[start:]):
        expected = (Role.USER, Role.ASSISTANT)[number % 2]
        if turn.role is not expected:
            return f"turn {start + number + 1} is {turn.role.value}, expected {expected.value}"
    if chat.turns[-1].role is not Role.ASSISTANT:
        return f"the last turn is {chat.turns[-1].role.value}"
    return ""


def _empty_turn(chat: Chat, settings: Clean) -> str:
    del settings
    numbers = [str(number) for number, turn in enumerate(chat.turns, start=1) if not turn.text.strip()]
    return f"turn {', '.join(numbers)}" if numbers else ""


def _short_user_input(chat: Chat, settings: Clean) -> str:
    shortest = min(len(turn.text.strip()) for turn in chat.turns if turn.role is Role.USER)
    return f"{shortest} characters" if shortest < settings.min_user_chars else ""


def _few_words(chat: Chat, settings: Clean) -> str:
    """System turns are not messages of the talk and would hide short ones."""
    lengths = [len(turn.text.split()) for turn in chat.turns if turn.role is not Role.SYSTEM]
    mean = sum(lengths) / len(lengths)
    return f"{mean:.2f} words on average" if mean < settings.min_mean_words else ""


def _too_long(chat: Chat, settings: Clean) -> str:
    if not settings.max_words:
        return ""
    words = sum(len(turn.text.split()) for turn in chat.turns)
    return f"{words} words" if words > settings.max_words else ""


#: In order; each returns what is wrong, or "". The later ones rely on not_alternating: there is a user turn.
_FILTERS: dict[str, Callable[[Chat, Clean], str]] = {
    "not_alternating": _not_alternating,
    "empty_turn": _empty_turn,
    "short_user_input": _short_user_input,
    "few_words_per_message": _few_words,
    "too_long": _too_long,
}
