"""The sentences of a page that other views do not have.

Owns their wording. Computes nothing. Invariant: no sentence claims more than the verdicts of the result.
"""

from __future__ import annotations

from harness.compare import Gap, Verdict
from harness.report import wording
from harness.report.result import Control, ControlKind, Result, TaskRow

MARKS = {
    Verdict.IMPROVED.value: "▲",
    Verdict.REGRESSED.value: "▼",
    Verdict.EQUIVALENT.value: "≈",
    Verdict.INCONCLUSIVE.value: "?",
    Verdict.INCOMPARABLE.value: "∅",
}
"""A sign beside every verdict, so that no colour is needed to tell them apart."""


def verdict_of(row: TaskRow) -> Verdict:
    """Return the verdict of a task; a result without verdicts has shown nothing."""
    if row.judgement is not None:
        return row.judgement.verdict
    return Verdict.INCONCLUSIVE if isinstance(row.gap, Gap) else Verdict.INCOMPARABLE


def headline(result: Result) -> str:
    """Return the answer of a study in one sentence."""
    groups: dict[Verdict, list[TaskRow]] = {}
    for row in result.tasks:
        groups.setdefault(verdict_of(row), []).append(row)
    said = []
    for verdict, words in ((Verdict.REGRESSED, "is worse than"), (Verdict.IMPROVED, "is better than")):
        if rows := groups.get(verdict):
            said.append(f"{words} {result.reference} on {_listed(rows, gaps=True)}")
    if rows := groups.get(Verdict.EQUIVALENT):
        said.append(f"is as good as {result.reference} on {_listed(rows)}")
    for verdict, words in (
        (Verdict.INCONCLUSIVE, "no difference is shown on"),
        (Verdict.INCOMPARABLE, "nothing can be compared on"),
    ):
        if rows := groups.get(verdict):
            said.append(f"{words} {_listed(rows) if said or len(rows) < len(result.tasks) else 'any task'}")
    first = said[0]
    if groups.keys() <= {Verdict.INCONCLUSIVE, Verdict.INCOMPARABLE}:
        return f"{result.treated} against {result.reference}: {'; '.join(said)}."
    return f"{result.treated} {'; '.join([first, *said[1:]])}."


def warnings(result: Result) -> list[str]:
    """Return what a reader has to know before believing a number."""
    lines = []
    for row in result.tasks:
        for control in row.controls:
            if control.kind is ControlKind.SAME_DATA and isinstance(control.gap, Gap) and control.gap.called:
                lines.append(
                    f"{row.title}: the control with the same data differs ({wording.absolute(control.gap)} points), so"
                    " a gap like that arises without any change of the data."
                )
            if control.kind is ControlKind.SHUFFLED and isinstance(control.gap, Gap) and not control.gap.called:
                lines.append(
                    f"{row.title}: not even shuffled answers make a difference that this study sees"
                    f" ({wording.absolute(control.gap)} points)."
                )
    if len(result.seeds) == 1:
        lines.append("One training seed: the gaps are of these checkpoints and say nothing about the data yet.")
    if result.limit:
        lines.append(f"At most {result.limit} items per task: not the whole benchmark.")
    lines += [
        f"The training of '{arm.name}' diverged under seeds {', '.join(map(str, arm.diverged))}."
        for arm in result.arms
        if arm.diverged
    ]
    return lines


def needed(row: TaskRow) -> str:
    """Say what would decide an open verdict."""
    if row.judgement is None or row.judgement.verdict is not Verdict.INCONCLUSIVE:
        return ""
    ways = []
    if row.judgement.seeds_needed:
        ways.append(f"{row.judgement.seeds_needed} seeds")
    if row.judgement.items_needed:
        ways.append(f"{row.judgement.items_needed:,} items")
    return f"would take {' or '.join(ways)}" if ways else ""


def control_name(control: Control) -> str:
    """Say what a control is."""
    return {
        ControlKind.RANDOM: f"{control.treated} against random removal ({control.reference})",
        ControlKind.SAME_DATA: f"same data, other seeds ({control.reference}, {control.treated})",
        ControlKind.SHUFFLED: f"shuffled answers ({control.treated} against {control.reference})",
    }[control.kind]


def _listed(rows: list[TaskRow], *, gaps: bool = False) -> str:
    names = [
        f"{row.title} ({100 * row.gap.absolute:+.1f} points)" if gaps and isinstance(row.gap, Gap) else row.title
        for row in rows
    ]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
