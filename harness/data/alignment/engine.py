"""Labelling of chats: rules, classifier and language of a pack come together here.

Owns the stream of labels and the order of decisions. Does not drop anything (see `harness.data.variants`).
Invariant: the label of a turn depends on the pack, the turn and the user turn before it, on no other chat and
not on the batch; what the pack cannot judge is "undetermined", never silently "none".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from harness.data.alignment import languages
from harness.data.alignment.compiling import Compiled
from harness.data.alignment.pack import Pack
from harness.data.alignment.reading import Reading
from harness.data.alignment.rules import Found, fires
from harness.nouns import Chat, Label, Role, TurnLabel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Turns that are labelled at once: the classifier works on arrays over them.
BATCH = 512
#: Rule ids of decisions that no rule of a pack made.
LANGUAGE, SHORT = "undetermined.language", "undetermined.short"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One assistant turn with the user turn before it; `number` counts the turns of the chat from 0."""

    chat: Chat
    number: int
    text: str
    user: str


def label(chats: Iterable[Chat], pack: Pack) -> Iterator[TurnLabel]:
    """Label every assistant turn, in order; one batch of turns is in memory at a time.

    The rule and the span are empty where the label is "none".
    """
    for asked, found in label_turns(assistant_turns(chats), pack):
        yield TurnLabel(
            chat_id=asked.chat.id,
            turn=asked.number,
            label=found.label,
            rule=found.rule,
            start=found.start,
            end=found.end,
            score=found.score,
        )


def label_turns(turns: Iterator[Asked], pack: Pack) -> Iterator[tuple[Asked, Found]]:
    """Yield every turn with what the pack says of it; one batch of turns is in memory at a time."""
    while batch := list(islice(turns, BATCH)):
        yield from zip(batch, judge([(turn.text, turn.user) for turn in batch], pack), strict=True)


def label_turn(text: str, user: str, pack: Pack) -> Found:
    """Label one assistant turn after one user turn."""
    return next(judge([(text, user)], pack))


def assistant_turns(chats: Iterable[Chat]) -> Iterator[Asked]:
    """Yield the assistant turns of chats, each with the last user turn before it ("" without one)."""
    for chat in chats:
        user = ""
        for number, turn in enumerate(chat.turns):
            if turn.role is Role.USER:
                user = turn.text
            elif turn.role is Role.ASSISTANT:
                yield Asked(chat=chat, number=number, text=turn.text, user=user)


def judge(turns: Sequence[tuple[str, str]], pack: Pack) -> Iterator[Found]:
    """Yield what the pack says of (assistant turn, user turn) pairs."""
    readings = [Reading.of(text, user) for text, user in turns]
    said = [_candidates(reading, pack) for reading in readings]
    # The classifier reads only the turns on which a rule waits for it, all of them at once: 6 % of real turns.
    waiting = [number for number, candidates in enumerate(said) if any(c.rule and c.rule.score for c in candidates)]
    scores = dict(zip(waiting, _scores([readings[number] for number in waiting], pack), strict=True))
    for number, candidates in enumerate(said):
        yield _first(candidates, pack, scores.get(number))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """What a rule says of a turn, if the classifier agrees; `rule` is None where no rule was needed."""

    found: Found
    rule: Compiled | None


def _candidates(reading: Reading, pack: Pack) -> list[_Candidate]:
    """Return what rules say, in order of precedence, up to the first that needs no classifier."""
    language = _language(reading) if pack.languages else ""
    if language and language not in pack.languages:
        return [_Candidate(found=Found(label=Label.UNDETERMINED, rule=LANGUAGE), rule=None)]
    candidates = []
    # Without evidence of a language, too short a turn for instance, the rules of all of them are tried.
    passing = pack.gate.passing(reading.text, language)
    while passing:
        number = (passing & -passing).bit_length() - 1
        passing &= passing - 1
        found = fires(pack.rules[number], reading)
        if found is not None:
            candidates.append(_Candidate(found=found, rule=pack.rules[number]))
            if not pack.rules[number].score:
                return candidates
    return [*candidates, _Candidate(found=_nothing(reading, pack, language), rule=None)]


def _first(candidates: Sequence[_Candidate], pack: Pack, scores: NDArray[np.float64] | None) -> Found:
    """Return the first candidate that needs no score or has it."""
    for candidate in candidates:
        rule = candidate.rule
        if rule is None or not rule.score:
            return candidate.found
        assert scores is not None and pack.scorer is not None, "scores were asked for"
        score = float(sum(scores[pack.scorer.labels.index(name)] for name in rule.score_of))
        if score >= rule.score:
            return replace(candidate.found, score=score)
    raise AssertionError("the last candidate needs no score")


def _scores(readings: Sequence[Reading], pack: Pack) -> Sequence[NDArray[np.float64]]:
    if not readings or pack.scorer is None:
        return []
    return list(pack.scorer.scores([reading.text for reading in readings], [reading.asked for reading in readings]))


def _language(reading: Reading) -> str:
    return languages.language_of(reading.text) or languages.language_of(reading.asked)


def _nothing(reading: Reading, pack: Pack, language: str) -> Found:
    """Say "none" where the pack can tell, and "undetermined" where it cannot."""
    if not pack.languages:
        return Found(label=Label.NONE)
    short = len(reading.text) <= 4 * pack.shortest and languages.letters(reading.text) < pack.shortest
    # Code and figures are answers, however few letters they have.
    if short and not ("`" in reading.text or any(map(str.isdigit, reading.text))):
        return Found(label=Label.UNDETERMINED, rule=SHORT)
    if not language and languages.letters(languages.prose(reading.text)) >= pack.shortest:
        return Found(label=Label.UNDETERMINED, rule=LANGUAGE)
    return Found(label=Label.NONE)
