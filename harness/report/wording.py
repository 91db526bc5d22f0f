"""The sentences that all views share: the answer, the headings, and what stands under a table.

Owns wording. Computes nothing. Invariant: no sentence contains a time, a path or a rate, so equal studies give equal
bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.compare import Gap, Verdict
from harness.report import verdicts
from harness.report.numbers import absolute, counted, percent, probability
from harness.report.result import ControlKind, Result, TaskRow
from harness.study.choice import definition
from harness.study.judging import BASE_ARM

_ON = (
    (Verdict.IMPROVED, "better on"),
    (Verdict.REGRESSED, "worse on"),
    (Verdict.EQUIVALENT, "equivalent on"),
    (Verdict.INCONCLUSIVE, "undecided on"),
    (Verdict.INCOMPARABLE, "not comparable on"),
)


def headline(result: Result) -> str:
    """Answer the study's question in one sentence: what the treated data do in place of the reference's.

    It speaks of the first profile; the verdicts of others stand in the tables. The primary task comes first.
    """
    scope = f"Over {len(result.seeds)} training seeds"
    if BASE_ARM in (result.reference, result.treated):
        scope = "Of these checkpoints only"
    elif len(result.seeds) == 1:
        scope = "With one training seed, so of these checkpoints only"
    rows = [row for row in result.tasks if row.profile == result.profiles[0]]
    if not rows:
        return f"{scope}: safety tasks alone were asked, which have no verdict; see what safety costs and buys."
    if all(_verdict(row) is Verdict.INCONCLUSIVE for row in rows):
        where = f"any of the {len(rows)} tasks" if len(rows) > 1 else _named(rows[0], result)
        pair = f"{result.treated} differs from {result.reference}"
        return f"{scope}, it is undecided whether {pair} on {where}{_missed(rows)}."
    found = [(words, [row for row in rows if _verdict(row) is one]) for one, words in _ON]
    found = [(words, own) for words, own in found if own]
    found.sort(key=lambda one: all(row.task != result.primary for row in one[1]))
    clauses = [f"{words} {_listed([_named(row, result) for row in own])}" for words, own in found]
    clauses = [
        clause + (_missed(own) if words == "undecided on" else "")
        for clause, (words, own) in zip(clauses, found, strict=True)
    ]
    return f"{scope}, {result.treated} against {result.reference} is {'; '.join(clauses)}."


def _verdict(row: TaskRow) -> Verdict:
    return Verdict.INCONCLUSIVE if row.judgement is None else row.judgement.verdict


def _named(row: TaskRow, result: Result) -> str:
    """Return a task's name with what its verdict rests on."""
    details = ["the primary task"] if row.task == result.primary else []
    if isinstance(row.gap, Gap) and _verdict(row) in verdicts.CALLED:
        details.append(f"{100 * row.gap.absolute:+.1f} points")
    if row.judgement is not None and _verdict(row) is Verdict.EQUIVALENT:
        details.append(f"within {percent(row.judgement.margin)} points")
    return f"{row.title} ({'; '.join(details)})" if details else row.title


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _missed(rows: Sequence[TaskRow]) -> str:
    """Say which gaps could have been there unseen; empty where that is not known."""
    seen = [row.judgement.smallest for row in rows if row.judgement and row.judgement.smallest is not None]
    if not seen:
        return ""
    low, high = percent(min(seen)), percent(max(seen))
    return f", where gaps below {low if low == high else f'{low} to {high}'} points are easily missed"


def gap_heading(result: Result) -> str:
    """Say which difference the gap is and what it is relative to."""
    return f"gap = {result.treated} - {result.reference}, relative = gap / {result.reference}"


def relative_heading(result: Result) -> str:
    """Name the relative gap by its denominator."""
    return f"gap / {result.reference}"


def scores_heading(result: Result) -> str:
    """Say what the scores are and what stands beside them."""
    return f"scores in per cent, {confidence(result)} interval below"


def confidence(result: Result) -> str:
    """Return the confidence of every interval and verdict, per cent."""
    return f"{100 * result.rule.confidence:g} %"


def footnotes(result: Result) -> list[str]:
    """Return the sentences under every table."""
    lines = [
        f"Scores in per cent, gaps in points; intervals {confidence(result)}. {gap_heading(result)}.",
        f"A gap is a {result.claim}.",
        *_judging(result),
    ]
    if result.limit:
        lines.append(
            f"At most {counted(result.limit, 'item')} per task, spread evenly over its subtasks: not the whole"
            " benchmark."
        )
    lines += [f"{row.title}: {text}." for row in result.tasks if (text := verdicts.spread(row.gap))]
    lines += [_flips(row) for row in result.tasks if row.flips is not None]
    lines += _losses(result)
    pair = [arm for arm in result.arms if arm.name in (result.reference, result.treated)]
    same_size = len({(arm.chats, arm.steps) for arm in pair}) == 1
    random = any(control.kind is ControlKind.RANDOM for row in result.tasks for control in row.controls)
    if not (random or same_size) and BASE_ARM not in (result.reference, result.treated):
        lines.append("No random control of equal size: the gap may be one of the amount of data.")
    if any(isinstance(row.gap, Gap) and row.gap.relative is None for row in result.tasks):
        lines.append("A dash: the relative gap's denominator is not distinguishable from zero.")
    return lines


def _flips(row: TaskRow) -> str:
    """Say which items flipped between two single checkpoints, and what the exact test says of their number."""
    assert row.flips is not None, "asked of such a row alone"
    flips = row.flips
    return (
        f"{row.title}: {flips.gained} items gained, {flips.lost} lost between the two checkpoints; exact McNemar p"
        f" {probability(flips.p_value)}, as if items were independent."
    )


def _judging(result: Result) -> list[str]:
    """Say by which rule the verdicts were reached."""
    judged = [row for row in result.tasks if row.judgement is not None]
    if not judged:
        return []
    family = _family(result, judged)
    lines = [
        f"Verdicts: improved or regressed where p{family} is below {1 - result.rule.confidence:.3g}; equivalent where"
        f" both one-sided tests show the gap to be within the margin{', corrected alike' if family else ''}."
    ]
    if result.primary and len(judged) > len(result.profiles):
        lines.append(
            "The primary task is tested first and by itself, the others only once it is settled by the same test."
        )
    if result.rule.primary and not result.primary:
        lines.append(f"The study's primary task, {result.rule.primary}, was not asked.")
    if any(row.judgement and row.judgement.smallest is not None for row in judged):
        lines.append(
            "Smallest: the true gap, in points, that such a study calls in 80 % of its repetitions, before correction;"
            " to decide: what it would take to call a gap as large as the margin as often."
        )
    if any(row.judgement and row.judgement.seeds_assumed for row in judged):
        lines.append("One run shows nothing of training luck: the seeds to decide assume some (docs/statistics.md).")
    return lines


def _family(result: Result, judged: Sequence[TaskRow]) -> str:
    """Say over which tasks p-values were corrected: those that pair, without the primary one; empty for one or none."""
    paired = [row for row in judged if isinstance(row.gap, Gap)]
    sizes = {
        sum(row.profile == profile for row in paired) - _first_alone(result, paired, profile)
        for profile in result.profiles
    }
    if max(sizes) < 2:
        return ""
    count = f"{max(sizes)} tasks" if len(sizes) == 1 else "tasks"
    each = " of each profile" if len(result.profiles) > 1 else ""
    beside = " beside the primary one" if result.primary else ""
    pair = " that pair" if len(paired) < len(judged) else ""
    return f", corrected over the {count}{each}{beside}{pair} (Holm),"


def _first_alone(result: Result, paired: Sequence[TaskRow], profile: str) -> bool:
    """Whether a profile's primary task, tested outside of the family, is among the tasks that pair."""
    names = {definition(result.rule.primary or "", profile)} if result.primary else set()
    return any(row.task in names for row in paired)


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
            answers = counted(row.unfinished, "answer")
            lines.append(f"{row.title}: {answers} over all checkpoints ended at the token limit.")
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
