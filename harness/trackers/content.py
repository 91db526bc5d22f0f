"""What trackers are given of a result.

Owns the names under which numbers are tracked. Knows no tracker. Invariant: everything comes from the result, so it is
the same whether the stages ran now, were resumed or were cached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.compare import Incomparable
from harness.report.result import ArmRow, Result, TaskRow

Setting = str | int | float | bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracked:
    """One run as trackers know it.

    Attributes:
        project: what runs are collected under.
        group: the command that it belongs to.
        name: unique in the group.
        kind: "report" or "training".
        settings: what it was made with.
        series: one value per step, from step 1; None where it was not a number.
        numbers: final values.
        texts: final values in words.
        files: to be kept with it.
    """

    project: str
    group: str
    name: str
    kind: str
    settings: Mapping[str, Setting]
    series: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


class Tracker(Protocol):
    """Something that keeps runs for people to look at."""

    def log(self, run: Tracked) -> None:
        """Keep one run, whole; raise whatever goes wrong."""


def runs_of(result: Result, folder: Path) -> list[Tracked]:
    """Return the report of a result, then one run per training.

    Args:
        folder: of the report's files.
    """
    group = result.run
    project = f"harness-{result.study}"
    report = Tracked(
        project=project,
        group=group,
        name=group,
        kind="report",
        settings=_settings(result),
        numbers=_numbers(result),
        texts=_texts(result),
        # What begins with a dot is half of a file that a killed command was writing.
        files=tuple(sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))),
    )
    arms = {arm.name: arm for arm in result.arms}
    return [
        report,
        *(
            Tracked(
                project=project,
                group=group,
                name=f"{group}/{curve.arm}/{curve.seed}",
                kind="training",
                settings={
                    "arm": curve.arm,
                    "seed": curve.seed,
                    "treatment": arms[curve.arm].treatment,
                    "weights": arms[curve.arm].weights[str(curve.seed)],
                },
                series={"loss": curve.losses},
                numbers={name: float(value) for name, value in _budget(arms[curve.arm]).items()},
            )
            for curve in result.curves
        ),
    ]


def _settings(result: Result) -> dict[str, Setting]:
    return {
        "study": result.study,
        "reference": result.reference,
        "treated": result.treated,
        "seeds": " ".join(map(str, result.seeds)),
        "tasks": " ".join(dict.fromkeys(row.task for row in result.tasks)),
        "profiles": " ".join(result.profiles),
        "limit": result.limit,
        "filter": result.filter,
    }


def _budget(arm: ArmRow) -> dict[str, int]:
    return {"chats": arm.chats, "supervised_tokens": arm.supervised_tokens, "steps": arm.steps}


def _numbers(result: Result) -> dict[str, float]:
    found: dict[str, float] = {}
    for arm in result.arms:
        found |= {f"budget/{arm.name}/{name}": float(value) for name, value in _budget(arm).items()}
    for row in result.tasks:
        for name, value in row.scores.items():
            values = {"score": value.mean, "score_low": value.low, "score_high": value.high}
            found |= {f"{what}/{row.task}/{name}": number for what, number in values.items()}
        found |= _gap(row)
    return found


def _gap(row: TaskRow) -> dict[str, float]:
    """Return a task's gap, fractions of the score; without a pairing there is none.

    No name is the beginning of another one's path: MLflow's files would collide.
    """
    if isinstance(row.gap, Incomparable):
        return {}
    values = {
        f"gap/{row.task}": row.gap.absolute,
        f"gap_low/{row.task}": row.gap.low,
        f"gap_high/{row.task}": row.gap.high,
        f"gap_relative/{row.task}": row.gap.relative,
        f"smallest_effect/{row.task}": row.judgement.smallest if row.judgement else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _texts(result: Result) -> dict[str, str]:
    verdicts = {f"verdict/{row.task}": row.judgement.verdict.value for row in result.tasks if row.judgement is not None}
    return {"study_verdict": result.verdict.value, "claim": result.claim, **verdicts}
