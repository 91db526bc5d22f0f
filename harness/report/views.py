"""The result as Markdown, CSV and JSON, and the sentences that all views share.

Owns wording and number formats. Computes nothing. Invariant: no view says more than the JSON does, and
none contains a time, a path or a rate, so equal studies give equal bytes.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from harness.compare import Claim, Estimate, Gap, Incomparable
from harness.report.result import ArmRow, Result, Seen, TaskRow
from harness.study.choice import BASE_ARM

_COLUMNS = (
    *("study", "task", "metric", "items", "arm", "chats", "supervised_tokens", "steps", "seeds"),
    *("score", "low", "high", "reference", "treated", "gap", "gap_low", "gap_high", "relative"),
)


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
    controls = {name for row in result.tasks for name in row.controls}
    otherwise = ("as many words as", "as many chats of every length as")
    plain = not any(what in arm.treatment for arm in result.arms if arm.name in controls for what in otherwise)
    size = "as many chats" if plain else "as much"
    return f"{result.treated} against random removal of {size}"


def against_controls(result: Result) -> list[tuple[str, str, str, str]]:
    """Return (task, control, gap, reading) of the treated arm against every control of its size."""
    return [
        (row.title, name, absolute(gap), reading(gap)) for row in result.tasks for name, gap in row.controls.items()
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


def as_json(result: Result) -> str:
    """Return the one JSON document of a study."""
    return json.dumps(_document(result), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _document(result: Result) -> dict[str, Any]:
    return {
        "study": result.study,
        "title": result.title,
        "reference": result.reference,
        "treated": result.treated,
        "seeds": list(result.seeds),
        "limit": result.limit,
        "profiles": list(result.profiles),
        "filter": result.filter,
        "claim": result.claim,
        "data": dict(result.funnel),
        "training": dict(result.training),
        "arms": [_arm(arm) for arm in result.arms],
        "tasks": [_task(row, result) for row in result.tasks],
    }


def _arm(arm: ArmRow) -> dict[str, Any]:
    return {
        "name": arm.name,
        "treatment": arm.treatment,
        "chats": arm.chats,
        "supervised_tokens": arm.supervised_tokens,
        "steps": arm.steps,
        "seeds": list(arm.seeds),
        "dropped": dict(arm.dropped),
        "treated": dict(arm.treated),
        "weights": dict(arm.weights),
        "cut_chats": arm.cut_chats,
        "silent_chats": arm.silent_chats,
        "diverged": list(arm.diverged),
    }


def _task(row: TaskRow, result: Result) -> dict[str, Any]:
    gap: dict[str, Any]
    if isinstance(row.gap, Incomparable):
        gap = {
            "absolute": None,
            "relative": None,
            "low": None,
            "high": None,
            "denominator": result.reference,
            "incomparable": row.gap.message,
        }
    else:
        gap = {
            "absolute": row.gap.absolute,
            "low": row.gap.low,
            "high": row.gap.high,
            "relative": row.gap.relative,
            "relative_low": row.gap.relative_low,
            "relative_high": row.gap.relative_high,
            "denominator": result.reference,
            "scope": row.gap.scope.value,
        }
    return {
        "task": row.task,
        "title": row.title,
        "metric": row.metric,
        "chance": row.chance,
        "items": row.items,
        "scores": {
            name: {"mean": value.mean, "low": value.low, "high": value.high} for name, value in row.scores.items()
        },
        "gap": gap,
        "reading": reading(row.gap),
        "against_controls": {
            name: None
            if isinstance(control, Incomparable)
            else {"absolute": control.absolute, "low": control.low, "high": control.high}
            for name, control in row.controls.items()
        },
        "profile": row.profile,
        "shortened_prompts": row.shortened_prompts,
        "unextracted": dict(row.unextracted),
        "isolation": list(row.isolation),
        "unfinished": row.unfinished,
        "seen_in_training": None if row.seen is None else _seen(row.seen),
    }


def _seen(seen: Seen) -> dict[str, Any]:
    without = seen.gap_without
    return {
        "words": seen.words,
        "reference_only": list(seen.reference_only),
        "treated_only": list(seen.treated_only),
        "shared": list(seen.shared),
        "gap_without": {"absolute": without.absolute, "low": without.low, "high": without.high}
        if isinstance(without, Gap)
        else None,
    }


def as_csv(result: Result) -> str:
    """Return one line per task and arm, with the pair's gap repeated on its task's lines."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(_COLUMNS)
    arms = {arm.name: arm for arm in result.arms}
    for row in result.tasks:
        gap: list[Any] = [None] * 4
        if isinstance(row.gap, Gap):
            gap = [row.gap.absolute, row.gap.low, row.gap.high, row.gap.relative]
        for name, value in row.scores.items():
            arm = arms[name]
            writer.writerow(
                [
                    *(result.study, row.task, row.metric, row.items, name, arm.chats, arm.supervised_tokens),
                    *(arm.steps, len(arm.seeds), value.mean, value.low, value.high),
                    *(result.reference, result.treated, *gap),
                ]
            )
    return sink.getvalue()


def as_markdown(result: Result) -> str:
    """Return the report that is written beside the records."""
    pair = (result.reference, result.treated)
    others = [arm.name for arm in result.arms if arm.name not in pair]
    columns = [*pair, *others]
    lines = [f"# {result.study}: {result.title}", "", f"{gap_heading(result)}.", ""]
    lines += _rows(
        ["task", "items", *columns, "gap", "relative", "reading"],
        [
            [
                f"{row.title} ({row.metric})",
                str(row.items),
                *[estimate(row.scores[name]) for name in columns],
                absolute(row.gap),
                relative(row.gap),
                reading(row.gap),
            ]
            for row in result.tasks
        ],
    )
    lines += ["", *(f"{line}  " for line in footnotes(result)), ""]
    if against_controls(result):
        lines += [f"## {controls_heading(result)}", ""]
        rows = [list(row) for row in against_controls(result)]
        lines += [*_rows(["task", "control", "gap", "reading"], rows), ""]
    lines += ["## Arms", ""]
    lines += _rows(
        ["arm", "treatment", "chats", "supervised tokens", "steps", "seeds"],
        [
            [
                *(arm.name, arm.treatment, f"{arm.chats:,}", f"{arm.supervised_tokens:,}", f"{arm.steps:,}"),
                " ".join(map(str, arm.seeds)) or "-",
            ]
            for arm in result.arms
        ],
    )
    lines += ["", "## Data", "", *_funnel(result)]
    settings = result.training
    lines += [
        "",
        "## Provenance",
        "",
        f"Scoring profile {', '.join(f'`{name}`' for name in result.profiles)}, filter `{result.filter}`; attention"
        f" {', '.join(settings['attention'])} on"
        f" {', '.join(settings['accelerator'])}; {settings['cut_chats']:,} chats cut at the recipe's length over all"
        " trainings.",
        "",
    ]
    lines += _rows(
        ["arm", "seed", "sha256 of the weights"],
        [
            [arm.name, seed or "-", f"`{digest[:16]}`"]
            for arm in result.arms
            for seed, digest in sorted(arm.weights.items())
        ],
    )
    return "\n".join(lines) + "\n"


def _funnel(result: Result) -> list[str]:
    funnel = result.funnel
    read = ", ".join(f"{name} {count:,}" for name, count in sorted(funnel["read"].items()))
    lines = [f"- rows read: {read}"]
    chosen = ", ".join(f"{name} {count:,}" for name, count in sorted(funnel["selected"].items()))
    lines.append(f"- selected: {chosen}")
    dropped = ", ".join(f"{name} {count:,}" for name, count in sorted(funnel["dropped_by_cleaning"].items()))
    lines.append(
        f"- after cleaning {funnel['cleaned']:,}, after mixing {funnel['mixed']:,} (dropped: {dropped or 'none'})"
    )
    for name, what in (("repaired", "chats repaired"), ("repeat_a_passage", "chats that repeat a long passage")):
        if funnel.get(name):
            lines.append(f"- {what}: {funnel[name]:,}")
    labels = ", ".join(f"{name} {count:,}" for name, count in sorted(funnel["labels"].items()))
    lines.append(f"- assistant turns by label: {labels}")
    for arm in result.arms:
        if arm.dropped:
            counts = ", ".join(f"{name} {count:,}" for name, count in sorted(arm.dropped.items()))
            lines.append(f"- {arm.name}: {arm.chats:,} chats (dropped: {counts})")
        if arm.treated:
            counts = ", ".join(f"{name} {count:,}" for name, count in sorted(arm.treated.items()))
            lines.append(f"- {arm.name}: {counts}")
    return lines


def _rows(header: list[str], rows: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(header), line(["---"] * len(header)), *[line(row) for row in rows]]
