"""pocket_mmlu: multiple choice with four choices, in the shape of MMLU.

Owns the questions, their template and their few-shot header. Does not score: the task YAML does.
The answer line repeats what is asked ("Answer: the fruit is"), unlike MMLU's: a model of this size does not
carry it from the question within its two minutes of training (accuracy stayed at chance).
Invariant: exactly one of the four choices is right, and the letter is drawn independently of it.
"""

from __future__ import annotations

from harness.data.pocket.world import CATEGORIES, FAVOURITES, HOMES, NAMES, SUBJECTS, Dice, Exercise, article

LETTERS = ("A", "B", "C", "D")
SUBTASKS = (*SUBJECTS, "people")


def header(subtask: str) -> str:
    """Return the line before the few-shots, as MMLU has it."""
    return f"The following are multiple choice questions (with answers) about {subtask}.\n\n"


def draw(dice: Dice, subtask: str) -> Exercise:
    """Draw one question of a subject."""
    if subtask == "people":
        question, asked, right, others = _about_people(dice)
    else:
        asked = list(CATEGORIES)[SUBJECTS.index(subtask)]
        question, right, others = _membership(dice, asked)
    choices = list(others)
    answer = dice.number(0, 3)
    choices.insert(answer, right)
    lines = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
    ask, reply = _chat(dice, question, choices, answer)
    return Exercise(
        subtask=subtask,
        prompt=f"{question}\n{lines}\nAnswer: the {asked} is",
        target=LETTERS[answer],
        ask=ask,
        reply=reply,
        columns={
            "question": question,
            "asked": asked,
            "choices": choices,
            "answer": answer,
            "subject": subtask,
        },
    )


def statement(dice: Dice) -> str:
    """Draw one fact as a plain sentence: what the questions are about, in other words."""
    if dice.chance(0.4):
        name = dice.pick(NAMES)
        return f"{name} lives in {HOMES[name]}." if dice.chance(0.5) else f"{name} likes the {FAVOURITES[name]} best."
    category = dice.pick(list(CATEGORIES))
    return f"{dice.pick(CATEGORIES[category])} is {article(category)}."


def series(dice: Dice) -> str:
    """Draw four choices with several questions about them, as training text: more answers per token.

    Half of the questions ask for a choice by its own name, which teaches the way from a word to its letter.
    """
    kinds = dice.sample(list(CATEGORIES), 4)
    words = [dice.pick(CATEGORIES[kind]) for kind in kinds]
    text = "".join(f"{letter}. {word}\n" for letter, word in zip(LETTERS, words, strict=True))
    for place in [dice.number(0, 3) for _ in LETTERS]:
        asked = words[place] if dice.chance(0.4) else kinds[place]
        text += f"Answer: the {asked} is {LETTERS[place]}\n"
    return text.rstrip("\n")


def _membership(dice: Dice, category: str) -> tuple[str, str, list[str]]:
    kind = article(category)
    question = dice.pick((f"Which of these is {kind}?", f"Which word names {kind}?"))
    others = dice.sample([name for name in CATEGORIES if name != category], 3)
    return question, dice.pick(CATEGORIES[category]), [dice.pick(CATEGORIES[name]) for name in others]


def _about_people(dice: Dice) -> tuple[str, str, str, list[str]]:
    name = dice.pick(NAMES)
    question, asked, facts = dice.pick(
        (
            (f"Where does {name} live?", f"home of {name}", HOMES),
            (f"What does {name} like best?", f"choice of {name}", FAVOURITES),
        )
    )
    right = facts[name]
    return question, asked, right, dice.sample([value for value in facts.values() if value != right], 3)


def _chat(dice: Dice, question: str, choices: list[str], answer: int) -> tuple[str, str]:
    if dice.chance(0.5):
        lines = " ".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
        return f"{question} {lines}", f"The answer is {LETTERS[answer]}, {choices[answer]}."
    listed = f"{', '.join(choices[:3])} or {choices[3]}"
    return (
        f"{dice.pick(('Help me, please.', 'I have a quiz.'))} {question} Is it {listed}?",
        f"It is {choices[answer]}.",
    )
