"""What is said of a verdict: its words, what the study could have seen, what would decide it, what its controls show.

Owns these sentences. Judges nothing (see `harness.compare`). Invariant: of one training seed, or of the base, nothing
is said but what these checkpoints do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.compare import Claim, Gap, Incomparable, Judgement, Verdict, Why
from harness.report.numbers import absolute, percent
from harness.report.result import Control, ControlKind, Result, TaskRow

CALLED = (Verdict.IMPROVED, Verdict.REGRESSED)
_CHECKPOINTS = "these checkpoints only"
_WHY = {
    Why.CALLED_WITHIN_MARGIN: ", by less than the margin",
    Why.NOT_AFTER_CORRECTION: ", once corrected over the tasks",
    Why.PRIMARY_FIRST: ", the primary task comes first",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlTable:
    """What one control says: its heading, and (task, gap, verdict) of every task."""

    kind: ControlKind
    heading: str
    rows: tuple[tuple[str, str, str], ...]


def verdict(gap: Gap | Incomparable, judgement: Judgement | None) -> str:
    """Return the verdict in words."""
    if isinstance(gap, Incomparable):
        return Verdict.INCOMPARABLE.value
    return _scoped("not judged" if judgement is None else _plain(judgement), gap)


def smallest(judgement: Judgement | None) -> str:
    """Return the smallest gap that would have been called with 80 % power, points; a dash where it is not known."""
    return "-" if judgement is None or judgement.smallest is None else percent(judgement.smallest)


def needed(gap: Gap | Incomparable, judgement: Judgement | None) -> str:
    """Say how many seeds or items would show a gap as large as the margin; empty where nothing is left to decide."""
    if judgement is None or judgement.verdict is not Verdict.INCONCLUSIVE or judgement.smallest is None:
        return ""
    assert isinstance(gap, Gap), "what is inconclusive was compared"
    if judgement.why in (Why.NOT_AFTER_CORRECTION, Why.PRIMARY_FIRST):
        return ""  # the numbers are those of a task by itself, which this study would have settled
    seeds, items = judgement.seeds_needed, judgement.items_needed
    if (seeds is not None and seeds <= gap.seeds) or (items is not None and items <= gap.items):
        return "more seeds or items than a gap as large as the margin needs"  # what there is, and it did not decide
    ways = []
    if seeds is not None:
        ways.append(f"{seeds:,} seeds ({seeds - gap.seeds:,} more)")
    if items is not None:
        ways.append(f"{items:,} items")
    if ways:
        return " or ".join(ways)
    return "seeds and items, both" if gap.scope is Claim.DATA else "several seeds"


def spread(gap: Gap | Incomparable) -> str:
    """Say where the uncertainty of a gap comes from; empty where it is not known."""
    parts = None if isinstance(gap, Incomparable) else gap.components
    if isinstance(gap, Incomparable) or parts is None or not 0 < parts.variance < math.inf:
        return ""
    # What items and seeds explain of their own; the rest is how items change from run to run.
    rest = None if parts.remainder is None else parts.variance - parts.seed - parts.item
    shares = [("seeds", None if rest is None else parts.seed), ("items", parts.item), ("rest", rest)]
    split = ", ".join(f"{name} {value / parts.variance:.0%}" for name, value in shares if value is not None)
    text = f"standard error {100 * math.sqrt(parts.variance):.1f} points, of its square {split.replace('%', ' %')}"
    if gap.correlation is not None:
        used = "the differences of their runs are used" if gap.paired else "taken as independent"
        text += f"; the arms' seeds correlate at {gap.correlation:+.2f} ({used})"
    return text


def controls(result: Result) -> list[ControlTable]:
    """Return what every control says, in order of the arms."""
    arms = list(dict.fromkeys(_arm(control) for row in result.tasks for control in row.controls))
    found = []
    for arm in arms:
        own = [(row, control) for row in result.tasks for control in row.controls if _arm(control) == arm]
        rows = tuple((row.title, absolute(control.gap), control_verdict(control)) for row, control in own)
        first = own[0][1]
        found.append(ControlTable(kind=first.kind, heading=_heading(first, result), rows=rows))
    return found


def control_verdict(control: Control) -> str:
    """Return the verdict on a control in words: of one with no treated arm it matters only whether there is a gap."""
    if control.kind is ControlKind.RANDOM or isinstance(control.gap, Incomparable) or control.judgement is None:
        return verdict(control.gap, control.judgement)
    words = {
        Verdict.IMPROVED: "differs: higher",
        Verdict.REGRESSED: "differs: lower",
        Verdict.INCONCLUSIVE: "no difference shown",
    }
    return _scoped(words.get(control.judgement.verdict, _plain(control.judgement)), control.gap)


def warnings(result: Result) -> list[str]:
    """Return what has to be read before any verdict: controls that did not do what they have to."""
    return [*_luck(result), *_blindness(result)]


def _luck(result: Result) -> Iterator[str]:
    differing = [
        (f"{row.title} {absolute(control.gap)}", control.gap)
        for row, control in _of(result, ControlKind.SAME_DATA)
        if control.judgement is not None and control.judgement.verdict in CALLED
    ]
    if differing:
        alone = any(isinstance(gap, Gap) and gap.scope is Claim.CHECKPOINTS for _, gap in differing)
        each = ", in each profile," if len(result.profiles) > 1 else ""
        expected = (
            "One training seed shows nothing of that luck, so this is to be expected."
            if alone
            else f"Chance alone gives up to {100 * (1 - result.rule.confidence):.3g} of 100 studies{each} this warning."
        )
        yield (
            f"The same data under other seeds differ too: {'; '.join(text for text, _ in differing)}. A gap of"
            f" {result.treated} there may be luck of the training runs. {expected}"
        )


def _blindness(result: Result) -> Iterator[str]:
    judged = [(row, one) for row, one in _of(result, ControlKind.SHUFFLED) if one.judgement is not None]
    unseen = [row.title for row, one in judged if one.judgement and one.judgement.verdict not in CALLED]
    if unseen:
        treatment = next(arm.treatment for arm in result.arms if arm.name == judged[0][1].treated)
        where = "any task" if len(unseen) == len(judged) else ", ".join(unseen)
        yield (
            f"The positive control ({treatment}) does not differ from {result.reference} on {where}: damage of that"
            " size is not seen there, so a verdict other than improved or regressed says little."
        )


def _of(result: Result, kind: ControlKind) -> Iterator[tuple[TaskRow, Control]]:
    for row in result.tasks:
        for control in row.controls:
            if control.kind is kind:
                yield row, control


def _arm(control: Control) -> str:
    """Return the arm that is the control: the pair's own arm stands on the other side."""
    return control.reference if control.kind is ControlKind.RANDOM else control.treated


def _heading(control: Control, result: Result) -> str:
    """Say what is compared with what, and what it is for."""
    pair = f"{control.treated} - {control.reference}"
    if control.kind is ControlKind.SAME_DATA:
        return f"{pair}: the same data under other seeds; a difference here is luck"
    treatment = next((arm.treatment for arm in result.arms if arm.name == _arm(control)), "")
    if control.kind is ControlKind.SHUFFLED:
        return f"{pair}: {treatment}; a difference has to be seen"
    otherwise = ("as many words as", "as many chats of every length as")
    size = "as much" if any(words in treatment for words in otherwise) else "as many chats"
    return f"{pair}: {control.treated} against random removal of {size}"


def _plain(judgement: Judgement) -> str:
    if judgement.verdict is Verdict.EQUIVALENT:
        return f"equivalent within {percent(judgement.margin)} points"
    return judgement.verdict.value + _WHY.get(judgement.why, "")


def _scoped(words: str, gap: Gap) -> str:
    return f"{words} ({_CHECKPOINTS})" if gap.scope is Claim.CHECKPOINTS else words
