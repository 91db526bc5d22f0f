"""Compilation of a pack: its fragments put in, its patterns compiled, all problems reported at once.

Owns what patterns become. Does not know files (see `packfile`) or match (see `rules`). Invariant: patterns are made
for folded text (see `reading`), in which all letters are small.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.data.alignment.packfile import PackFile, Rule
from harness.data.alignment.structure import Structure
from harness.errors import InputError, nearest
from harness.nouns import Label

_CAPITAL = re.compile(r"\\.|\(\?P|[A-Z]", re.DOTALL)
_FRAGMENT = re.compile(r"\{([a-z][a-z_]*)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiled:
    """A rule whose patterns are compiled; the attributes are those of `Rule`, and `quotations` of the pack."""

    id: str
    label: Label
    pattern: re.Pattern[str]
    language: str
    words: tuple[str, ...]
    also: tuple[str, ...]
    sentences: int
    user: re.Pattern[str] | None
    rest: re.Pattern[str] | None
    unless: tuple[re.Pattern[str], ...]
    unless_rest: tuple[re.Pattern[str], ...]
    unless_user: tuple[re.Pattern[str], ...]
    max_words: int
    score: float
    score_of: tuple[Label, ...]
    whole_paragraph: bool


def compile_structure(file: PackFile, where: str) -> Structure | None:
    """Compile the patterns of the measures; None for a pack without. `where` names the file in errors."""
    if not (file.acts or file.marks or file.asked):
        return None
    problems: list[str] = []

    def patterns(table: str, named: dict[str, str]) -> dict[str, re.Pattern[str]]:
        return {name: _compiled(text, file.fragments, f"[{table}] {name}", problems) for name, text in named.items()}

    structure = Structure(
        acts=patterns("acts", file.acts), marks=patterns("marks", file.marks), asked=patterns("asked", file.asked)
    )
    _refuse(problems, where)
    return structure


def _compiled(text: str, fragments: dict[str, str], where: str, problems: list[str]) -> re.Pattern[str]:
    try:
        return re.compile(_small(_expand(text, fragments)))
    except (re.error, KeyError, RecursionError) as error:
        problems.append(f"{where}: {error}")
        return re.compile("")


def _refuse(problems: Sequence[str], where: str) -> None:
    if problems:
        raise InputError(f"The filter file {where} is not valid: {'; '.join(problems)}. Correct the file.")


def compile_rules(file: PackFile, where: str) -> tuple[Compiled, ...]:
    """Expand the fragments and compile the patterns; `where` names the file in errors."""
    ids = [rule.id for rule in file.rule]
    problems = [f"rule id '{name}' is used twice" for name in sorted({i for i in ids if ids.count(i) > 1})]

    def pattern(rule: Rule, text: str) -> re.Pattern[str]:
        return _compiled(text, file.fragments, f"rule '{rule.id}'", problems)

    def patterns(rule: Rule, texts: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
        return tuple(pattern(rule, text) for text in texts)

    compiled = tuple(
        Compiled(
            id=rule.id,
            label=rule.label,
            pattern=pattern(rule, rule.pattern),
            language=rule.language,
            words=rule.words,
            also=rule.also,
            sentences=rule.sentences,
            user=None if rule.user is None else pattern(rule, rule.user),
            rest=None if rule.rest is None else pattern(rule, rule.rest),
            unless=patterns(rule, rule.unless),
            unless_rest=patterns(rule, rule.unless_rest),
            unless_user=patterns(rule, rule.unless_user),
            max_words=rule.max_words,
            score=rule.score,
            score_of=rule.score_of or (rule.label,),
            whole_paragraph=file.quotations == "paragraph",
        )
        for rule in file.rule
    )
    _refuse(problems, where)
    return compiled


def _small(pattern: str) -> str:
    # Turns are folded to small letters, which is 2 times faster than patterns that ignore case.
    return _CAPITAL.sub(lambda match: match.group() if match.group()[0] in "\\(" else match.group().lower(), pattern)


def _expand(pattern: str, fragments: dict[str, str]) -> str:
    def fragment(match: re.Match[str]) -> str:
        if match.group(1) not in fragments:
            raise KeyError(f"no fragment named '{match.group(1)}'.{nearest(match.group(1), fragments)}")
        return f"(?:{_expand(fragments[match.group(1)], fragments)})"

    return _FRAGMENT.sub(fragment, pattern)
