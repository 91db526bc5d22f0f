"""What a folder of results holds, as pandas tables for notebooks.

Owns the columns. Computes nothing that a report does not: gaps and verdicts are those of the report, by the same join.
Invariant: a table is read when it is first asked for, its rows carry the study and the run's name, and a run or record
that was changed by hand is an error; only `records` lists what is damaged.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from harness import compare
from harness.errors import InputError
from harness.report import join
from harness.report.result import ArmRow, Result, TaskRow
from harness.store import Ledger, Record, Run, Runs, Store
from harness.study.choice import runs, score_name

if TYPE_CHECKING:
    import pandas as pd

_Taken = TypeVar("_Taken")
_NAMES = ["study", "run", "variant", "task", "profile", "item", "subtask", "cluster", "prompt", "metric"]
_TEXTS = ("item", "subtask", "cluster", "prompt")
_HEADS = tuple(name for name in _NAMES if name not in _TEXTS)
_TAKEN = "taken"
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
        found = _Rows()
        for _, head, taken in self._scored(found.take):
            found.add(head, taken)
        return found.table()

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """One row per run, variant, seed, task and metric: the task's score, averaged as the task says.

        Columns: study, run, variant, seed, task, profile, metric, primary (whether reports are about this metric),
        chance (of the primary metric), items, score.
        """
        rows = []
        for run, head, (aggregate, items) in self._scored(
            lambda facts: (sorted(facts.get("aggregate", {}).items()), len(facts["item"]))
        ):
            task = run.tasks[head["task"]]
            for metric, value in aggregate:
                primary = metric == task["primary"]
                chance = task["chance"] if primary else None
                rows.append(
                    {**head, "metric": metric, "primary": primary, "chance": chance} | {"items": items, "score": value}
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

    def _scored(self, take: Callable[[Mapping[str, Any]], _Taken]) -> Iterator[tuple[Run, dict[str, Any], _Taken]]:
        """Yield (run, (study, run, variant, seed, task, profile), what was taken) of every score of every run.

        Args:
            take: returns what is needed of the facts of a score.
        """
        ledger = _Taking(self._store.ledger.root, take)
        for run in self._runs.all():
            records = self._runs.records(run, ledger)
            for arm, seed, _ in runs(join.asked(run).choice):
                for task, about in run.tasks.items():
                    head = {**_of(run), "variant": arm, "seed": seed, "task": task, "profile": about["profile"]}
                    yield run, head, records[score_name(arm, seed, task)].facts[_TAKEN]


class _Taking(Ledger):
    """A ledger that reads every record once, and keeps of its facts only what was taken of a score's."""

    def __init__(self, root: Path, take: Callable[[Mapping[str, Any]], Any]) -> None:
        super().__init__(root)
        self._take = take
        self._known: dict[tuple[str, str], Record | None] = {}

    def get(self, kind: str, key: str) -> Record | None:
        """Return the record of a key with what was taken of its facts; None as `Ledger.get`."""
        place = kind, key
        if place not in self._known:
            record = super().get(kind, key)
            if record is not None:
                record = replace(record, facts={_TAKEN: self._take(record.facts)} if kind == "score" else {})
            self._known[place] = record
        return self._known[place]


class _Rows:
    """The rows of `items`: numbers that stand for texts, since of a million texts a few thousand differ."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {name: {} for name in _NAMES}
        self._counts: list[int] = []
        self._heads: dict[str, list[Any]] = {name: [] for name in (*_HEADS, "seed")}
        self._texts: dict[str, list[Any]] = {name: [] for name in _TEXTS}
        self._scores: list[Any] = []

    def take(self, facts: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
        """Return the texts of a score's items as numbers, and (metric, scores) of every metric that items have."""
        count = len(facts["item"])
        texts = {name: np.array([self._number(name, one) for one in facts[name]], dtype=np.int32) for name in _TEXTS}
        own = sorted((metric, values) for metric, values in facts["scores"].items() if len(values) == count)
        return texts, [(metric, np.array(values, dtype=float)) for metric, values in own]

    def add(self, head: Mapping[str, Any], taken: tuple[dict[str, Any], list[tuple[str, Any]]]) -> None:
        """Add a block of rows per metric."""
        texts, metrics = taken
        for metric, scores in metrics:
            self._counts.append(len(scores))
            self._scores.append(scores)
            self._heads["seed"].append(head["seed"])
            for name in _HEADS:
                self._heads[name].append(self._number(name, metric if name == "metric" else head[name]))
            for name in _TEXTS:
                self._texts[name].append(texts[name])

    def _number(self, name: str, text: str) -> int:
        known = self._numbers[name]
        return known.setdefault(text, len(known))

    def table(self) -> pd.DataFrame:
        """Return the rows as a table."""
        import pandas as pd

        columns: dict[str, Any] = {}
        for name in (*_NAMES[:3], "seed", *_NAMES[3:]):
            if name in _TEXTS:
                found = np.concatenate([np.zeros(0, dtype=np.int32), *self._texts[name]])
            else:
                one = pd.array(self._heads[name], dtype="Int64" if name == "seed" else "int32")
                found = one.repeat(self._counts)
            columns[name] = found if name == "seed" else self._categories(name, np.asarray(found))
        columns["score"] = np.concatenate([np.zeros(0), *self._scores])
        return pd.DataFrame(columns)

    def _categories(self, name: str, numbers: Any) -> pd.Categorical:
        import pandas as pd

        texts = list(self._numbers[name])
        order = sorted(range(len(texts)), key=texts.__getitem__)
        ranks = np.zeros(len(texts), dtype=np.int32)
        ranks[order] = np.arange(len(texts))
        return pd.Categorical.from_codes(ranks[numbers], categories=pd.Index([texts[one] for one in order]))


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
