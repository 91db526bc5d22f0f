"""Variants: the fork, where one treatment makes the difference between the arms.

Owns what each treatment does to a chat. Does not label (see `alignment`) or order (see `order`). Invariant: what
becomes of a chat depends on its own labels and columns, or on keyed hashes of chats; no state is shared, and the order
of the chats does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness.data.fate import DOSE, RANDOM, SHUFFLED, Fate, Outline
from harness.data.shuffling import shuffled
from harness.errors import InputError
from harness.nouns import Action, Chat, Decision, Turn
from harness.randomness import keyed_hash
from harness.study.curation import Treatment, Variant

_TENTHS = 10


def fates(
    outlines: Sequence[Outline], lineage: Sequence[Variant], twins: Mapping[str, Sequence[Variant]], seed: int
) -> list[Fate]:
    """Return what becomes of every chat in one variant.

    Args:
        outlines: all cleaned chats.
        lineage: the treatments from the first ancestor to the variant itself, each applied to what the last one left.
        twins: for every random control in the lineage, by its `size_of`, the lineage of the variant whose size it
            matches.
        seed: the study's data seed; decides random removal and doses.
    """
    found = [Fate() for _ in outlines]
    for variant in lineage:
        if variant.treatment is Treatment.RANDOM:
            assert variant.size_of is not None
            matched = fates(outlines, twins[variant.size_of], twins, seed)
            found = _random(outlines, found, matched, variant, seed)
        elif variant.treatment is Treatment.SHUFFLE_ANSWERS:
            found = shuffled(outlines, found, variant, seed)
        elif variant.treatment is not Treatment.KEEP:
            found = [_treated(chat, before, variant, seed) for chat, before in zip(outlines, found, strict=True)]
    return found


def apply(
    chat: Chat, fate: Fate, answer: Callable[[str, int], str], read: Callable[[int], Chat] | None = None
) -> Chat | None:
    """Return the chat as its fate leaves it, or None where it is dropped.

    Args:
        answer: (chat id, turn) -> the answer that replaces the turn's.
        read: place -> the cleaned chat there; None where no lineage shuffles.
    """
    if fate.action is Action.DROP:
        return None
    if fate.action is Action.KEEP:
        return chat
    texts = {number: answer(chat.id, number) for number in fate.replaced}
    for one in fate.borrowed:
        assert read is not None, f"{chat.id} borrows an answer"
        lender = read(one.chat)
        texts[one.turn] = answer(lender.id, one.of) if one.replaced else lender.turns[one.of].text
    turns = tuple(
        Turn(role=turn.role, text=texts[number]) if number in texts else turn
        for number, turn in enumerate(chat.turns[: fate.end])
    )
    changed = turns != chat.turns
    return replace(chat, turns=turns, origin=chat.root if changed else chat.origin, masked=fate.masked)


def decision(chat: Outline, fate: Fate, became: str) -> Decision:
    """Return the row that says what was done to a chat in a variant."""
    details = []
    if fate.end is not None and fate.action is not Action.DROP:
        details.append(f"cut to {fate.end} turns")
    details += [f"turn {number} without loss" for number in fate.masked]
    details += [f"turn {number} replaced" for number in fate.replaced]
    details += [f"turn {one.turn} answered by another chat" for one in fate.borrowed]
    action, reason = fate.action, fate.reason
    if reason == SHUFFLED and became == chat.chat_id:
        # Two refusals in the same words: the answer moved, and nothing changed.
        action, reason = Action.MASK if fate.masked else Action.KEEP, f"{SHUFFLED}:equal"
    return Decision(
        chat_id=chat.chat_id,
        step="variant",
        action=action,
        reason=reason,
        detail=", ".join(details),
        source=chat.source,
        became=became if became != chat.chat_id else "",
    )


def require_some(name: str, variant: Variant, results: Sequence[Fate]) -> None:
    """Raise an `InputError` when nothing is left of a variant."""
    if any(fate.action is not Action.DROP for fate in results):
        return
    if not results:
        raise InputError(f"Variant '{name}' is empty: cleaning left no chats. Look at [clean] and the sources.")
    reasons = sorted({fate.reason for fate in results})
    counts = ", ".join(f"{reason}: {sum(fate.reason == reason for fate in results)}" for reason in reasons)
    raise InputError(
        f"Variant '{name}' is empty: its treatment '{variant.treatment.value}' removed all {len(results)} chats"
        f"{f' ({counts})' if counts else ''}. Use sources with other chats, or fewer labels."
    )


def require_shuffled(name: str, lineage: Sequence[Variant], results: Sequence[Fate]) -> None:
    """Raise an `InputError` when answers were to be shuffled and fewer than two chats were drawn for it."""
    share = next((one.share for one in lineage if one.treatment is Treatment.SHUFFLE_ANSWERS), None)
    if share is not None and not any(fate.borrowed for fate in results):
        raise InputError(
            f"Variant '{name}': of {len(results)} chats fewer than two with an answer were drawn to have their answers"
            f" shuffled (share {share:g}). Raise the share, or take more chats."
        )


def require_harmful(name: str, lineage: Sequence[Variant], outlines: Sequence[Outline]) -> None:
    """Raise an `InputError` when no chat has a column of `harmful`, or none of its values: that would drop all."""
    for variant in lineage:
        for column, values in variant.harmful.items():
            found = {text for chat in outlines for text in chat.columns.get(column, ())}
            if found.isdisjoint(values):
                raise InputError(
                    f"Variant '{name}': no cleaned chat has the column '{column}' of 'harmful'"
                    + (f" with a value in {values}; it has {', '.join(sorted(found)[:5])}." if found else ".")
                    + " Correct 'harmful' in the study."
                )


def _treated(chat: Outline, before: Fate, variant: Variant, seed: int) -> Fate:
    """Apply one treatment to a chat; turns that an earlier one cut, masked, replaced or shuffled are not seen again."""
    turns = [
        number
        for number, label in sorted(chat.labels.items())
        if label in variant.labels and (before.end is None or number < before.end) and number not in before.untouchable
    ]
    if before.action is Action.DROP or not turns:
        return before
    if variant.treatment is Treatment.SELECTIVE and _harmful(chat, variant):
        return before
    label = chat.labels[turns[0]].value
    if variant.dose and keyed_hash(seed, "dose", chat.chat_id) < variant.dose * 2**64:
        # What a parent did to the chat stays the reason for its action.
        return replace(before, reason=f"{DOSE}:{label}") if before.action is Action.KEEP else before
    reason = f"label:{label}"
    if variant.treatment is Treatment.MASK_LOSS:
        action = Action.CHANGE if before.action is Action.CHANGE else Action.MASK
        return replace(before, action=action, reason=reason, masked=tuple(sorted({*before.masked, *turns})))
    if variant.treatment is Treatment.REPLACE:
        replaced = tuple(sorted({*before.replaced, *turns}))
        return replace(before, action=Action.CHANGE, reason=reason, replaced=replaced)
    if variant.treatment is Treatment.TRUNCATE_BEFORE:
        return _cut(before, reason, turns[0], first=min(chat.labels))
    return Fate(action=Action.DROP, reason=reason)


def _cut(before: Fate, reason: str, turn: int, *, first: int) -> Fate:
    """Cut a chat before the exchange of a turn: the user's question leaves with its answer."""
    if turn == first:
        return Fate(action=Action.DROP, reason=reason)
    end = turn - 1
    return replace(
        before,
        action=Action.CHANGE,
        reason=reason,
        end=end,
        masked=tuple(number for number in before.masked if number < end),
        replaced=tuple(number for number in before.replaced if number < end),
        borrowed=tuple(one for one in before.borrowed if one.turn < end),
    )


def _harmful(chat: Outline, variant: Variant) -> bool:
    return any(not set(values).isdisjoint(chat.columns.get(name, ())) for name, values in variant.harmful.items())


def _random(
    outlines: Sequence[Outline], before: Sequence[Fate], matched: Sequence[Fate], variant: Variant, seed: int
) -> list[Fate]:
    """Drop as much as the matched variant drops, those with the smallest keyed hashes first."""
    present = [number for number, fate in enumerate(before) if fate.action is not Action.DROP]
    gone = [number for number in present if matched[number].action is Action.DROP]
    # The source and the place only decide between exact duplicates, which cleaning can be told to keep.
    ranked = sorted(
        present,
        key=lambda number: (
            keyed_hash(seed, "random", str(variant.draw), outlines[number].chat_id),
            outlines[number].source,
            number,
        ),
    )
    words = [chat.words for chat in outlines]
    if variant.match == "chats":
        dropped = set(ranked[: len(gone)])
    elif variant.match == "lengths":
        dropped = _as_long(ranked, gone, words)
    else:
        dropped = _as_many_words(ranked, sum(words[number] for number in gone), words)
    return [
        Fate(action=Action.DROP, reason=RANDOM) if number in dropped else fate for number, fate in enumerate(before)
    ]


def _as_long(ranked: Sequence[int], gone: Sequence[int], words: Sequence[int]) -> set[int]:
    """Take, of every tenth of the lengths, as many chats as are gone of it."""
    order = sorted(ranked, key=lambda number: (words[number], number))
    tenth = {number: place * _TENTHS // len(order) for place, number in enumerate(order)}
    wanted = [0] * _TENTHS
    for number in gone:
        wanted[tenth[number]] += 1
    taken = set()
    for number in ranked:
        if wanted[tenth[number]]:
            wanted[tenth[number]] -= 1
            taken.add(number)
    return taken


def _as_many_words(ranked: Sequence[int], wanted: int, words: Sequence[int]) -> set[int]:
    """Take chats until their words reach the number that is gone; one that would pass it is left for a shorter one."""
    taken, total = set(), 0
    for number in ranked:
        if total + words[number] <= wanted:
            taken.add(number)
            total += words[number]
    return taken
