"""What a folder of results holds, as pandas tables for notebooks.

Owns the columns. Computes nothing that a report does not: gaps and verdicts are those of the report, by the same join.
Invariant: a table is read when it is first asked for, its rows carry the study and the run's name, and a run or record
that was changed by hand is an error; only `records` lists what is damaged.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import compare
from harness.errors import InputError
from harness.report import join
from harness.report.result import ArmRow, Result, TaskRow
from harness.store import Record, Run, Runs, Store
from harness.study.choice import runs, score_name

if TYPE_CHECKING:
    import pandas as pd

_NAMES = ["study", "run", "variant", "task", "profile", "item", "subtask", "cluster", "prompt", "metric"]
_GAP = ("reference_score", "treated_score", "gap", "low", "high", "relative", "relative_low", "relative_high")


class Frames:
    """The tables of one folder of results; see docs/leaderboard.md for what to do with them."""

    def __init__(self, results: str | Path = "results") -> None:
        """Remember the folder; nothing is read yet.

        Raises:
            InputError: it is no folder.
        """
        self.root = Path(results)
        if not self.root.is_dir():
            raise InputError(
                f"{self.root} is no folder of results. `harness ablate` makes one, in results/ by default."
            )
        self._store, self._runs = Store(self.root), Runs(self.root)

    def __repr__(self) -> str:
        return f"<results in {self.root}, runs: {len(self._runs.names())}>"

    @functools.cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run: study, run, reference, treated, seeds, tasks, profiles, limit, records."""
        rows = [
            {
                **_of(run),
                **{name: run.choice[name] for name in ("reference", "treated")},
                **{name: " ".join(map(str, run.choice[name])) for name in ("seeds", "tasks", "profiles")},
                "limit": run.choice["limit"],
                "records": len(run.records),
            }
            for run in self._runs.all()
        ]
        return _frame(rows, ["study", "run", "reference", "treated", "seeds", "tasks", "profiles", "limit", "records"])

    @functools.cached_property
    def items(self) -> pd.DataFrame:
        """One row per run, variant, seed, task, item and metric.

        Columns: study, run, variant, seed (missing for the base), task, profile, item, subtask, cluster, prompt (digest
        of what was asked), metric, score (missing where an item has none).
        """
        import pandas as pd

        columns: dict[str, list[Any]] = {name: [] for name in (*_NAMES[:3], "seed", *_NAMES[3:], "score")}
        for head, facts in self._scored():
            count = len(facts["item"])
            for metric, values in sorted(facts["scores"].items()):
                if len(values) != count:
                    continue
                for name, value in {**head, "metric": metric}.items():
                    columns[name] += [value] * count
                for name in ("item", "subtask", "cluster", "prompt"):
                    columns[name] += facts[name]
                columns["score"] += values
        # A million texts of which a few thousand differ: as categories 40 times smaller.
        types: dict[str, str] = {**dict.fromkeys(_NAMES, "category"), "seed": "Int64", "score": "float64"}
        return pd.DataFrame(columns).astype(types)

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """One row per run, variant, seed, task and metric: the task's score, averaged as the task says.

        Columns: study, run, variant, seed, task, profile, metric, primary (whether reports are about this metric),
        chance (of the primary metric), items, score.
        """
        rows = []
        for run in self._runs.all():
            for head, facts in self._of_run(run):
                task = run.tasks[head["task"]]
                for metric, value in sorted(facts.get("aggregate", {}).items()):
                    primary = metric == task["primary"]
                    chance = task["chance"] if primary else None
                    rows.append(
                        {**head, "metric": metric, "primary": primary, "chance": chance}
                        | {"items": len(facts["item"]), "score": value}
                    )
        columns = [
            "study",
            "run",
            "variant",
            "seed",
            "task",
            "profile",
            "metric",
            "primary",
            "chance",
            "items",
            "score",
        ]
        return _frame(rows, columns, whole=["seed"])

    @functools.cached_property
    def gaps(self) -> pd.DataFrame:
        """One row per run, task and comparison: the pair's own (kind "pair"), then those with controls.

        Columns: study, run, task, profile, kind, reference, treated, reference_score, treated_score, gap, low, high,
        relative, relative_low, relative_high, seeds, items, scope, p, adjusted, verdict, incomparable. `p` is
        two-sided; `adjusted` and `verdict` are corrected over the tasks of the run and only given for the pair.
        """
        rows = [
            {"study": result.study, "run": run.name, "task": row.task, "profile": row.profile, **line}
            for run, result in self._results
            for row in result.tasks
            for line in _gaps(result, row)
        ]
        columns = [
            *("study", "run", "task", "profile", "kind", "reference", "treated", *_GAP, "seeds", "items", "scope"),
            *("p", "adjusted", "verdict", "incomparable"),
        ]
        return _frame(rows, columns, whole=["seeds", "items"])

    @functools.cached_property
    def arms(self) -> pd.DataFrame:
        """One row per run, variant and seed: treatment, chats, supervised_tokens, steps, weights, diverged."""
        rows = [
            {"study": result.study, "run": run.name, **line}
            for run, result in self._results
            for arm in result.arms
            for line in _arm(arm)
        ]
        columns = [
            *("study", "run", "variant", "seed", "treatment", "chats", "supervised_tokens", "steps", "cut_chats"),
            *("weights", "diverged"),
        ]
        return _frame(rows, columns, whole=["seed"])

    @functools.cached_property
    def losses(self) -> pd.DataFrame:
        """One row per run, variant, seed and optimizer step, from 1: the training loss."""
        rows = [
            {
                "study": result.study,
                "run": run.name,
                "variant": curve.arm,
                "seed": curve.seed,
                "step": step,
                "loss": loss,
            }
            for run, result in self._results
            for curve in result.curves
            for step, loss in enumerate(curve.losses, start=1)
        ]
        return _frame(rows, ["study", "run", "variant", "seed", "step", "loss"], whole=["seed"])

    @functools.cached_property
    def records(self) -> pd.DataFrame:
        """One row per record of the ledger: kind, key, version, output, seconds, runs (how many name it), whole.

        `whole` is false where the record is damaged or was changed by hand.
        """
        used: dict[tuple[str, str], int] = {}
        for run in self._runs.all():
            for place in set(run.records.values()):
                used[place] = used.get(place, 0) + 1
        rows = []
        for path in sorted(self._store.ledger.root.glob("*/*.json")):
            kind = path.parent.name
            key = _key(path)
            record = self._store.ledger.get(kind, key)
            rows.append(
                {
                    "kind": kind,
                    "key": key,
                    "version": record.payload["version"] if record else None,
                    "output": record.output if record else None,
                    "seconds": record.telemetry.get("seconds") if record else None,
                    "runs": used.get((kind, key), 0),
                    "whole": record is not None,
                }
            )
        return _frame(rows, ["kind", "key", "version", "output", "seconds", "runs", "whole"], whole=["version"])

    @functools.cached_property
    def _results(self) -> list[tuple[Run, Result]]:
        return [(run, join.again(run, self._runs.records(run, self._store.ledger))) for run in self._runs.all()]

    def _scored(self) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
        for run in self._runs.all():
            yield from self._of_run(run)

    def _of_run(self, run: Run) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
        """Yield (study, run, variant, seed, task, profile) and the facts of every score of a run."""
        for arm, seed, _ in runs(join.asked(run).choice):
            for task, about in run.tasks.items():
                stage = score_name(arm, seed, task)
                record: Record = self._runs.records(run, self._store.ledger, only=(stage,))[stage]
                head = {**_of(run), "variant": arm, "seed": seed, "task": task, "profile": about["profile"]}
                yield head, record.facts


def _of(run: Run) -> dict[str, Any]:
    return {"study": run.study["name"], "run": run.name}


def _gaps(result: Result, row: TaskRow) -> Iterator[dict[str, Any]]:
    """Yield the pair's gap, then those with the controls."""
    judged = row.judgement
    own = {"kind": "pair", "reference": result.reference, "treated": result.treated}
    verdict = judged.verdict.value if judged else None
    yield own | _numbers(row.gap) | {"adjusted": judged.adjusted if judged else None, "verdict": verdict}
    for one in row.controls:
        yield {"kind": one.kind.value, "reference": one.reference, "treated": one.treated} | _numbers(one.gap)


def _numbers(gap: compare.Gap | compare.Incomparable) -> dict[str, Any]:
    if isinstance(gap, compare.Incomparable):
        return {"incomparable": gap.message}
    values = (gap.reference, gap.treated, gap.absolute, gap.low, gap.high)
    ratios = (gap.relative, gap.relative_low, gap.relative_high)
    numbers = dict(zip(_GAP, (*values, *ratios), strict=True))
    return numbers | {"seeds": gap.seeds, "items": gap.items, "scope": gap.scope.value, "p": gap.p_value()}


def _arm(arm: ArmRow) -> Iterator[dict[str, Any]]:
    for seed, weights in sorted(arm.weights.items()):
        yield {
            "variant": arm.name,
            "seed": int(seed) if seed else None,
            "treatment": arm.treatment,
            "chats": arm.chats,
            "supervised_tokens": arm.supervised_tokens,
            "steps": arm.steps,
            "cut_chats": arm.cut_chats,
            "weights": weights,
            "diverged": bool(seed) and int(seed) in arm.diverged,
        }


def _key(path: Path) -> str:
    """Return the key that a record says it has; its file's name where it says none."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["key"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return path.stem


def _frame(rows: list[dict[str, Any]], columns: list[str], *, whole: list[str] | None = None) -> pd.DataFrame:
    """Return a table with these columns in this order; those in `whole` are integers that may be missing."""
    import pandas as pd

    found = pd.DataFrame(rows, columns=columns)
    return found.astype(dict.fromkeys(whole or [], "Int64"))
