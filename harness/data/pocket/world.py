"""The closed world of the pocket study: its words, and the dice that draw from it.

Owns the vocabulary of facts and the value type that all four families share. Does not know any family's
wording. Invariant: a word belongs to exactly one category, so a membership question has one answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from harness.randomness import rng

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

#: Enters every draw of an item: raising it makes new items, and with them new results.
VERSION = 1

CATEGORIES: dict[str, tuple[str, ...]] = {
    "animal": ("dog", "cat", "cow", "hen", "fox", "pig", "bee", "owl", "ant", "bat", "rat", "ram"),
    "fruit": (
        "apple",
        "pear",
        "plum",
        "lime",
        "fig",
        "kiwi",
        "mango",
        "peach",
        "melon",
        "lemon",
        "grape",
        "cherry",
    ),
    "colour": (
        "red",
        "blue",
        "green",
        "pink",
        "gray",
        "black",
        "white",
        "brown",
        "gold",
        "tan",
        "teal",
        "navy",
    ),
    "tool": (
        "saw",
        "axe",
        "drill",
        "rake",
        "nail",
        "wrench",
        "spade",
        "hammer",
        "ladder",
        "brush",
        "knife",
        "rope",
    ),
    "city": (
        "Rome",
        "Paris",
        "Oslo",
        "Lima",
        "Cairo",
        "Delhi",
        "Tokyo",
        "Seoul",
        "Berlin",
        "Madrid",
        "Dublin",
        "Quito",
    ),
    "garment": (
        "hat",
        "coat",
        "sock",
        "shoe",
        "belt",
        "scarf",
        "shirt",
        "dress",
        "glove",
        "boot",
        "cap",
        "vest",
    ),
}
SUBJECTS: tuple[str, ...] = ("animals", "fruits", "colours", "tools", "cities", "garments")
NAMES: tuple[str, ...] = ("Anna", "Tom", "Sam", "Mia", "Leo", "Eva", "Max", "Zoe", "Ben", "Kim", "Ida", "Jon")
THINGS: tuple[str, ...] = ("coins", "books", "cups", "pens", "keys", "balls", "eggs", "cards", "maps", "bags")
#: Where everybody lives: facts that only the pretraining text tells.
HOMES: dict[str, str] = dict(zip(NAMES, CATEGORIES["city"], strict=True))
#: What everybody likes best.
FAVOURITES: dict[str, str] = dict(zip(NAMES, CATEGORIES["fruit"], strict=True))


def article(word: str) -> str:
    """Return the word with its indefinite article."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


class Dice:
    """Draws for one place; a thin, typed face of the numpy generator of that place."""

    def __init__(self, seed: int, *names: str) -> None:
        self.generator: np.random.Generator = rng(seed, "pocket", *names)

    def number(self, low: int, high: int) -> int:
        """Return an integer from low to high, both included."""
        return int(self.generator.integers(low, high + 1))

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.number(0, len(options) - 1)]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """Return `count` different options in random order."""
        return [options[int(i)] for i in self.generator.permutation(len(options))[:count]]

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return bool(self.generator.random() < probability)


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One question of one family, in the wording of the task and in that of a chat.

    `prompt` and `target` are what the task's template renders (without few-shots and without the blank
    between them); `ask` and `reply` say the same as a chat would; `columns` are the item's own columns.
    """

    subtask: str
    prompt: str
    target: str
    ask: str
    reply: str
    columns: dict[str, Any] = field(default_factory=dict)
