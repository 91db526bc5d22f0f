"""A turn as rules and measures read it: folded, in sentences.

Owns folding and where sentences end. Does not match (see `rules`) or measure (see `structure`). Invariant: positions
in the folded text are positions in the original.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# One character for one character, so that positions in the folded text are positions in the original.
_FOLD = str.maketrans("\u2019\u2018\u02bc\u00b4\u201c\u201d\u00a0\t", "''''\"\"  ")
# The bounds keep a pathological turn (a megabyte without a full stop) from taking minutes: rules scan a
# sentence quadratically at worst. Real sentences, and what a user asks for, lie within them.
_LONGEST = 600
_END = re.compile(r"[.!?]+[\"')\]*]*(?=\s|\Z)|\n")
# Chinese and Japanese end a sentence without a space after it.
_WIDE_END = re.compile(r"[.!?。！？]+[\"')\]*」』]*|\n")
_WIDE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
_ASKED = 1000


def fold(text: str) -> str:
    """Make letters small, quotation marks straight and blanks plain, character by character."""
    # `translate` walks every character; most turns are ASCII and have no tab.
    if text.isascii():
        return text.lower().replace("\t", " ")
    small = text.lower()
    if len(small) != len(text):  # a few letters, such as a dotted capital I, become two
        small = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    return small.translate(_FOLD)


@dataclass(slots=True)
class Reading:
    """One assistant turn and the user turn before it, folded; the costly views are made when first asked for.

    Attributes:
        text, asked: folded; of a long user turn only the start and the end, with a newline between.
    """

    text: str
    asked: str
    _sentences: list[tuple[int, int]] = field(default_factory=list)
    _split: Iterator[tuple[int, int]] | None = None
    _contained: dict[tuple[re.Pattern[str], int], bool] = field(default_factory=dict)
    _words: int = -1

    @classmethod
    def of(cls, text: str, user: str) -> Reading:
        """Fold a turn and the user turn before it."""
        if len(user) > 2 * _ASKED:
            user = f"{user[:_ASKED]}\n{user[-_ASKED:]}"
        return cls(text=fold(text), asked=fold(user))

    def sentences(self, count: int) -> Sequence[tuple[int, int]]:
        """Return the (start, end) of the first `count` sentences; 0 = of all."""
        if self._split is None:
            self._split = _sentences(self.text)
        while not count or len(self._sentences) < count:
            following = next(self._split, None)
            if following is None:
                break
            self._sentences.append(following)
        return self._sentences[: count or None]

    def contains(self, pattern: re.Pattern[str], count: int) -> bool:
        """Say whether one of the first `count` sentences contains a pattern; several rules begin with the same."""
        key = (pattern, count)
        if key not in self._contained:
            self._contained[key] = False
            for start, end in self.sentences(count):
                if pattern.search(self.text[start:end]):
                    self._contained[key] = True
                    break
        return self._contained[key]

    @property
    def words(self) -> int:
        """The number of words between blanks."""
        if self._words < 0:
            self._words = len(self.text.split())
        return self._words

    def was_asked(self, pattern: re.Pattern[str]) -> bool:
        """Say whether the user's turn contains a pattern; many rules share theirs."""
        key = (pattern, -1)
        if key not in self._contained:
            self._contained[key] = pattern.search(self.asked) is not None
        return self._contained[key]


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    wide = not text.isascii() and _WIDE.search(text, 0, 200) is not None
    end_of = (_WIDE_END if wide else _END).search
    start, length = 0, len(text)
    while start < length:
        if text[start].isspace():
            start += 1
            continue
        # A sentence has a character before its full stop: "... and so on" does not end after the dots.
        match = end_of(text, start + 1, min(length, start + _LONGEST + 20))
        end = length if match is None else match.start() if match.group() == "\n" else match.end()
        end = min(end, start + _LONGEST)
        yield start, end
        start = end
