"""What an answer does, sentence by sentence, as numbers: a few hundred measures beside the word n-grams.

Owns the measures: which speech acts (apologising, declining, judging, preaching, offering...) open an answer, how
much of it they take up, how much is left that answers, and what was asked. The patterns of the acts are data of a
pack. Does not weigh (see `classifier`) or decide (see `engine`). Invariant: measures lie between 0 and 1.5, so that
one penalty suits them all, and depend on the turn and the user turn before it alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.data.alignment.reading import Reading

#: Marks a measure in a weights file; words of n-grams never contain it.
MARK = "#"
#: Characters of the answer that are read; sentences of it that are searched: the first, and the last.
_READ, _FIRST, _LAST, _SENTENCES = 2000, 7, 2, 30
#: A sentence of fewer words is not held to answer anything.
_SUBSTANCE = 5
_WORD = re.compile(r"[a-z]{4,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """The patterns of a pack, compiled; each is searched within one folded sentence.

    Attributes:
        acts: what a sentence does instead of answering: declining, judging, preaching, offering something else.
        marks: what shows in sentences that answer as well: lists, orders, examples, cautions, questions.
        asked: what the user's turn is about.
    """

    acts: Mapping[str, re.Pattern[str]]
    marks: Mapping[str, re.Pattern[str]]
    asked: Mapping[str, re.Pattern[str]]

    def measures(self, answer: str, asked: str) -> dict[str, float]:
        """Return the measures of one turn that are not 0, by name."""
        reading = Reading.of(answer[:_READ], asked)
        every = [reading.text[start:end] for start, end in reading.sentences(_SENTENCES)]
        chosen = [*every[:_FIRST], *every[max(_FIRST, len(every) - _LAST) :]]
        result: dict[str, float] = {}
        idle = [True] * len(chosen)
        for name, pattern in self.acts.items():
            for place, is_there in enumerate(_placed(name, pattern, chosen, result)):
                idle[place] = idle[place] and not is_there
        for name, pattern in self.marks.items():
            _placed(name, pattern, chosen, result)
        _answering(chosen, idle, result)
        _shape(reading, answer[:_READ], result)
        self._request(reading, every, result)
        return {f"{MARK}{name}": value for name, value in result.items() if value}

    def _request(self, reading: Reading, sentences: Sequence[str], result: dict[str, float]) -> None:
        """Measure what was asked, and which acts the answer opens with when that is asked."""
        found = [name for name, pattern in self.asked.items() if pattern.search(reading.asked)]
        words = len(reading.asked.split())
        found += ["long"] * (words > 60) + ["tiny"] * (words <= 3)
        named = set(_WORD.findall(reading.asked))
        if named:
            result["echo"] = len(named.intersection(_WORD.findall(" ".join(sentences[:3])))) / len(named)
        opening = [name for name in (*self.acts, *self.marks) if result.get(f"{name}.1") or result.get(f"{name}.2")]
        for asked in found:
            result[f"?{asked}"] = 1.0
            result[f"?{asked}*content"] = result["content"]
            result.update({f"?{asked}*{name}": 1.0 for name in opening})


def _placed(name: str, pattern: re.Pattern[str], sentences: Sequence[str], result: dict[str, float]) -> list[bool]:
    """Measure where a pattern is: in the first sentence, the next two, the last two, and in how many of all."""
    hits = [pattern.search(sentence) is not None for sentence in sentences]
    if any(hits):
        result[f"{name}.1"] = float(hits[0])
        result[f"{name}.2"] = float(any(hits[1:3]))
        result[f"{name}.last"] = float(len(hits) > 3 and any(hits[-2:]))
        result[f"{name}.share"] = sum(hits) / len(hits)
        result[f"{name}.any"] = 1.0
    return hits


def _answering(sentences: Sequence[str], idle: Sequence[bool], result: dict[str, float]) -> None:
    """Measure how much of a turn does none of the acts, and where that begins: this is what answers."""
    words = [len(sentence.split()) for sentence in sentences]
    plain = [place for place, count in enumerate(words) if idle[place] and count >= _SUBSTANCE]
    result["content"] = sum(count for place, count in enumerate(words) if idle[place]) / (sum(words) or 1)
    result["plain.at"] = plain[0] / len(sentences) if plain else 1.0
    result["plain.none"] = float(not plain)
    result["plain.run"] = min(1.0, len(plain) / 8)


def _shape(reading: Reading, text: str, result: dict[str, float]) -> None:
    """Measure the length of a turn and what it is made of."""
    words = reading.words
    result["length"] = min(1.5, math.log1p(words) / 6)
    result["short"], result["middling"], result["long"] = map(float, (words < 25, 25 <= words < 70, words >= 150))
    result["code"] = float("```" in text)
    result["quotes"] = float('"' in reading.text)
    result["digits"] = min(1.0, 20 * sum(map(str.isdigit, text)) / max(1, len(text)))
