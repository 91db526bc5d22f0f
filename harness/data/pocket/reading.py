"""pocket_drop: questions about the numbers and names of a short passage, in the shape of DROP.

Owns the passages and questions. Does not score: the task takes lm-eval's own DROP metrics.
Invariant: the passage alone decides the answer; no fact of the world is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.pocket.world import NAMES, THINGS, Dice, Exercise

SUBTASKS = ("number", "name", "sum")
VERBS = (("has", "have"), ("found", "find"), ("sold", "sell"))


def header(subtask: str) -> str:
    """Return the line before the few-shots; this family has none."""
    del subtask
    return ""


def draw(dice: Dice, subtask: str) -> Exercise:
    """Draw one passage and a question about it."""
    passage = _passage(dice, 9 if subtask == "sum" else 15)
    question, answer = _question(dice, passage, subtask)
    text = passage.text
    ask = dice.pick((f"{text} {question}", f"Please read this. {text} Now tell me: {question}"))
    return Exercise(
        subtask=subtask,
        prompt=f"{text}\nQuestion: {question}\nAnswer:",
        target=answer,
        ask=ask,
        reply=dice.pick((f"The answer is {answer}.", f"It is {answer}.")),
        columns={"passage": text, "question": question, "answers": [[answer]], "subtask": subtask},
    )


def series(dice: Dice) -> str:
    """Draw a passage with several questions about it, as training text: more answers per token."""
    passage = _passage(dice, 15)
    asked = [_question(dice, passage, dice.pick(SUBTASKS[:2])) for _ in range(3)]
    return passage.text + "".join(f"\nQuestion: {question}\nAnswer: {answer}" for question, answer in asked)


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """Who has how many of what; sentence i is about people[i], counts[i] and things[i]."""

    people: list[str]
    counts: list[int]
    things: list[str]
    past: str
    plain: str

    @property
    def text(self) -> str:
        """The passage in words."""
        rows = zip(self.people, self.counts, self.things, strict=True)
        return " ".join(f"{who} {self.past} {count} {what}." for who, count, what in rows)


def _passage(dice: Dice, high: int) -> Passage:
    past, plain = dice.pick(VERBS)
    people, things = dice.sample(NAMES, 2), dice.sample(THINGS, 2)
    return Passage(people=people, counts=dice.sample(range(2, high + 1), 2), things=things, past=past, plain=plain)


def _question(dice: Dice, passage: Passage, subtask: str) -> tuple[str, str]:
    place = dice.number(0, 1)
    who, count, what = passage.people[place], passage.counts[place], passage.things[place]
    if subtask == "number":
        do = "does" if passage.past == "has" else "did"
        return f"How many {what} {do} {who} {passage.plain}?", str(count)
    if subtask == "name":
        return f"Who {passage.past} {count} {what}?", who
    other = 1 - place
    return f"How many {what} and {passage.things[other]} in all?", str(count + passage.counts[other])
