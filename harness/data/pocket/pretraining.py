"""Pretraining text of the base model: rows of solved exercises and plain facts.

Owns the mixture and the packing. Does not own any wording. Invariant: a row never holds more than
`ROW_TOKENS` tokens, and no held-out prompt.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.data.pocket import choices, families, reading, reasoning
from harness.data.pocket.world import Dice

ROW_TOKENS = 256
#: Shares of blocks: multiple choice teaches one token in thirty, so it needs the most.
MIXTURE: tuple[str, ...] = (
    *("pocket_mmlu",) * 9,
    *("pocket_bbh",) * 4,
    *("pocket_drop",) * 6,
    "pocket_humaneval",
    *("facts",) * 2,
    "copies",
)


def documents(seed: int, count: int) -> Iterator[str]:
    """Yield `count` training rows, each just under `ROW_TOKENS` tokens with its end token.

    A row is a few blocks, parted by the end-of-text token; a block is a few-shot series of one subtask.
    The row's own last end token is not in the text: the trainer adds it.
    """
    from harness.data.pocket.vocabulary import END, token_count

    for number in range(count):
        dice = Dice(seed, "document", str(number))
        row = ""
        while True:
            grown = (row + END if row else "") + block(dice)
            if token_count(grown) >= ROW_TOKENS:
                break
            row = grown
        yield _filled(dice, row, END)


def _filled(dice: Dice, row: str, end: str) -> str:
    """Fill what is left of a row with facts: short, and worth repeating."""
    from harness.data.pocket.vocabulary import token_count

    grown = row + end + choices.statement(dice)
    while token_count(grown) < ROW_TOKENS:
        row, grown = grown, f"{grown} {choices.statement(dice)}"
    return row


def block(dice: Dice) -> str:
    """Draw one block: a header if the family has one, then solved exercises, blank lines between."""
    family = dice.pick(MIXTURE)
    if family == "facts":
        return " ".join(choices.statement(dice) for _ in range(8))
    if family == "copies":
        return " ".join(reasoning.copied(dice) for _ in range(3))
    if family == "pocket_drop" and dice.chance(0.6):
        return "\n\n".join(reading.series(dice) for _ in range(2))
    if family == "pocket_mmlu" and dice.chance(0.5):
        return "\n\n".join(choices.series(dice) for _ in range(2))
    subtask = dice.pick(families.subtasks(family))
    parts = []
    # Half of the multiple-choice blocks name the choice after its letter: what binds one to the other.
    named = family == "pocket_mmlu" and dice.chance(0.5)
    for _ in range(dice.number(2, 4)):
        exercise = families.fresh(dice, family, subtask)
        if family == "pocket_humaneval":
            parts.append((exercise.prompt + exercise.target).rstrip("\n"))
        else:
            word = f". {exercise.columns['choices'][exercise.columns['answer']]}" if named else ""
            parts.append(f"{exercise.prompt} {exercise.target}{word}")
    return str(families.FAMILIES[family].header(subtask)) + "\n\n".join(parts)
