"""The result as Markdown, for people who read the repository.

Owns the layout of `report.md`. Computes nothing. Invariant: equal results give equal bytes.
"""

from __future__ import annotations

from harness.report import tradeoff_views, verdicts
from harness.report.escapes import markdown_table
from harness.report.numbers import absolute, estimate, probability, relative
from harness.report.result import Result
from harness.report.wording import footnotes, gap_heading, headline, relative_heading

_VERDICT = ("verdict", "p", "p corrected", "smallest", "to decide")


def as_markdown(result: Result) -> str:
    """Return the report that is written beside the records."""
    pair = (result.reference, result.treated)
    others = [arm.name for arm in result.arms if arm.name not in pair]
    columns = [*pair, *others]
    lines = [f"# {result.study}: {result.title}", ""]
    lines += [line for text in verdicts.warnings(result) for line in (f"> **Warning.** {text}", "")]
    lines += [f"**{headline(result)}**", "", f"{gap_heading(result)}.", ""]
    lines += markdown_table(
        ["task", "items", *columns, "gap", relative_heading(result), *_VERDICT],
        [
            [
                f"{row.title} ({row.metric})",
                str(row.items),
                *[estimate(row.scores[name]) for name in columns],
                absolute(row.gap),
                relative(row.gap),
                verdicts.verdict(row.gap, row.judgement),
                probability(row.judgement.p_value if row.judgement else None),
                probability(row.judgement.adjusted if row.judgement else None),
                verdicts.smallest(row.judgement),
                verdicts.needed(row.gap, row.judgement) or "-",
            ]
            for row in result.tasks
        ],
    )
    lines += ["", *(f"{line}  " for line in footnotes(result)), ""]
    for table in verdicts.controls(result):
        lines += [f"## {table.heading}", ""]
        lines += [*markdown_table(["task", "gap", "verdict"], [list(row) for row in table.rows]), ""]
    if result.tradeoff is not None:
        lines += tradeoff_views.as_markdown(result.tradeoff)
    lines += ["## Arms", "", *_arms(result), "", "## Data", "", *_funnel(result), "", "## Provenance", ""]
    return "\n".join([*lines, *_provenance(result)]) + "\n"


def _arms(result: Result) -> list[str]:
    return markdown_table(
        ["arm", "treatment", "chats", "supervised tokens", "steps", "seeds"],
        [
            [
                *(arm.name, arm.treatment, f"{arm.chats:,}", f"{arm.supervised_tokens:,}", f"{arm.steps:,}"),
                " ".join(map(str, arm.seeds)) or "-",
            ]
            for arm in result.arms
        ],
    )


def _provenance(result: Result) -> list[str]:
    settings = result.training
    lines = [
        f"Scoring profile {', '.join(f'`{name}`' for name in result.profiles)}, filter `{result.filter}`; attention"
        f" {', '.join(settings['attention'])} on"
        f" {', '.join(settings['accelerator'])}; {settings['cut_chats']:,} chats cut at the recipe's length over all"
        " trainings.",
        "",
    ]
    weights = [
        [arm.name, seed or "-", f"`{digest[:16]}`"]
        for arm in result.arms
        for seed, digest in sorted(arm.weights.items())
    ]
    return [*lines, *markdown_table(["arm", "seed", "sha256 of the weights"], weights)]


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
