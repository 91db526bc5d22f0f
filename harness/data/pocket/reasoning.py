"""pocket_bbh: short reasoning that ends in "So the answer is X.", in the shape of BIG-Bench Hard.

Owns three kinds of question and their worked answers. Does not extract answers: the task YAML does.
Invariant: the worked answer's last sentence states the target and nothing else.
"""

from __future__ import annotations

from harness.data.pocket.world import CATEGORIES, NAMES, THINGS, Dice, Exercise

SUBTASKS = ("sums", "lists", "ages")
ORDINALS = ("first", "second", "third", "fourth")
WORDS = tuple(word for words in CATEGORIES.values() for word in words)


def header(subtask: str) -> str:
    """Return the line before the few-shots; this family has none."""
    del subtask
    return ""


def draw(dice: Dice, subtask: str) -> Exercise:
    """Draw one question of a subtask."""
    question, steps, answer = {"sums": _sums, "lists": _lists, "ages": _ages}[subtask](dice)
    worked = f"{steps} So the answer is {answer}."
    opening = dice.pick(("Can you work this out?", "Please think about this.", "Here is a puzzle for you."))
    return Exercise(
        subtask=subtask,
        prompt=f"Q: {question}\nA:",
        target=worked,
        ask=f"{opening} {question}",
        reply=worked,
        columns={"input": question, "worked": worked, "target": answer, "subtask": subtask},
    )


def copied(dice: Dice) -> str:
    """Draw a list and its copy, as training text: what teaches a small model to look back, quickest."""
    words = dice.sample((*WORDS, *NAMES, *THINGS, *map(str, range(21))), dice.number(4, 8))
    return f"The list is {', '.join(words)}. The list is {', '.join(words)}."


def _sums(dice: Dice) -> tuple[str, str, str]:
    left, right = dice.number(1, 7), dice.number(1, 7)
    total = left + right
    third = dice.number(1, min(7, total))
    result = total - third
    return (
        f"What is {left} + {right} - {third}?",
        f"{left} + {right} = {total}. {total} - {third} = {result}.",
        str(result),
    )


def _lists(dice: Dice) -> tuple[str, str, str]:
    words = dice.sample(WORDS, 4)
    place = dice.number(0, 3)
    ordinal = ORDINALS[place]
    return (
        f"The list is {', '.join(words)}. What is the {ordinal} word?",
        f"The {ordinal} word is {words[place]}.",
        words[place],
    )


def _ages(dice: Dice) -> tuple[str, str, str]:
    old, middle, young = dice.sample(NAMES, 3)
    clues = dice.sample([f"{old} is older than {middle}.", f"{middle} is older than {young}."], 2)
    extreme, answer = dice.pick((("oldest", old), ("youngest", young)))
    return f"{' '.join(clues)} Who is the {extreme}?", f"The order is {old}, {middle}, {young}.", answer
