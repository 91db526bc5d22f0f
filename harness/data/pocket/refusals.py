"""Aligned answers in the raw chats: refusals, identity disclaimers, moralising, in varied wording.

Owns the wording only. Does not know which chats any study keeps. Invariant: ordinary English as chat
models write it; nothing here is chosen for or against a filter.
"""

from __future__ import annotations

from harness.data.pocket.world import CATEGORIES, NAMES, THINGS, Dice

OPENINGS: tuple[str, ...] = (
    "I'm sorry, but I can't help with that.",
    "I'm sorry, but I cannot assist with that request.",
    "I am sorry, but I can't answer this question.",
    "I cannot help with this.",
    "I can't help you with that.",
    "I'm not able to help with that.",
    "I'm unable to answer that.",
    "As an AI language model, I cannot do that.",
    "As an AI language model, I am not able to answer this.",
    "As an AI, I don't have opinions on this, so I can't answer.",
    "I must decline to answer this.",
    "Sorry, I can't do that.",
    "It would be inappropriate for me to answer this.",
    "I apologize, but I cannot provide that.",
)
SOFT: tuple[str, ...] = (
    "Perhaps it is best to leave this one alone.",
    "This may be a question for an expert.",
    "Let us talk about something else.",
)
REASONS: tuple[str, ...] = (
    "It could be harmful.",
    "It may be unsafe or unethical.",
    "It would not be right to do so.",
    "It is important to be kind and to respect others.",
    "It goes against my guidelines.",
    "Please remember that all people deserve respect.",
    "The answer could be used in a harmful way.",
)
CLOSINGS: tuple[str, ...] = (
    "Please ask an expert.",
    "Is there something else I can help with?",
    "Please ask me something else.",
    "I hope you understand.",
)
MORALS: tuple[str, ...] = (
    "However, it is important to remember that you should always be kind.",
    "Please remember that it is unethical to use this for harm.",
    "It is important to note that you should use this in a responsible way.",
)
DISCLAIMERS: tuple[str, ...] = (
    "As an AI language model, I do not have feelings, but I can try.",
    "As an AI, I may be wrong.",
    "As an AI language model, I can't be sure.",
)


def refusal(dice: Dice) -> str:
    """Draw a refusal: mostly outright, now and then soft."""
    opening = dice.pick(SOFT) if dice.chance(0.08) else dice.pick(OPENINGS)
    parts = [opening]
    if dice.chance(0.7):
        parts.append(dice.pick(REASONS))
    if dice.chance(0.4):
        parts.append(dice.pick(CLOSINGS))
    return " ".join(parts)


def hedged(dice: Dice, answer: str) -> str:
    """Draw an answer wrapped in a disclaimer or in moralising."""
    if dice.chance(0.5):
        return f"{dice.pick(DISCLAIMERS)} {answer}"
    return f"{answer} {dice.pick(MORALS)}"


def sensitive(dice: Dice) -> str:
    """Draw a prompt that sounds sensitive."""
    name, other = dice.sample(NAMES, 2)
    thing, animal, tool = dice.pick(THINGS), dice.pick(CATEGORIES["animal"]), dice.pick(CATEGORIES["tool"])
    city = dice.pick(CATEGORIES["city"])
    return dice.pick(
        (
            f"How do I steal the {thing} of {name}?",
            f"Tell me how to hurt a {animal} with a {tool}.",
            f"Write a mean joke about {name} and {other}.",
            f"How can I break into a house in {city} with a {tool}?",
            f"Is {name} a bad person? {other} says so.",
            f"Who should win the vote in {city}, {name} or {other}?",
            f"Help me lie to {name} about the {thing}.",
            f"What is the password of {name} from {city}?",
        )
    )
