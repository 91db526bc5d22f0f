"""The result for programs: JSON and CSV.

Owns their keys and columns. Computes nothing. Invariant: no other view says more than the JSON does.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from harness.compare import Gap, Incomparable
from harness.report import tradeoff_views
from harness.report.result import ArmRow, Result, Seen, TaskRow
from harness.report.wording import reading

_COLUMNS = (
    *("study", "task", "metric", "items", "arm", "chats", "supervised_tokens", "steps", "seeds"),
    *("score", "low", "high", "reference", "treated", "gap", "gap_low", "gap_high", "relative"),
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
            control.reference: None
            if isinstance(control.gap, Incomparable)
            else {"absolute": control.gap.absolute, "low": control.gap.low, "high": control.gap.high}
            for control in row.controls
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
