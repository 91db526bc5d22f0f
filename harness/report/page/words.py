"""What the page says that other views do not: signs beside verdicts, and what stands in the way of believing a number.

Owns these words. Judges nothing. Invariant: no sentence claims more than the verdicts of the result.
"""

from __future__ import annotations

from harness.compare import Incomparable, Verdict
from harness.report import verdicts
from harness.report.numbers import counted, probability
from harness.report.result import Result, TaskRow

MARKS = {
    Verdict.IMPROVED.value: "▲",
    Verdict.REGRESSED.value: "▼",
    Verdict.EQUIVALENT.value: "≈",
    Verdict.INCONCLUSIVE.value: "?",
    Verdict.INCOMPARABLE.value: "∅",
}
"""A sign beside every verdict, so that no colour is needed to tell them apart."""


def verdict_of(row: TaskRow) -> Verdict:
    """Return the verdict of a task; what was not judged has shown nothing."""
    if isinstance(row.gap, Incomparable):
        return Verdict.INCOMPARABLE
    return Verdict.INCONCLUSIVE if row.judgement is None else row.judgement.verdict


def warnings(result: Result) -> list[str]:
    """Return what a reader has to know before any number, beside what the headline says."""
    lines = list(verdicts.warnings(result))
    if result.limit:
        lines.append(f"At most {counted(result.limit, 'item')} per task: not the whole benchmark.")
    lines += [
        f"The training of '{arm.name}' diverged under seeds {', '.join(map(str, arm.diverged))}."
        for arm in result.arms
        if arm.diverged
    ]
    return lines


def grounds(row: TaskRow) -> list[str]:
    """Return what stands under a verdict: its p-value, and what would decide an open one."""
    judged = row.judgement
    lines = []
    if judged is not None and judged.adjusted is not None:
        value = probability(judged.adjusted)
        lines.append(f"p {value if value.startswith('<') else f'= {value}'}, corrected")
    if needed := verdicts.needed(row.gap, judged):
        lines.append(f"to decide: {needed}")
    return lines
