"""Matching of rules: whether a rule of a pack fires on one assistant turn, and where.

Owns the places where words are not the speaker's (quotations, code). Does not know files (see `pack`), sentences (see
`reading`) or languages (see `languages`). Invariant: a rule fires, or not, whatever other rules there are.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.alignment.compiling import Compiled
from harness.data.alignment.reading import Reading
from harness.nouns import Label

_SHORT = 400
_REST = 5000


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What is said of one turn; `score` is the classifier's probability where it took part."""

    label: Label
    rule: str = ""
    start: int = 0
    end: int = 0
    score: float | None = None


def fires(rule: Compiled, reading: Reading) -> Found | None:
    """Return what the rule says of a turn, or None; the classifier's score, if it needs one, is not asked here."""
    if rule.max_words and reading.words > rule.max_words:
        return None
    # A short question is cheaper to look at than the answer, a long one is not.
    if rule.user is not None and len(reading.asked) < _SHORT and not reading.was_asked(rule.user):
        return None
    span = _search(rule, reading) if reading.contains(rule.pattern, rule.sentences) else None
    if span is None or not _fits(rule, reading):
        return None
    if rule.label is Label.NONE:
        return Found(label=Label.NONE)
    return Found(label=rule.label, rule=rule.id, start=span[0], end=span[1])


def _search(rule: Compiled, reading: Reading) -> tuple[int, int] | None:
    text = reading.text
    for start, end in reading.sentences(rule.sentences):
        sentence = text[start:end]  # a slice, so that ^ means the start of the sentence
        match = rule.pattern.search(sentence)
        if match is None:
            continue
        opening = text.rfind("\n", 0, start) + 1 if rule.whole_paragraph else start
        if _quoted(text, opening, start + match.start()):
            continue
        if any(pattern.search(sentence) for pattern in rule.unless):
            continue
        # A slice here too, so that ^ means directly after the match.
        after = text[start + match.end() : end + _REST] if rule.rest is not None or rule.unless_rest else ""
        if rule.rest is not None and not rule.rest.search(after):
            continue
        if any(pattern.search(after) for pattern in rule.unless_rest):
            continue
        return start + match.start(), start + match.end()
    return None


def _fits(rule: Compiled, reading: Reading) -> bool:
    if rule.user is not None and not reading.was_asked(rule.user):
        return False
    return not any(reading.was_asked(pattern) for pattern in rule.unless_user)


def _quoted(text: str, opening: int, position: int) -> bool:
    """Say whether a place is inside quotation marks or a code fence: cited words are not the speaker's."""
    return text.count('"', opening, position) % 2 == 1 or text.count("```", 0, position) % 2 == 1
