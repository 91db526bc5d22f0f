"""The positive control: chats of which a drawn share has answers to other questions.

Owns which chats are drawn and whose answers each gets. Does not move texts (see `variants.apply`). Invariant: the
chats, their order and the turns that bear loss stay; a larger share draws those of a smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.data.fate import SHUFFLED, Borrowed, Fate, Outline
from harness.nouns import Action
from harness.randomness import keyed_hash
from harness.study.curation import Variant


def shuffled(outlines: Sequence[Outline], before: Sequence[Fate], variant: Variant, seed: int) -> list[Fate]:
    """Give every drawn chat the answers of the next one, in keyed order among those with as many answers.

    A chat with more answers than the next one takes these again from the first; one with fewer leaves the rest. Turns
    without loss neither give nor take: what the parent does not learn from, nobody learns from here.
    """
    answers = {
        place: [
            number
            for number in sorted(outlines[place].labels)
            if number not in fate.masked and (fate.end is None or number < fate.end)
        ]
        for place, fate in enumerate(before)
        if fate.action is not Action.DROP
        and keyed_hash(seed, "shuffle", outlines[place].chat_id) < variant.share * 2**64
    }
    # The source and the place only decide between exact duplicates, which cleaning can be told to keep.
    drawn = sorted(
        (place for place in answers if answers[place]),
        key=lambda place: (
            len(answers[place]),
            keyed_hash(seed, "shuffle", "order", outlines[place].chat_id),
            outlines[place].source,
            place,
        ),
    )
    found = list(before)
    if len(drawn) < 2:
        return found
    for place, lender in zip(drawn, [*drawn[1:], drawn[0]], strict=True):
        taken = {one.turn: one for one in before[lender].borrowed}
        own = []
        for count, turn in enumerate(answers[place]):
            of = answers[lender][count % len(answers[lender])]
            first = taken.get(of) or Borrowed(turn=turn, chat=lender, of=of, replaced=of in before[lender].replaced)
            own.append(replace(first, turn=turn))
        found[place] = replace(
            before[place],
            action=Action.CHANGE,
            reason=SHUFFLED,
            replaced=tuple(number for number in before[place].replaced if number not in answers[place]),
            borrowed=tuple(own),
        )
    return found
