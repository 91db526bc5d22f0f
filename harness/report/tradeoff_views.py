"""The trade-off in words and tables: what every view of a report shows of it.

Owns the wording, the sheets that Markdown, terminal and page share, and the JSON form, which is also the data of the
plots (`points`, `utility`). Computes nothing. Invariant: no share of refusals is shown without the error of its judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.compare import Incomparable, Verdict
from harness.report.escapes import markdown_table
from harness.report.numbers import absolute, estimate, interval, percent
from harness.report.result import TaskRow
from harness.report.tradeoff import GRID, Crossing, SafetyRow, TradeOff
from harness.report.utility import Sum

#: Weights of helpful that tables show; JSON has all of `GRID`.
_SHOWN = (0.0, 0.2, 0.5, 0.8, 1.0)
#: Shares of answers that could not be judged, or that say nothing, from which a sentence names them.
_MANY = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """One table: its title, the names of its columns, its rows as text; the columns from `numbers` on are numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 1


def sheets(found: TradeOff) -> list[Sheet]:
    """Return the tables of a trade-off, each at most 80 columns wide."""
    made = [
        Sheet(
            title="Safety: per cent of the answers, as judged and corrected for the judge's error",
            header=("prompts", "arm", "share", "corrected"),
            numbers=2,
            rows=tuple(
                # The name once, over the rows of its arms.
                ("" if number else f"{one.row.title}: {one.row.metric}", arm, estimate(share), _corrected(one, arm))
                for one in found.safety
                for number, (arm, share) in enumerate(one.row.scores.items())
            ),
        ),
        Sheet(
            title="Helpful and harmless, per cent; over-refusal = safe prompts that are refused",
            header=("arm", "dose", "helpful", "harmless", "over-refusal"),
            rows=tuple(
                (
                    point.arm,
                    "-" if point.dose is None else f"{point.dose:g}",
                    _sum(point.helpful),
                    _sum(point.harmless),
                    _sum(_rest(point.answered)),
                )
                for point in found.points
            ),
        ),
    ]
    if found.costs:
        made.append(
            Sheet(
                title="What the treatment costs (-) and buys (+), points",
                header=("task", "gap", "reading"),
                rows=tuple((row.title, absolute(row.gap), _cost(row)) for row in found.costs),
            )
        )
    if found.utilities:
        made.append(
            Sheet(
                title="Utility: a x helpful + (1 - a) x harmless, per cent",
                header=("arm", *(f"a = {a:g}" for a in _SHOWN)),
                rows=tuple(
                    (one.arm, *(percent(value.value) for a, value in zip(GRID, one.sums, strict=True) if a in _SHOWN))
                    for one in found.utilities
                ),
            )
        )
    return made


def notes(found: TradeOff) -> list[str]:
    """Return the sentences under the tables."""
    return [
        f"Helpful is the {found.helpful_is}, harmless the {found.harmless_is}, as the judge counts it; a mean over"
        " tasks that count alike. a is the weight of helpful in the utility.",
        *dict.fromkeys(line for one in found.safety for line in _judge(one)),
        *(line for one in found.safety for line in _doubts(one)),
        *(_crossing(one) for one in found.crossings),
    ]


def as_markdown(found: TradeOff) -> list[str]:
    """Return the section of a Markdown report."""
    lines = ["## What safety costs and buys", ""]
    for sheet in sheets(found):
        lines += [f"{sheet.title}:", "", *markdown_table(sheet.header, sheet.rows), ""]
    return [*lines, *(f"{line}  " for line in notes(found)), ""]


def as_document(found: TradeOff) -> dict[str, Any]:
    """Return the JSON form; shares and utilities are fractions."""
    return {
        "helpful_is": found.helpful_is,
        "harmless_is": found.harmless_is,
        "tasks": [_task(one) for one in found.safety],
        "costs": {
            row.task: None
            if isinstance(row.gap, Incomparable)
            else {"gap": row.gap.absolute, "low": row.gap.low, "high": row.gap.high, "reading": _cost(row)}
            for row in found.costs
        },
        "points": [
            {
                "arm": point.arm,
                "dose": point.dose,
                "helpful": _plain(point.helpful),
                "harmless": _plain(point.harmless),
                "answered": _plain(point.answered),
            }
            for point in found.points
        ],
        "utility": {
            one.arm: [{"a": a, **asdict(value)} for a, value in zip(GRID, one.sums, strict=True)]
            for one in found.utilities
        },
        "crossings": [asdict(one) for one in found.crossings],
    }


def _task(one: SafetyRow) -> dict[str, Any]:
    row = one.row
    gap: Mapping[str, Any] | None = None
    if not isinstance(row.gap, Incomparable):
        gap = {"absolute": row.gap.absolute, "low": row.gap.low, "high": row.gap.high}
    return {
        "task": row.task,
        "title": row.title,
        "metric": row.metric,
        "items": row.items,
        "scores": {arm: asdict(share) for arm, share in row.scores.items()},
        "corrected": {arm: asdict(share) for arm, share in one.corrected.items()},
        "gap": gap,
        "partly_refused": dict(one.partly),
        "undetermined": dict(one.undetermined),
        "empty": dict(one.empty),
        "judge": None if one.judge is None else asdict(one.judge),
    }


def _judge(one: SafetyRow) -> Iterator[str]:
    judge = one.judge
    if judge is None:
        yield f"{one.row.title}: the error of its judge was not measured, so nothing is corrected."
        return
    yield (
        f"Judge {judge.pack}: finds {_rate(judge.sensitivity)} of full refusals; calls {_rate(judge.false_alarms)} of"
        f" all other answers one, {_rate(judge.false_alarms_complied)} of those that comply. Of answers refused in"
        f" part it calls {_rate(judge.partial_found)} so: their number is not known. Measured on {judge.answers}."
        " The corrected interval allows a new model to differ from these as they do among themselves."
    )


def _doubts(one: SafetyRow) -> Iterator[str]:
    for what, shares in (("could not be judged", one.undetermined), ("say nothing at all", one.empty)):
        many = {arm: share for arm, share in shares.items() if share > _MANY}
        if many:
            named = ", ".join(f"{arm} {percent(share)} %" for arm, share in many.items())
            yield f"{one.row.title}: answers that {what} count as not refused: {named}."
    outside = [arm for arm, share in one.corrected.items() if share.outside]
    if outside:
        yield (
            f"{one.row.title}: (share - false alarms) / (found - false alarms) is no share between 0 and 1 for"
            f" {', '.join(outside)}: the judge errs otherwise there than where it was measured; keep to the intervals."
        )


def _crossing(one: Crossing) -> str:
    parts = [
        f"{part.better or 'open'} for a from {part.low:.2f} to {part.high:.2f}"
        if len(one.ranges) > 1
        else f"{part.better or 'open'} for every a"
        for part in one.ranges
    ]
    equal = "" if one.at is None else f"; equal at a = {one.at:.2f}"
    return f"Worth more, {one.treated} or {one.reference}: {', '.join(parts)}{equal}."


def _cost(row: TaskRow) -> str:
    if isinstance(row.gap, Incomparable):
        return row.gap.message
    verdict = row.judgement.verdict if row.judgement else Verdict.INCONCLUSIVE
    return {Verdict.REGRESSED: "costs", Verdict.IMPROVED: "buys", Verdict.EQUIVALENT: "neither"}.get(verdict, "open")


def _corrected(one: SafetyRow, arm: str) -> str:
    share = one.corrected.get(arm)
    if share is None:
        return "-"
    mark = " *" if share.outside else ""
    return interval(share.value, share.low, share.high) + mark


def _rest(share: Sum | None) -> Sum | None:
    return None if share is None else Sum(value=1 - share.value, low=1 - share.high, high=1 - share.low)


def _sum(value: Sum | None) -> str:
    return "-" if value is None else interval(value.value, value.low, value.high)


def _plain(value: Sum | None) -> dict[str, float] | None:
    return None if value is None else asdict(value)


def _rate(rate: Any) -> str:
    return f"{percent(rate.value)} % [{percent(rate.low)}, {percent(rate.high)}]"
