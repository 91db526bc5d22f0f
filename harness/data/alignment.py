"""The alignment filter: which assistant turns refuse, disclaim or moralise.

Owns the rule pack format (`training/filters/<name>@<version>.toml`) and the labelling of turns by it.
Does not drop anything (see `variants`). Invariant: the label of a turn depends on the pack, the turn and
the user turn before it, and on no other chat.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from harness.errors import InputError, nearest
from harness.layout import names, shipped
from harness.nouns import Chat, Label, Role, TurnLabel
from harness.store.files import sha256_of

# One character for one character, so that positions in the folded text are positions in the original.
_FOLD = str.maketrans("\u2019\u2018\u02bc\u00b4\u201c\u201d\u00a0\t", "''''\"\"  ")
# The bounds keep a pathological turn (a megabyte without a full stop) from taking minutes: rules scan a
# sentence quadratically at worst. Real sentences, and what a user asks for, lie within them.
_SENTENCE = re.compile(r"[^\n]{1,600}?(?:[.!?]+[\"')\]*]*(?=\s|$)|(?=\n)|$)|[^\n]{600}")
_ASKED = 1000
_REST = 5000
_FRAGMENT = re.compile(r"\{([a-z][a-z_]*)\}")
_ASSIGNABLE = frozenset(Label) - {Label.NONE, Label.UNDETERMINED}


class Rule(BaseModel):
    """One rule as written in the pack; all patterns ignore case and see folded quotation marks.

    Attributes:
        id: stable name that labels and reports carry.
        label: what a turn is labelled when the rule fires.
        pattern: searched within one sentence at a time.
        sentences: only this many sentences from the start of the turn are looked at; 0 = all.
        user: the user turn before (of a long one, the start and the end) must contain this.
        rest: the turn must contain this after the match, within 5,000 characters.
        unless: the sentence must contain none of these.
        unless_user: the user turn before must contain none of these.
        max_words: only turns of at most this many words; 0 = any length.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    label: Label
    pattern: str
    sentences: int = Field(default=0, ge=0)
    user: str | None = None
    rest: str | None = None
    unless: tuple[str, ...] = ()
    unless_user: tuple[str, ...] = ()
    max_words: int = Field(default=0, ge=0)

    @field_validator("label")
    @classmethod
    def _is_assignable(cls, label: Label) -> Label:
        if label not in _ASSIGNABLE:
            raise ValueError(f"a rule cannot give the label '{label.value}'")
        return label


class PackFile(BaseModel):
    """The TOML file: `{fragment}` in a pattern stands for the fragment of that name.

    The order of `rule` is the precedence: the first rule that fires labels the turn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    notes: str = ""
    fragments: dict[str, str] = {}
    rule: tuple[Rule, ...] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compiled:
    id: str
    label: Label
    pattern: re.Pattern[str]
    sentences: int
    user: re.Pattern[str] | None
    rest: re.Pattern[str] | None
    unless: tuple[re.Pattern[str], ...]
    unless_user: tuple[re.Pattern[str], ...]
    max_words: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pack:
    """A compiled rule pack; `digest` is the sha256 of its file and enters cache keys."""

    name: str
    version: str
    digest: str
    rules: tuple[_Compiled, ...]


def load_pack(reference: str) -> Pack:
    """Load the shipped rule pack `name@version`.

    Raises:
        InputError: for an unknown pack (suggests the nearest) or an invalid pack file (all problems at once).
    """
    known = names("training", "filters")
    if reference not in known:
        raise InputError(
            f"There is no filter '{reference}' in {shipped('training')}/filters.{nearest(reference, known)}"
        )
    path = known[reference]
    try:
        file = PackFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise InputError(f"The filter file {path} is not valid: {error}. Correct the file.") from error
    if f"{file.name}@{file.version}" != reference:
        raise InputError(
            f"The filter file {path} calls itself '{file.name}@{file.version}'; its name and version must be"
            f" those of the file, '{reference}'."
        )
    rules = compile_rules(file, str(path))
    return Pack(name=file.name, version=file.version, digest=sha256_of(path), rules=rules)


def compile_rules(file: PackFile, where: str) -> tuple[_Compiled, ...]:
    """Expand the fragments and compile the patterns; `where` names the file in errors."""
    ids = [rule.id for rule in file.rule]
    problems = [f"rule id '{name}' is used twice" for name in sorted({i for i in ids if ids.count(i) > 1})]

    def pattern(rule: Rule, text: str) -> re.Pattern[str]:
        try:
            return re.compile(_expand(text, file.fragments), re.IGNORECASE)
        except (re.error, KeyError, RecursionError) as error:
            problems.append(f"rule '{rule.id}': {error}")
            return re.compile("")

    compiled = tuple(
        _Compiled(
            id=rule.id,
            label=rule.label,
            pattern=pattern(rule, rule.pattern),
            sentences=rule.sentences,
            user=None if rule.user is None else pattern(rule, rule.user),
            rest=None if rule.rest is None else pattern(rule, rule.rest),
            unless=tuple(pattern(rule, text) for text in rule.unless),
            unless_user=tuple(pattern(rule, text) for text in rule.unless_user),
            max_words=rule.max_words,
        )
        for rule in file.rule
    )
    if problems:
        raise InputError(f"The filter file {where} is not valid: {'; '.join(problems)}. Correct the file.")
    return compiled


def label(chats: Iterable[Chat], pack: Pack) -> list[TurnLabel]:
    """Label every assistant turn, in order; `NONE` with an empty rule and span where nothing fires."""
    return [turn_label for chat in chats for turn_label in _label_chat(chat, pack)]


def label_turn(text: str, user: str, pack: Pack) -> tuple[Label, str, int, int]:
    """Label one assistant turn; return (label, rule id, start, end) positions in characters."""
    folded, asked = text.translate(_FOLD), user.translate(_FOLD)
    if len(asked) > 2 * _ASKED:
        asked = f"{asked[:_ASKED]}\n{asked[-_ASKED:]}"
    sentences = list(_sentences(folded))
    words = len(folded.split())
    for rule in pack.rules:
        if rule.max_words and words > rule.max_words:
            continue
        span = _fires(rule, folded, sentences)
        # The user's turn last: it can be pages long, and few rules get this far.
        if span is not None and _fits(rule, asked):
            return rule.label, rule.id, *span
    return Label.NONE, "", 0, 0


def _label_chat(chat: Chat, pack: Pack) -> Iterator[TurnLabel]:
    user = ""
    for number, turn in enumerate(chat.turns):
        if turn.role is Role.USER:
            user = turn.text
        elif turn.role is Role.ASSISTANT:
            found, rule, start, end = label_turn(turn.text, user, pack)
            yield TurnLabel(chat_id=chat.id, turn=number, label=found, rule=rule, start=start, end=end)


def _fires(rule: _Compiled, text: str, sentences: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    for start, end in sentences[: rule.sentences or None]:
        sentence = text[start:end]  # a slice, so that ^ means the start of the sentence
        match = rule.pattern.search(sentence)
        if match is None or _quoted(text, start, start + match.start()):
            continue
        if any(pattern.search(sentence) for pattern in rule.unless):
            continue
        if rule.rest is not None and not rule.rest.search(text, start + match.end(), end + _REST):
            continue
        return start + match.start(), start + match.end()
    return None


def _fits(rule: _Compiled, asked: str) -> bool:
    if rule.user is not None and not rule.user.search(asked):
        return False
    return not any(pattern.search(asked) for pattern in rule.unless_user)


def _quoted(text: str, sentence_start: int, position: int) -> bool:
    """Say whether a place is inside quotation marks or a code fence: cited words are not the speaker's."""
    return text.count('"', sentence_start, position) % 2 == 1 or text.count("```", 0, position) % 2 == 1


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    for match in _SENTENCE.finditer(text):
        start = match.start() + len(match.group()) - len(match.group().lstrip())
        if start < match.end():
            yield start, match.end()


def _expand(pattern: str, fragments: dict[str, str]) -> str:
    def fragment(match: re.Match[str]) -> str:
        if match.group(1) not in fragments:
            raise KeyError(f"no fragment named '{match.group(1)}'.{nearest(match.group(1), fragments)}")
        return f"(?:{_expand(fragments[match.group(1)], fragments)})"

    return _FRAGMENT.sub(fragment, pattern)


def pack_identity(pack: Pack) -> dict[str, Any]:
    """Return what of a pack enters a cache key."""
    return {"name": pack.name, "version": pack.version, "sha256": pack.digest}
