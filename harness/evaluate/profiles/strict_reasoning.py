"""The profile `strict` for worked answers (BBH): what follows the last "the answer is", in the form of the target.

Owns extraction and comparison. Does not stop generation: the YAML does. Invariant: an answer is read without
looking at what the target says, only at its form; one that is not of this form counts as unextracted and scores 0.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_CUE = re.compile(r"\bthe (?:final |correct )?answer is\b", re.IGNORECASE)
_WRAPPING = " \t\r\n:*_`\"'“”‘’"
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_OPTION = re.compile(r"(?:[Oo]ption )?(?:\(([A-Z])\)|([A-Z])(?=[).:,;*]|\s*$))")
_NUMBER = re.compile(r"\$?[-+−]?\$?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?![\d/]|\.\d)")
_BRACKETS = "()[]{}<>"
# A target that is one of these is answered by one of these; "Yes" for "True" is read, and wrong.
_CLOSED = {"yes", "no", "true", "false", "valid", "invalid"}


class Form(enum.StrEnum):
    """What a target looks like."""

    OPTION = "option"
    WORD = "word"
    NUMBER = "number"
    BRACKETS = "brackets"
    TEXT = "text"


def form(target: str) -> Form:
    """Return the form of a target: "(A)", "Yes", "-35", "] )", and for all else its words (word_sorting; the four
    targets of movie_recommendation and ruin_names that are no option)."""
    if re.fullmatch(r"\([A-Z]\)", target):
        return Form.OPTION
    if target.lower() in _CLOSED:
        return Form.WORD
    if re.fullmatch(r"-?\d+(\.\d+)?", target):
        return Form.NUMBER
    if target and not set(target) - set(_BRACKETS + " "):
        return Form.BRACKETS
    return Form.TEXT


def stated(text: str) -> str | None:
    """Return what follows the last "the answer is", to the end of its line; None without these words."""
    cues = list(_CUE.finditer(text))
    if not cues:
        return None
    after = text[cues[-1].end() :].lstrip(_WRAPPING).split("\n")[0]
    return after.rstrip()


def normal(text: str, wanted: Form) -> str | None:
    """Return an answer in a form that equal answers share; None where it is not of that form.

    OPTION: "(B) 05/01/2021.", "B" and "(B)" are "B", but "Both" is none. WORD: its first word, lower-case.
    NUMBER: "24.", "24.0" and "1,024 apples" are "24", "24", "1024"; "-5" stays negative. BRACKETS: without spaces.
    TEXT: words to the end of the sentence, lower-case, without commas.
    """
    match wanted:
        case Form.OPTION:
            found = _OPTION.match(text)
            return (found[1] or found[2]) if found else None
        case Form.WORD:
            word = re.match(r"[a-z]+(?![\w-])", text.lower())
            return word[0] if word and word[0] in _CLOSED else None
        case Form.NUMBER:
            number = _NUMBER.match(text)
            return _plain(number[0]) if number else None
        case Form.BRACKETS:
            run = re.match(rf"[{re.escape(_BRACKETS)}\s]+", text)
            return "".join(run[0].split()) if run else None
    words = [word.strip(_WRAPPING + ",;") for word in _SENTENCE_END.split(text)[0].lower().split()]
    return " ".join(word for word in words if word) or None


def _plain(number: str) -> str:
    value = Decimal(number.replace("−", "-").replace(",", "").replace("$", "")).normalize()
    return f"{value + 0:f}"


def answer(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Score one worked answer.

    lm-eval's filter (bbh/cot_fewshot/_cot_fewshot_template_yaml:24) gives away the last character of what it finds,
    whatever that is: "24" without a full stop becomes "2", "(A)" becomes "(A", and "(A). " keeps its stop, so that
    white space decides. It also takes the first "the answer is" of an answer that corrects itself.

    Returns:
        exact_match: 1.0 where answer and target are the same; unextracted: 1.0 where there is no answer.
    """
    wanted = form(doc["target"])
    said = stated(results[0])
    found = None if said is None else normal(said, wanted)
    right = found is not None and found == normal(doc["target"], wanted)
    return {"exact_match": float(right), "unextracted": float(found is None)}
