"""The small classifier of a pack: word n-grams and measures of structure, one weight per label, a softmax.

Owns the n-grams and the plain text format of the weights (one feature a line, readable in a diff). Does not measure
structure (see `structure`), fit weights (see `training/filters/classifier/fit.py`) or decide labels (see `engine`).
Invariant: the probabilities of a turn depend on the turn and the user turn before it, not on the batch it is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.data.alignment.structure import MARK, Structure
from harness.errors import InputError
from harness.nouns import Label
from harness.store.files import sha256_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HEADER = "harness n-gram weights 1"
#: Characters of the answer, and of the user's turn, that are read: a refusal shows within the first sentences.
ANSWER, ASKED = 700, 160
#: Words of the answer that count as its opening.
OPENING = 10
_PRIME, _STEP, _EARLY, _USER = 0x100000001B3, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_MASK = (1 << 64) - 1
_BITS = 20


class Scorer(Protocol):
    """What a pack asks of a classifier."""

    @property
    def digest(self) -> str:
        """Changes when the weights do."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """The columns of `scores`."""

    def scores(self, answers: Sequence[str], asked: Sequence[str]) -> NDArray[np.float64]:
        """Return probabilities of shape (turns, labels); rows sum to 1."""


def ngram_hash(ngram: str) -> int:
    """Return the 64-bit hash of an n-gram as the weights file writes it: words between blanks.

    A leading "^ " marks one in the answer's opening, a leading "? " one of the user's turn.
    """
    mark, *words = ngram.split(" ")
    if mark not in ("^", "?"):
        mark, words = "", ngram.split(" ")
    value = 0
    for word in words:
        value = (value * _STEP + _word_hash(word)) & _MASK
    return value * {"": 1, "^": _EARLY, "?": _USER}[mark] & _MASK


def _word_hash(word: str) -> int:
    value = 0
    for position, byte in enumerate(word.encode()):
        value += (byte + 1) * pow(_PRIME, position, 1 << 64)
    return value * _STEP & _MASK


def words_of(text: str, limit: int) -> list[str]:
    """Return the words that features are made of; the vectorised `_hashes` sees the same."""
    plain = text[:limit].lower().replace("'", "").encode("utf-8", "ignore")
    return "".join(chr(byte) if _is_word(byte) else " " for byte in plain).split()


def _is_word(byte: int) -> bool:
    return chr(byte).isalnum() and byte < 128


def ngrams_of(answer: str, asked: str) -> Iterator[str]:
    """Yield the features of one turn as text, for fitting and for explaining; repeated ones repeatedly."""
    for words, mark in ((words_of(answer, ANSWER), ""), (words_of(asked, ASKED), "? ")):
        for size in (1, 2, 3):
            for start in range(len(words) - size + 1):
                ngram = " ".join(words[start : start + size])
                yield mark + ngram
                if not mark and start < OPENING:
                    yield f"^ {ngram}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A classifier read from a weights file.

    Attributes:
        digest: sha256 of the file.
        labels: the columns.
        bias: shape (labels,).
        table: shape (2 ** 20,), from the low bits of a hash to a row of `weights`; 0 = no feature.
        checks: shape (features + 1,), the whole hashes, so that other n-grams with the same low bits do not count.
        weights: shape (features + 1, labels).
        structure: what measures a turn; None = n-grams alone.
        measures: name of a measure -> its row in `measure_weights`.
        measure_weights: shape (measures, labels).
    """

    digest: str
    labels: tuple[Label, ...]
    bias: NDArray[np.float64]
    table: NDArray[np.int32]
    checks: NDArray[np.uint64]
    weights: NDArray[np.float64]
    structure: Structure | None
    measures: dict[str, int]
    measure_weights: NDArray[np.float64]

    @classmethod
    def load(cls, path: Path, structure: Structure | None = None) -> Weights:
        """Read a weights file.

        Its lines are the header, the labels, the bias, then one n-gram or "#measure" each with its weights, between
        tabs. Measures need a `structure`.

        Raises:
            InputError: when the file is missing or is not such a file.
        """
        import numpy as np

        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            if lines[0] != _HEADER:
                raise ValueError(f"the first line is not '{_HEADER}'")
            labels = tuple(Label(name) for name in lines[1].split("\t")[1:])
            bias, *values = (_numbers(line, len(labels)) for line in lines[2:])
        except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
            raise InputError(f"The weights file {path} cannot be used: {error}. Fit it again.") from error
        features = dict(zip((line.partition("\t")[0] for line in lines[3:]), values, strict=True))
        measures = {name: number for number, name in enumerate(name for name in features if name.startswith(MARK))}
        if measures and structure is None:
            raise InputError(f"The weights file {path} weighs structure; its pack needs [acts], [marks] and [asked].")
        ngrams = [name for name in features if name not in measures]
        checks = np.array([0, *map(ngram_hash, ngrams)], dtype=np.uint64)
        table = np.zeros(1 << _BITS, dtype=np.int32)
        # The first come first: of two features with the same low bits (about 1 in 300) the lesser is never seen.
        for row in range(len(ngrams), 0, -1):
            table[int(checks[row]) >> (64 - _BITS)] = row
        return cls(
            digest=sha256_of(path),
            labels=labels,
            bias=np.array(bias),
            table=table,
            checks=checks,
            weights=np.array([[0.0] * len(labels), *(features[name] for name in ngrams)]),
            structure=structure,
            measures=measures,
            measure_weights=np.array([features[name] for name in measures]).reshape(len(measures), len(labels)),
        )

    @staticmethod
    def save(path: Path, labels: Sequence[Label], bias: Sequence[float], rows: dict[str, Sequence[float]]) -> None:
        """Write a weights file; the n-grams with the largest weights first."""
        order = sorted(rows, key=lambda ngram: (-max(map(abs, rows[ngram])), ngram))
        lines = [_HEADER, "\t".join(["labels", *(label.value for label in labels)])]
        for name, values in [("bias", bias), *((ngram, rows[ngram]) for ngram in order)]:
            lines.append("\t".join([name, *(f"{value:.2f}" for value in values)]))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def scores(self, answers: Sequence[str], asked: Sequence[str]) -> NDArray[np.float64]:
        """Return probabilities of shape (turns, labels); rows sum to 1."""
        import numpy as np

        count = len(answers)
        found = [_hashes(answers, ANSWER, ""), _hashes(asked, ASKED, "?")]
        turns = np.concatenate([turn for turn, _ in found])
        hashes = np.concatenate([value for _, value in found])
        rows = self.table[hashes >> np.uint64(64 - _BITS)]
        known = np.flatnonzero((rows != 0) & (self.checks[rows] == hashes))
        # Each feature counts once a turn.
        size = len(self.checks)
        present = np.unique(turns[known] * size + rows[known])
        turn, row = present // size, present % size
        norm = 1 / np.sqrt(np.maximum(1, np.bincount(turn, minlength=count)))
        sums = [np.bincount(turn, self.weights[row, column], count) for column in range(len(self.labels))]
        logits = np.stack(sums, axis=1) * norm[:, None] + self.bias + self._structural(answers, asked)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def _structural(self, answers: Sequence[str], asked: Sequence[str]) -> NDArray[np.float64]:
        """Return what the measures of structure add, shape (turns, labels)."""
        import numpy as np

        sums = np.zeros((len(answers), len(self.labels)))
        if self.structure is None or not self.measures:
            return sums
        for number, (answer, user) in enumerate(zip(answers, asked, strict=True)):
            found = self.structure.measures(answer, user)
            pairs = [(self.measures[name], value) for name, value in found.items() if name in self.measures]
            rows = [row for row, _ in pairs]
            sums[number] = np.array([value for _, value in pairs]) @ self.measure_weights[rows]
        return sums


def _numbers(line: str, count: int) -> list[float]:
    values = [float(value) for value in line.split("\t")[1:]]
    if len(values) != count:
        raise ValueError(f"'{line[:40]}' has {len(values)} weights, not {count}")
    return values


def _hashes(texts: Sequence[str], limit: int, mark: str) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the number of the text and the hash of every n-gram of up to three words.

    All texts are one array of bytes; words are runs of letters and digits in it, hashed as polynomials by
    differences of running sums, which is exact since all arithmetic is modulo 2 ** 64.
    """
    import numpy as np

    pieces = [text[:limit].lower().replace("'", "").encode("utf-8", "ignore") + b" " for text in texts]
    data = np.frombuffer(b" " + b"".join(pieces), dtype=np.uint8)
    borders = np.cumsum([1, *map(len, pieces)])
    inside = np.array([_is_word(byte) for byte in range(256)])[data]
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts = edges[0::2]
    text = np.searchsorted(borders, starts, side="right") - 1
    if not len(starts):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)
    offset = np.zeros(len(data), dtype=np.int64)
    offset[starts] = np.diff(starts, prepend=0)
    within = np.arange(len(data)) - np.cumsum(offset)
    powers = np.array([pow(_PRIME, position, 1 << 64) for position in range(limit + 1)], dtype=np.uint64)
    terms = np.where(inside, data.astype(np.uint64) + np.uint64(1), np.uint64(0)) * powers[np.minimum(within, limit)]
    word = np.add.reduceat(terms, starts) * np.uint64(_STEP)
    return _ngrams(word, text, mark)


def _ngrams(
    word: NDArray[np.uint64], text: NDArray[np.int64], mark: str
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    import numpy as np

    step = np.uint64(_STEP)
    first = np.searchsorted(text, text, side="left")
    opening = np.arange(len(word)) - first < OPENING
    turns, values, hashed = [], [], word
    for size in (1, 2, 3):
        if size > 1:
            hashed = hashed[:-1] * step + word[size - 1 :]
        whole = text[: len(hashed)] == text[size - 1 :]
        turns.append(text[: len(hashed)][whole])
        values.append(hashed[whole] * np.uint64(_USER) if mark else hashed[whole])
        if not mark:
            early = whole & opening[: len(hashed)]
            turns.append(text[: len(hashed)][early])
            values.append(hashed[early] * np.uint64(_EARLY))
    return np.concatenate(turns), np.concatenate(values)
