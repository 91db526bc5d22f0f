"""The gate language: which loss is tolerated on which task, such as 'mmlu: -1%, bbh: -0.5pt, *: -3%'.

Owns its grammar and the errors that point at a place in the text. Tests nothing (see `outcome`). Invariant: a gate that
was parsed names tasks that are asked, each at most once, and every amount in it can be shown to hold or not.

    gate  = check { "," check }
    check = ( task | "*" ) ":" sign number ( "%" | "pt" )        "*" is every task that has no check of its own

"%" is of the reference's mean score, "pt" is percentage points. A minus is a loss that is tolerated, a plus is a gain
that is required.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.errors import InputError, nearest

OTHERS = "*"
_AMOUNT = re.compile(r"(?P<sign>[+-])\s*(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>%|pt)")
_EXAMPLES = "such as -1% (of the reference's score) or -0.5pt (percentage points)"


class Unit(enum.StrEnum):
    """What an amount is measured in."""

    RELATIVE = "%"
    POINTS = "pt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What one task, or every other one, may lose.

    Attributes:
        task: its name, or "*".
        amount: signed fraction: of the reference's mean, or of the whole scale from 0 to 1.
        unit: which of the two.
        text: the amount as it was written.
    """

    task: str
    amount: float
    unit: Unit
    text: str

    def margin(self, reference: float) -> float:
        """Return the least allowed gap, treated - reference, as a fraction, where the reference scores `reference`."""
        return self.amount * reference if self.unit is Unit.RELATIVE else self.amount

    def words(self, reference: str) -> str:
        """Say what is allowed, in words; `reference` is the name of the reference arm."""
        what = "a loss of at most" if self.amount < 0 else "a gain of at least"
        size = self.text.lstrip("+-").removesuffix(self.unit.value).strip()
        return f"{what} {size} % of {reference}'s score" if self.unit is Unit.RELATIVE else f"{what} {size} points"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """A gate that was read: its checks in the order of the text."""

    text: str
    checks: tuple[Check, ...]

    def of(self, *names: str) -> Check | None:
        """Return the check of the first of a task's names that has one, else that of "*"; None = it is not gated."""
        known = {check.task: check for check in self.checks}
        return next((known[name] for name in (*names, OTHERS) if name in known), None)


def parse(text: str, tasks: Sequence[str]) -> Gate:
    """Return the gate of a text.

    Args:
        tasks: names that it may use.

    Raises:
        InputError: all faults of the text at once, each with its place and what was expected there.
    """
    checks: dict[str, Check] = {}
    faults: list[tuple[int, str]] = []
    for start, part in _parts(text):
        try:
            check = _check(part, start, tasks)
            if check.task in checks:
                raise _Fault(start, f"'{check.task}' has a check already: '{checks[check.task].text}'.")
        except _Fault as fault:
            faults.append((fault.place, fault.message))
        else:
            checks[check.task] = check
    if faults:
        raise InputError("\n".join(["--gate cannot be read:", *_pointed(text, faults)]))
    return Gate(text=text.strip(), checks=tuple(checks.values()))


class _Fault(Exception):
    """Something in the text that is not as expected, and where."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place, self.message = place, message


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """Yield the checks of a text with the places where they start, leading spaces left out."""
    start = 0
    for part in text.split(","):
        stripped = part.lstrip()
        yield start + len(part) - len(stripped), stripped.rstrip()
        start += len(part) + 1


def _check(part: str, start: int, tasks: Sequence[str]) -> Check:
    """Return the check of one part; raises `_Fault`."""
    if not part:
        raise _Fault(start, "expected a check, such as 'mmlu: -1%' or '*: -3%'.")
    name, colon, amount = part.rpartition(":")
    if not colon:
        raise _Fault(start + len(part), f"expected ':' and what the task may lose, {_EXAMPLES}.")
    task = name.strip()
    if not task:
        raise _Fault(start, "expected the name of a task, or '*' for all others, before the ':'.")
    if task != OTHERS and task not in tasks:
        raise _Fault(start, f"no task that is asked is named '{task}'.{nearest(task, tasks)}")
    place = start + len(name) + 1 + len(amount) - len(amount.lstrip())
    return _amount(task, amount.strip(), place)


def _amount(task: str, text: str, place: int) -> Check:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        if re.fullmatch(r"[\d.]+\s*(%|pt)", text):
            raise _Fault(
                place, f"expected a sign: -{text} is a loss that is tolerated, +{text} a gain that is required."
            )
        if re.fullmatch(r"[+-]\s*[\d.]+", text):
            raise _Fault(place + len(text), "expected '%' (of the reference's score) or 'pt' (percentage points).")
        raise _Fault(place, f"expected a sign, a number and a unit, {_EXAMPLES}.")
    size = float(match["number"]) / 100
    if not 0 < size < 1:
        reason = "a loss of nothing can never be shown" if size == 0 else "nothing can lose or gain as much"
        raise _Fault(place, f"expected a number between 0 and 100, without these two: {reason}.")
    unit = Unit(match["unit"])
    return Check(task=task, amount=-size if match["sign"] == "-" else size, unit=unit, text=re.sub(r"\s", "", text))


def _pointed(text: str, faults: Sequence[tuple[int, str]]) -> Iterator[str]:
    """Yield the lines that show each fault below the place in the text where it is."""
    for place, message in faults:
        yield f"  {_one_line(text)}"
        yield f"  {' ' * place}^ {_one_line(message)}"


def _one_line(text: str) -> str:
    """Return a text as long as it was, on one line, so that a mark below it is at its place."""
    return "".join(one if one.isprintable() else " " for one in text)
