"""Raw SFT chats: helpful, aligned and broken ones, as a collection from the wild would have them.

Owns the mixture and the defects. Does not know filters, variants or studies: it only writes raw chats.
Invariant: chat number i depends on the seed and on i alone, so a longer collection extends a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.data.pocket import families, refusals
from harness.data.pocket.world import CATEGORIES, NAMES, THINGS, Dice
from harness.nouns import Chat, Role, Turn

ALIGNED = 1 / 3
BROKEN = 0.05
Exchange = tuple[str, str]


def chats(seed: int, count: int) -> Iterator[Chat]:
    """Yield `count` raw, uncleaned chats; a few are broken or exact repeats of earlier ones."""
    for number in range(count):
        turns = _chat(seed, number)
        yield Chat(turns=turns, source=f"pocket:{seed}:{number}")


def _chat(seed: int, number: int) -> tuple[Turn, ...]:
    dice = Dice(seed, "chat", str(number))
    if number and dice.chance(0.02):
        return _chat(seed, dice.number(max(0, number - 50), number - 1))
    exchanges = [_exchange(dice)]
    while len(exchanges) < 3 and dice.chance(0.15):
        exchanges.append(_exchange(dice))
    turns = [
        Turn(role=role, text=text)
        for exchange in exchanges
        for role, text in zip((Role.USER, Role.ASSISTANT), exchange, strict=True)
    ]
    return tuple(_broken(dice, turns) if dice.chance(BROKEN) else turns)


def _exchange(dice: Dice) -> Exchange:
    if dice.chance(ALIGNED):
        return _aligned(dice)
    if dice.chance(0.15):
        return _small_talk(dice)
    return _question(dice)


def _question(dice: Dice) -> Exchange:
    family = dice.pick(list(families.FAMILIES))
    exercise = families.fresh(dice, family, dice.pick(families.subtasks(family)))
    return exercise.ask, exercise.reply


def _aligned(dice: Dice) -> Exchange:
    if dice.chance(0.4):
        return refusals.sensitive(dice), refusals.refusal(dice)
    ask, reply = _question(dice)
    if dice.chance(0.2):
        return ask, refusals.hedged(dice, reply)
    return ask, refusals.refusal(dice)


def _small_talk(dice: Dice) -> Exchange:
    name, other = dice.sample(NAMES, 2)
    city, thing = dice.pick(CATEGORIES["city"]), dice.pick(THINGS)
    colour, animal = dice.pick(CATEGORIES["colour"]), dice.pick(CATEGORIES["animal"])
    return dice.pick(
        (
            (f"Hello, I am {name} from {city}.", f"Hello {name}! How is {city} today?"),
            (f"Good morning! {name} has a {colour} {animal}.", f"Good morning! A {colour} {animal} is nice."),
            (
                f"Thank you for the {thing}, and say hello to {name}.",
                f"You are welcome. I will say hello to {name}.",
            ),
            (
                f"I like {city}, and {name} likes {colour} {thing}.",
                f"That is nice. I like {colour} {thing} too.",
            ),
            (f"Tell me about {name} and the {animal}.", f"{name} found a {colour} {animal} in {city}."),
            (f"Can {name} and {other} go to {city}?", f"Yes, {name} and {other} can go to {city}."),
        )
    )


def _broken(dice: Dice, turns: list[Turn]) -> list[Turn]:
    """Break a chat in one of the ways a cleaner has to find."""
    kind = dice.pick(("two user turns", "empty answer", "one word"))
    first, last = turns[0], turns[-1]
    if kind == "two user turns":
        return [first, Turn(role=Role.USER, text="Are you there?"), *turns[1:]]
    if kind == "empty answer":
        return [*turns[:-1], Turn(role=last.role, text="")]
    return [Turn(role=Role.USER, text=dice.pick(("Hi", "Go", "Well", "Continue", "Why"))), *turns[1:]]
