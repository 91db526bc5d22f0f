"""The result for programs: JSON and CSV.

Owns their keys and columns. Computes nothing. Invariant: no other view says more than the JSON does.
"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from harness.compare import Components, Gap, Incomparable, Judgement
from harness.report import tradeoff_views, verdicts
from harness.report.result import ArmRow, Control, Part, Result, Seen, TaskRow
from harness.report.wording import headline

_COLUMNS = (
    *("study", "task", "metric", "items", "arm", "chats", "supervised_tokens", "steps", "seeds"),
    *("score", "low", "high", "reference", "treated", "gap", "gap_low", "gap_high", "relative"),
    *("profile", "verdict", "p", "p_adjusted", "smallest"),
)


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
        "headline": headline(result),
        "warnings": verdicts.warnings(result),
        "verdict": result.verdict.value,
        "primary": result.primary,
        "rule": result.rule.model_dump(mode="json"),
        "data": dict(result.funnel),
        "training": dict(result.training),
        "arms": [_arm(arm) for arm in result.arms],
        "tasks": [_task(row, result) for row in result.tasks],
        **({"tradeoff": tradeoff_views.as_document(result.tradeoff)} if result.tradeoff else {}),
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
    return {
        "task": row.task,
        "title": row.title,
        "metric": row.metric,
        "chance": row.chance,
        "items": row.items,
        "scores": {
            name: {"mean": value.mean, "low": value.low, "high": value.high} for name, value in row.scores.items()
        },
        "gap": _gap(row.gap, result.reference),
        "flips": None
        if row.flips is None
        else {"gained": row.flips.gained, "lost": row.flips.lost, "mcnemar_p": row.flips.p_value},
        "verdict": _judgement(row.judgement) | {"words": verdicts.verdict(row.gap, row.judgement)},
        "controls": [_control(one) for one in row.controls],
        "parts": [_part(one, result.reference) for one in row.parts],
        "profile": row.profile,
        "shortened_prompts": row.shortened_prompts,
        "unextracted": dict(row.unextracted),
        "isolation": list(row.isolation),
        "unfinished": row.unfinished,
        "seen_in_training": None if row.seen is None else _seen(row.seen),
    }


def _gap(gap: Gap | Incomparable, denominator: str) -> dict[str, Any]:
    """Return a gap; fractions, not points. Variances are squared fractions."""
    found: dict[str, Any] = dict.fromkeys(("absolute", "low", "high", "relative"))
    if isinstance(gap, Incomparable):
        return found | {"denominator": denominator, "incomparable": gap.message}
    found |= {name: getattr(gap, name) for name in found}
    parts = gap.components
    if parts is not None and not math.isfinite(parts.variance):
        parts = None
    return found | {
        "relative_low": gap.relative_low,
        "relative_high": gap.relative_high,
        "denominator": denominator,
        "scope": gap.scope.value,
        "seeds": gap.seeds,
        "items": gap.items,
        "variance": None
        if parts is None
        else {"seed": parts.seed, "item": parts.item, "rest": _rest(parts), "all": parts.variance},
        "correlation": gap.correlation,
        "paired": gap.paired,
    }


def _rest(parts: Components) -> float | None:
    """Return the variance that items and seeds only have together; None at one run, where it is part of the items'."""
    return None if parts.remainder is None else parts.variance - parts.seed - parts.item


def _judgement(judgement: Judgement | None) -> dict[str, Any]:
    names = [
        *("p_value", "adjusted", "equivalence", "equivalence_adjusted", "margin"),
        *("smallest", "seeds_needed", "items_needed", "seeds_assumed"),
    ]
    if judgement is None:
        return dict.fromkeys(("verdict", "why", *names))
    said = {"verdict": judgement.verdict.value, "why": judgement.why.value}
    return said | {name: getattr(judgement, name) for name in names}


def _control(control: Control) -> dict[str, Any]:
    return {
        "kind": control.kind.value,
        "reference": control.reference,
        "treated": control.treated,
        "gap": _gap(control.gap, control.reference),
        "verdict": _judgement(control.judgement) | {"words": verdicts.control_verdict(control)},
    }


def _part(part: Part, denominator: str) -> dict[str, Any]:
    return {"name": part.name, "items": part.items, "gap": _gap(part.gap, denominator)}


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
        judged = _judgement(row.judgement)
        for name, value in row.scores.items():
            arm = arms[name]
            writer.writerow(
                [
                    *(result.study, row.task, row.metric, row.items, name, arm.chats, arm.supervised_tokens),
                    *(arm.steps, len(arm.seeds), value.mean, value.low, value.high),
                    *(result.reference, result.treated, *gap),
                    *(row.profile, verdicts.verdict(row.gap, row.judgement), judged["p_value"], judged["adjusted"]),
                    judged["smallest"],
                ]
            )
    return sink.getvalue()
