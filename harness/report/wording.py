"""The sentences and number formats that all views share.

Owns wording. Computes nothing. Invariant: no sentence contains a time, a path or a rate, so equal studies give equal
bytes.
"""

from __future__ import annotations

from harness.compare import Claim, Estimate, Gap, Incomparable
from harness.report.result import Result, TaskRow
from harness.study.judging import BASE_ARM


def gap_heading(result: Result) -> str:
    """Say which difference the gap is and what it is relative to."""
    return f"gap = {result.treated} - {result.reference}, relative = gap / {result.reference}"


def percent(value: float) -> str:
    """Return a score of 0 to 1 in per cent."""
    return f"{100 * value:.1f}"


def estimate(value: Estimate) -> str:
    """Return a score with its interval in per cent."""
    return f"{percent(value.mean)} [{percent(value.low)}, {percent(value.high)}]"


def absolute(gap: Gap | Incomparable) -> str:
    """Return the absolute gap with its interval in points, or why there is none."""
    if isinstance(gap, Incomparable):
        return f"incomparable: {gap.reason.value}"
    return f"{100 * gap.absolute:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"


def relative(gap: Gap | Incomparable) -> str:
    """Return the relative gap in per cent, or a dash where the denominator is near zero."""
    if isinstance(gap, Incomparable) or gap.relative is None:
        return "-"
    return f"{100 * gap.relative:+.1f} %"


def reading(gap: Gap | Incomparable) -> str:
    """Say in words what the interval allows to say."""
    if isinstance(gap, Incomparable):
        return gap.message
    about = "these checkpoints" if gap.scope is Claim.CHECKPOINTS else "the variants"
    if not gap.called:
        return f"no difference of {about} shown"
    return f"{about} differ: {'higher' if gap.absolute > 0 else 'lower'}"


def footnotes(result: Result) -> list[str]:
    """Return the sentences under every table."""
    lines = [
        f"Scores in per cent, gaps in points; intervals 95 %. {gap_heading(result)}.",
        f"A gap is a {result.claim}.",
    ]
    if result.limit:
        lines.append(
            f"At most {result.limit} items per task, spread evenly over its subtasks: not the whole benchmark."
        )
    lines += _losses(result)
    pair = [arm for arm in result.arms if arm.name in (result.reference, result.treated)]
    same_size = len({(arm.chats, arm.steps) for arm in pair}) == 1
    controlled = any(row.controls for row in result.tasks) or same_size
    if not controlled and BASE_ARM not in (result.reference, result.treated):
        lines.append("No random control of equal size: the gap may be one of the amount of data.")
    if any(isinstance(row.gap, Gap) and row.gap.relative is None for row in result.tasks):
        lines.append("A dash: the relative gap's denominator is not distinguishable from zero.")
    return lines


def controls_heading(result: Result) -> str:
    """Say what the treated arm is compared with beside the reference."""
    controls = {control.reference for row in result.tasks for control in row.controls}
    otherwise = ("as many words as", "as many chats of every length as")
    plain = not any(what in arm.treatment for arm in result.arms if arm.name in controls for what in otherwise)
    size = "as many chats" if plain else "as much"
    return f"{result.treated} against random removal of {size}"


def against_controls(result: Result) -> list[tuple[str, str, str, str]]:
    """Return (task, control, gap, reading) of the treated arm against every control of its size."""
    return [
        (row.title, control.reference, absolute(control.gap), reading(control.gap))
        for row in result.tasks
        for control in row.controls
    ]


def _losses(result: Result) -> list[str]:
    """Say what was cut off, left unlearnt or unfinished; nothing is lost in silence."""
    lines = []
    cut = [f"{arm.name} {arm.cut_chats} ({arm.silent_chats})" for arm in result.arms if arm.cut_chats]
    if cut:
        lines.append(
            f"Chats of a run cut at the recipe's length (of these with nothing left to learn): {', '.join(cut)}."
        )
    for arm in result.arms:
        if arm.diverged:
            lines.append(
                f"The loss of arm '{arm.name}' was not a number under seeds {list(arm.diverged)}: it diverged."
            )
    lines += [line for row in result.tasks if (line := _overlap(row, result))]
    for row in result.tasks:
        if row.shortened_prompts:
            lines.append(
                f"{row.title}: {row.shortened_prompts} prompts over all checkpoints were too long and lost shots."
            )
        if any(row.unextracted.values()):
            shares = ", ".join(f"{arm} {percent(share)} %" for arm, share in row.unextracted.items())
            lines.append(f"{row.title}: no answer found in the text of: {shares}.")
        if any(level != "namespaces" for level in row.isolation):
            lines.append(f"{row.title}: programs were run with less isolation than usual: {', '.join(row.isolation)}.")
        if row.unfinished:
            lines.append(f"{row.title}: {row.unfinished} answers over all checkpoints ended at the token limit.")
    for name, text in sorted(result.funnel.get("cut", {}).items()):
        lines.append(f"Source '{name}' is cut off: {text}")
    if len(result.training["accelerator"]) > 1 or len(result.training["attention"]) > 1:
        lines.append(
            "The arms were trained on different devices or with different attention: their gap may be due to that."
        )
    return lines


def _overlap(row: TaskRow, result: Result) -> str:
    """Say which items training chats hold a passage of, and what the gap is without them."""
    seen = row.seen
    if seen is None or not seen.any:
        return ""
    text = (
        f"{row.title}: items that share {seen.words} words or more with chats of {result.reference} alone"
        f" {len(seen.reference_only)}, of {result.treated} alone {len(seen.treated_only)}, of both {len(seen.shared)}"
    )
    if seen.gap_without is None:
        return f"{text}; no item is left without them."
    return f"{text}; gap without them {absolute(seen.gap_without)}."
