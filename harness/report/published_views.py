"""What a published table can support, for terminals, README files, papers and programs.

Owns the columns and sentences. Computes nothing. Invariant: every number is one of `published.Support` or of the file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.report.escapes import latex, markdown_table
from harness.report.latex import FITTED, typeset
from harness.report.published import LEVEL, POWER, Published, Support, supports

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLUMNS = (
    *("task", "items", "base", "reference", "treated", "gap", "relative_to_reference", "relative_to_treated"),
    *("net_items", "changed_items", "best_p", "likely_p", "clustered_p", "smallest_gap", "luck_sd", "below_base"),
)


def p_value(value: float | None) -> str:
    """Return a p-value with two digits, in powers of ten where it is small; a dash where there is none."""
    if value is None:
        return "-"
    if value >= 0.001:
        return f"{value:.4f}".rstrip("0") if value < 0.1 else f"{value:.2f}"
    return f"{value:.0e}".replace("e-0", "e-")


def _gaps(table: Published) -> tuple[list[str], list[list[str]]]:
    """Return what was printed: scores, the gap, and the gap by both denominators."""
    header = [
        *("task", "items", table.base, table.reference, table.treated, "gap"),
        *(f"gap / {table.reference}", f"gap / {table.treated}"),
    ]
    rows = [
        [
            *(one.task.title, f"{one.task.items:,}"),
            *(f"{score:.2f}" for score in (one.task.base, one.task.reference, one.task.treated)),
            *(f"{one.gap:+.2f}", f"{100 * one.relative:.1f} %", f"{100 * one.worse_by:.1f} %"),
        ]
        for one in supports(table)
    ]
    return header, rows


def _limits(table: Published) -> tuple[list[str], list[list[str]]]:
    """Return what that can support: p-values and smallest effects."""
    assumed = table.assumptions
    header = [
        *("task", "net items", "best p", f"p, {100 * assumed.changed:g} % change", "p, groups"),
        *("seen, items", *(f"seen, {seeds} seeds" for seeds in assumed.seeds)),
    ]
    rows = [
        [
            *(one.task.title, f"{one.net:+,}", p_value(one.best_p)),
            *(p_value(one.likely_p), p_value(one.clustered_p), f"{one.smallest:.1f}"),
            *(f"{one.smallest_by_seeds[seeds]:.1f}" for seeds in assumed.seeds),
        ]
        for one in supports(table)
    ]
    return header, rows


def legend(table: Published) -> list[str]:
    """Return what the columns mean."""
    assumed = table.assumptions
    return [
        f"Scores in per cent, gaps in points; gap = {table.treated} - {table.reference}. As printed, it is relative to"
        f" '{table.reference}'; '{table.reference}' is worse by what is relative to '{table.treated}'.",
        "Best p: exact McNemar if every changed item changed for the better; no p can be smaller. The next one assumes"
        f" that {100 * assumed.changed:g} % of the items changed; groups, that the standard error over groups of"
        f" items is {assumed.cluster_factor:g} times that over items.",
        f"Seen: the smallest gap that is found with {100 * POWER:g} % power at {100 * LEVEL:g} %, of these two"
        f" checkpoints over items alone, and of the data over {' or '.join(map(str, assumed.seeds))} seeds per arm of"
        f" SD {assumed.seed_sd:g} points.",
    ]


def verdicts(table: Published) -> list[str]:
    """Return one sentence or two on every task: what these two checkpoints, and what the data."""
    return [f"{one.task.title}: {_items(one, table)} {_data(one, table)}" for one in supports(table)]


def _items(one: Support, table: Published) -> str:
    assumed, task = table.assumptions, one.task
    base = f"{one.right[0]:,} -> {one.right[1]:,} of {task.items:,} items."
    if one.best_p > LEVEL:
        return (
            f"{base} Even if every change went one way, p is {p_value(one.best_p)}: these two checkpoints are not told"
            " apart."
        )
    share = f"{100 * assumed.changed:g} %"
    if one.likely_p > LEVEL:
        return f"{base} If {share} of the items changed, p is {p_value(one.likely_p)}: not told apart."
    if not one.told_apart:
        return (
            f"{base} These two checkpoints differ if items are independent (p {p_value(one.likely_p)} if {share}"
            f" changed), but not if {_groups(one)} vary as much as they may (p {p_value(one.clustered_p)})."
        )
    also = f", and with {_groups(one)} as clusters" if one.clustered_p is not None else ""
    return f"{base} These two checkpoints differ: p {p_value(one.likely_p)} if {share} of the items changed{also}."


def _groups(one: Support) -> str:
    return f"{one.task.clusters} {one.task.cluster}" if one.task.clusters else str(one.task.cluster)


def _data(one: Support, table: Published) -> str:
    seeds = "One seed says" if table.seeds == 1 else f"{table.seeds} seeds say"
    if table.seeds > 1:
        return f"{seeds} something of the data only with each seed's scores."
    enough = [count for count, least in one.smallest_by_seeds.items() if abs(one.gap) >= least]
    could = (
        f"{enough[0]} seeds per arm would mostly have seen such a gap"
        if enough
        else f"{max(one.smallest_by_seeds)} seeds per arm would mostly have missed such a gap"
    )
    luck = (
        f"; seeds with an SD of {one.luck:.1f} points reach it by luck in {100 * LEVEL:g} % of studies"
        if one.luck
        else ""
    )
    return f"{seeds} nothing of the data: {could}{luck}."


def doubts(table: Published) -> list[str]:
    """Return what is missing from the evidence as a whole."""
    lines = []
    if table.seeds == 1:
        lines.append("One training seed per arm: how much a score varies between trainings is not known.")
    below = [one.task.title for one in supports(table) if one.below_base]
    if below:
        lines.append(f"Both arms are below the base on {' and '.join(below)}: the gain there is a smaller loss.")
    if not table.size_control:
        lines.append("No control of equal size: the gaps may be due to the amount of data.")
    if not table.safety_measure:
        lines.append("No safety measure: what the treatment cost in harmlessness is not known.")
    return [*lines, " ".join(table.notes.split())] if table.notes else lines


def tables(table: Published) -> list[RenderableType]:
    """Return what the terminal shows, within 80 columns."""
    from rich.table import Table
    from rich.text import Text

    found: list[RenderableType] = [Text(f"{table.title} ({table.source})", style="bold")]
    for header, rows in (_gaps(table), _limits(table)):
        shown = Table(pad_edge=False)
        shown.add_column(header[0], no_wrap=True)
        for name in header[1:]:
            shown.add_column(name, justify="right", overflow="fold")
        for row in rows:
            shown.add_row(*map(Text, row))
        found.append(shown)
    found += [Text(line) for line in legend(table)]
    found.append(Text(""))
    found += [Text(line) for line in verdicts(table)]
    found.append(Text(""))
    found += [Text(line) for line in doubts(table)]
    return found


def as_markdown(table: Published) -> str:
    """Return both tables and all sentences for a README."""
    lines = [f"# {table.title}", "", f"Source: {table.source}", ""]
    for header, rows in (_gaps(table), _limits(table)):
        lines += [*markdown_table(header, rows, numbers=range(1, len(header))), ""]
    lines += [f"{line}  " for line in legend(table)]
    for heading, sentences in (("What it supports", verdicts(table)), ("What is missing", doubts(table))):
        lines += ["", f"## {heading}", "", *[f"- {line}" for line in sentences]]
    return "\n".join(lines) + "\n"


def as_latex(table: Published) -> str:
    """Return both tables for a paper that loads booktabs and graphicx."""
    lines = [r"% needs \usepackage{booktabs,graphicx}", ""]
    for header, rows in (_gaps(table), _limits(table)):
        lines += ["{\\centering", *FITTED, f"\\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", "\\toprule"]
        lines += [_latex_line(header), "\\midrule", *[_latex_line(row) for row in rows]]
        lines += ["\\bottomrule", "\\end{tabular}}\\par}", ""]
    lines += [f"% {line}" for line in [*legend(table), *verdicts(table), *doubts(table)]]
    return "\n".join(lines) + "\n"


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(typeset(latex(cell)) for cell in cells) + " \\\\"


def as_json(table: Published) -> str:
    """Return one JSON document; scores and gaps in points, relative gaps as fractions."""
    document = {
        "table": table.model_dump(mode="json", exclude={"tasks"}),
        "tasks": [{**_plain(one), "verdict": text} for one, text in zip(supports(table), verdicts(table), strict=True)],
        "doubts": doubts(table),
    }
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(one: Support) -> dict[str, Any]:
    raw = {name: value for name, value in asdict(one).items() if name != "task"}
    return {**one.task.model_dump(mode="json"), **raw, "told_apart": one.told_apart}


def as_csv(table: Published) -> str:
    """Return one line per task."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    counts = table.assumptions.seeds
    writer.writerow([*_COLUMNS, *(f"smallest_gap_{seeds}_seeds" for seeds in counts)])
    for one in supports(table):
        task = one.task
        writer.writerow(
            [
                *(task.title, task.items, task.base, task.reference, task.treated, one.gap, one.relative),
                *(one.worse_by, one.net, one.changed, one.best_p, one.likely_p, one.clustered_p, one.smallest),
                *(one.luck, one.below_base, *(one.smallest_by_seeds[seeds] for seeds in counts)),
            ]
        )
    return sink.getvalue()


VIEWS: Mapping[str, Callable[[Published], str]] = {
    "json": as_json,
    "csv": as_csv,
    "markdown": as_markdown,
    "latex": as_latex,
}
