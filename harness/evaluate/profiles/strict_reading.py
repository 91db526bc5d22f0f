"""The profile `strict` for DROP: exact match and F1 by DROP's official rules, with numbers that stay what they are.

Owns the reading of an answer and its comparison with all gold alternatives (Dua et al. 2019, arXiv 1903.00161;
allennlp's `drop_em_and_f1`, of which lm_eval/tasks/drop/utils.py is a copy). Does not stop generation. Invariant: gold
and prediction go through the same normalisation; without the corrections named at `tokens` the scores are the official
ones.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

_CUE = re.compile(r"\banswer(?: is|:)", re.IGNORECASE)
_ARTICLES = {"a", "an", "the"}
_QUOTES = "\"'`*“”‘’"
_OPENING, _CLOSING = "([{$€£#~" + _QUOTES, ")]}%.,;:!?" + _QUOTES
_NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")
# Between digits these make one thing that is no number: a fraction, a time, a date, a score.
_COMPOUND = re.compile(r"\d+(?:[/:.,]\d+)+")


def stated(text: str) -> str:
    """Return the answer in a text: its first line that is not empty, from the last "answer is" in it on; else ""."""
    line = next((line for line in text.split("\n") if line.strip()), "")
    cues = list(_CUE.finditer(line))
    return (line[cues[-1].end() :] if cues else line).strip().strip(_QUOTES).removesuffix(".").strip()


def tokens(text: str) -> list[str]:
    """Return the words of an answer as they are compared: lower-case, no articles, no punctuation, numbers in one form.

    Corrected against the official rules, where the order of their steps spoils numbers (#1050, #2137 of lm-eval):
    "12.5." is 12.5 and not 125; so is "12.5%"; "-5" is not 5, while "20-yard" and "10-15" still fall apart; "3/4" and
    "10:30" are not 34 and 1030; "nan" and "infinity" are words.
    """
    found = []
    for word in text.lower().split():
        # A hyphen after something divides words; one before a number is its sign.
        for part in re.split(r"(?<=[^\s(\[$€£-])[-–—−]+", word):
            bare = _trimmed(part)
            number = _number(bare)
            if number is None and not _COMPOUND.fullmatch(bare):
                bare = "".join(character for character in bare if character not in string.punctuation + "–—")
                number = bare if bare not in _ARTICLES else ""
            found.append(bare if number is None else number)
    return [token for token in found if token]


def _trimmed(word: str) -> str:
    """Return a word without quotes, brackets, currency and stops around it; ".5" and "-5" keep what is theirs."""
    bare = word.rstrip(_CLOSING)
    sign = "-" if re.match(rf"[{re.escape(_OPENING)}]*[-−][{re.escape(_OPENING)}]*\.?\d", bare) else ""
    return sign + bare.lstrip(_OPENING + "-−+")


def _number(text: str) -> str | None:
    if not any(character in string.digits for character in text) or not _NUMBER.fullmatch(text):
        return None
    return f"{Decimal(text.replace(',', '').replace('−', '-')).normalize() + 0:f}"


def _f1(predicted: set[str], gold: set[str]) -> float:
    """F1 of two bags of words; 0 where gold has numbers and none of them is predicted."""
    numbers = {token for token in gold if _number(token) is not None}
    if numbers and not numbers & predicted:
        return 0.0
    common = len(predicted & gold)
    precision = common / len(predicted) if predicted else 1.0
    recall = common / len(gold) if gold else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def compare(predicted: Sequence[str], gold: Sequence[str]) -> tuple[float, float]:
    """Return (EM, F1) of predicted spans and the spans of one alternative, aligned one to one for the best F1."""
    from scipy.optimize import linear_sum_assignment

    ours, theirs = [tokens(span) for span in predicted], [tokens(span) for span in gold]
    same = sorted({*map(tuple, ours)}) == sorted({*map(tuple, theirs)}) and len(ours) == len(theirs)
    scores = np.array([[_f1(set(one), set(other)) for one in ours] for other in theirs])
    rows, columns = linear_sum_assignment(-scores)
    f1 = float(scores[rows, columns].sum()) / max(len(ours), len(theirs))
    return float(same), round(f1, 2)


def answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score one answer against all alternatives in `doc["answers"]`, each a list of spans.

    The official script is given a list of spans; a text is one span, and where an alternative has several it is also
    read as a list ("A, B and C"), the better of the two.

    Returns:
        em, f1: the best over the alternatives; unextracted: 1.0 where nothing is said, or where every alternative
        is a number and no number is said (a refusal, a yes).
    """
    said = stated(results[0])
    golds = [list(gold) for gold in doc["answers"] if gold and gold[0].strip()]
    words = tokens(said)
    numeric = bool(golds) and all(len(gold) == 1 and _number_only(gold[0]) for gold in golds)
    if not words or (numeric and not any(_number(word) is not None for word in words)):
        return {"em": 0.0, "f1": 0.0, "unextracted": 1.0}
    scored = [(0.0, 0.0)]
    for gold in golds:
        scored.append(compare([said], gold))
        if len(gold) > 1:
            spans = [span for span in re.split(r"\s*(?:,|;|&|\band\b)\s*", said) if tokens(span)]
            scored.append(compare(spans or [said], gold))
    return {"em": max(em for em, _ in scored), "f1": max(f1 for _, f1 in scored), "unextracted": 0.0}


def _number_only(text: str) -> bool:
    found = tokens(text)
    return len(found) == 1 and _number(found[0]) is not None
