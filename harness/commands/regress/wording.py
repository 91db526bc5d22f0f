"""The sentences that all views of a gate share.

Owns wording. Computes nothing. Invariant: a sentence about one training seed speaks of checkpoints, and none contains a
time or a rate, so that equal verdicts give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.commands.regress.outcome import Outcome, Tested
from harness.commands.regress.regression import Arm, Line, Verdict
from harness.compare import Gap, Incomparable
from harness.report.numbers import absolute, counted, percent, probability

_SHOWN = 5
"""Names of changed items that are printed; the command shows all."""

_SMALLEST = 0.01
"""Reference score below which a share of it is no sensible margin: 1 % of 1 % is one item of 10,000."""

HEADER = ("task", "gap, points", "allowed", "p", "outcome")


def headline(verdict: Verdict) -> str:
    """Say in one sentence what the gate says."""
    new, old = verdict.treated.pack, verdict.reference.pack
    if verdict.same:
        return (
            f"Passed: the two versions leave the same chats: nothing to train. Every model of '{verdict.variant}' under"
            f" {new} is one under {old}."
        )
    regressed = verdict.named(Outcome.REGRESSED)
    if regressed:
        return f"Regressed: {_titles(regressed)}. {new} costs more than the gate allows against {old}."
    if verdict.open:
        passed = verdict.named(Outcome.PASSED)
        also = f" Passed: {_titles(passed)}." if passed else ""
        fails = "which fails under --strict" if verdict.strict else "which does not fail without --strict"
        return f"Not decided: {_titles(verdict.open)}, {fails}.{also}"
    if not verdict.named(Outcome.PASSED):
        return "Nothing is gated: the gate names no task that was asked."
    return f"Passed: no task loses more under {new} than the gate allows against {old}."


def title(verdict: Verdict) -> str:
    """Name what was gated."""
    return f"{verdict.study}, '{verdict.variant}': {verdict.treated.pack} against {verdict.reference.pack}"


def row(line: Line) -> tuple[str, str, str, str, str]:
    """Return the cells of one task, below `HEADER`."""
    tested = line.tested
    gap = absolute(tested.gap) if isinstance(tested.gap, Gap) else "-"
    return line.title, gap, allowed(tested), p_value(tested), tested.outcome.value


def allowed(tested: Tested) -> str:
    """Return the check as it was written, with what it comes to in points."""
    if tested.check is None:
        return "-"
    if tested.margin is None or tested.check.text.endswith("pt"):
        return tested.check.text
    return f"{tested.check.text} = {100 * tested.margin:+.2f}"


def p_value(tested: Tested) -> str:
    """Return the p-value of the verdict; of an open one that of having held."""
    return probability(tested.lost if tested.outcome is Outcome.REGRESSED else tested.held)


def reasons(line: Line, verdict: Verdict) -> list[str]:
    """Say why a task did not pass: value, interval, margin, p, and which items changed; nothing for one that did."""
    tested = line.tested
    if not (tested.outcome.open or tested.outcome is Outcome.REGRESSED):
        return []
    if isinstance(tested.gap, Incomparable):
        return [f"{line.title}: incomparable. {tested.gap.message}"]
    assert isinstance(tested.gap, Gap)
    assert tested.check is not None
    old, new = verdict.reference.name, verdict.treated.name
    limit = "" if tested.check.text.endswith("pt") else f" = {100 * abs(tested.margin or 0.0):.2f} points"
    lines = [
        f"{line.title}: {tested.outcome.value}.",
        f"{new} {percent(tested.gap.treated)} %, {old} {percent(tested.gap.reference)} %: gap {absolute(tested.gap)}"
        f" points{_relative(tested.gap)}; {_count(tested.gap.items, 'item')}, {_count(tested.gap.seeds, 'seed')}.",
        f"Allowed: {tested.check.words(old)}{limit}. {_evidence(tested, verdict)}",
    ]
    if tested.check.text.endswith("%") and tested.gap.reference < _SMALLEST:
        lines.append(f"{old} scores nearly nothing, and a share of that is no margin: give points, such as -1pt.")
    return lines + _changes(line)


def command(line: Line) -> str:
    """Return the command that shows the changed items of a task that did not pass; empty where there is none."""
    tested = line.tested
    changed = tested.flips is not None and (tested.flips.lost or tested.flips.gained)
    return line.command if changed and (tested.outcome.open or tested.outcome is Outcome.REGRESSED) else ""


def _relative(gap: Gap) -> str:
    if gap.relative is None or gap.relative_low is None or gap.relative_high is None:
        return ""
    return f", relative {100 * gap.relative:+.1f} % [{100 * gap.relative_low:+.1f}, {100 * gap.relative_high:+.1f}]"


def _evidence(tested: Tested, verdict: Verdict) -> str:
    beyond, within = (
        ("a larger loss", "no larger loss") if _tolerates(tested) else ("a smaller gain", "no smaller gain")
    )
    if tested.outcome is Outcome.REGRESSED:
        return f"That there is {beyond} is shown, p = {_p(tested.lost)}."
    return (
        f"Neither is shown: {within} p = {_p(tested.held)}, {beyond} p = {_p(tested.lost)};"
        f" {verdict.alpha:g} is asked for. More seeds or items may decide."
    )


def _tolerates(tested: Tested) -> bool:
    return tested.check is not None and tested.check.amount < 0


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _changes(line: Line) -> list[str]:
    flips = line.tested.flips
    if flips is None:
        return []
    if not flips.lost and not flips.gained:
        return ["No item changed."]
    found = [f"Items that changed: {len(flips.lost)} lost, {len(flips.gained)} gained."]
    for word, names in (("Lost", flips.lost), ("Gained", flips.gained)):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            found.append(f"{word}: {', '.join(names[:_SHOWN])}{more}.")
    return found


def data(verdict: Verdict) -> list[str]:
    """Say what the versions leave of the chats, and where they differ."""
    old, new = verdict.reference, verdict.treated
    lines = [f"{_chats(old)}; {_chats(new)}."]
    for name, before, after in (("dropped", old.dropped, new.dropped), ("changed", old.treated, new.treated)):
        moved = [
            f"{reason} {before.get(reason, 0):,} -> {after.get(reason, 0):,}"
            for reason in sorted({*before, *after})
            if before.get(reason, 0) != after.get(reason, 0)
        ]
        if moved:
            lines.append(f"Chats {name}, by reason: {', '.join(moved)}.")
    return lines


def _chats(arm: Arm) -> str:
    return f"{arm.pack} leaves {arm.chats:,} chats ({arm.name})"


def notes(verdict: Verdict) -> list[str]:
    """Return the sentences under the table: how it was tested, what it is about, what was left out."""
    lines = data(verdict)
    free = verdict.named(Outcome.NOT_GATED)
    if not verdict.same:
        gated = sum(line.tested.held is not None for line in verdict.lines)  # that pair
        lines.append(
            f"One-sided tests against what is allowed, paired over seeds and items; Holm over {_count(gated, 'task')},"
            f" alpha {verdict.alpha:g}; p is that of the outcome, and of passing where there is none. Intervals 95 %."
            f" gap = {verdict.treated.name} - {verdict.reference.name}."
        )
        lines.append(claim(verdict))
    if verdict.limit:
        lines.append(f"At most {counted(verdict.limit, 'item')} per task: not the whole benchmark.")
    if free:
        lines.append(f"Reported but not gated, since the gate has no check for it: {_titles(free)}.")
    return lines


def claim(verdict: Verdict) -> str:
    """Say what the verdict is about, no more than the seeds allow."""
    if len(verdict.seeds) == 1:
        return "It is about these checkpoints: one training seed says nothing yet about the versions of the filter."
    return f"It is about the versions of the filter, over {len(verdict.seeds)} training seeds."


def _titles(lines: Sequence[Line]) -> str:
    return ", ".join(line.title for line in lines)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
