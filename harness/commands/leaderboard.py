"""The use case behind `harness leaderboard`: every arm of every run of some result folders, as far as they compare.

Owns how the entries of a leaderboard are found in runs and records. Ranks nothing (see `harness.report.leaderboard`),
runs nothing. Invariant: every record is read and its seal checked once, however many runs share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness import layout
from harness.canonical import digest
from harness.errors import InputError, nearest
from harness.report.averages import counts
from harness.report.comparable import Entry, Floats, Origin
from harness.report.join import Asked, asked, treatment
from harness.report.leaderboard import Board, boards
from harness.store import Record, Run, Runs, Store
from harness.study import Base
from harness.study.choice import BASE_ARM, runs, score_name
from harness.study.relabelled import name_of

# Settings that say how items are asked but not what: the draw of sampled answers is luck, as the training seed is.
_LUCK = {"sampling_seed"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for.

    Attributes:
        results: folders of results.
        task: name of a task or of its definition under a profile; empty = all.
        metric: rank by this metric instead of the tasks' own; empty = their own.
        on_gap: hears (gaps done, gaps in all).
    """

    results: tuple[Path, ...]
    task: str = ""
    metric: str = ""
    on_gap: Callable[[int, int], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The boards, and how many runs they come from."""

    boards: tuple[Board, ...]
    runs: int


def standing(request: Request) -> Standing:
    """Return the leaderboard of some result folders.

    Raises:
        InputError: a folder is none, a run or record was changed or is gone, or no run has the task or the metric.
    """
    reader, count = Reader(), 0
    entries: list[Entry] = []
    tasks: set[str] = set()
    metrics: set[str] = set()
    for results in dict.fromkeys(folder.resolve() for folder in request.results):
        layout.require_folders(results=results, data_dir=None)
        if not results.is_dir():
            raise InputError(
                f"There is no folder {results}. `harness ablate` makes one: results/, or the folder of its --results."
            )
        for run in Runs(results).all():
            count += 1
            own = asked(run)
            tasks |= run.tasks.keys()
            wanted = [name for name in run.tasks if request.task in ("", name)]
            for task in wanted:
                entries += reader.entries(run, own, task, Store(results), request.metric, metrics)
    if request.task and count and request.task not in tasks:
        raise InputError(f"No run has a task '{request.task}'.{nearest(request.task, tasks)}")
    if request.metric and count and not entries:
        raise InputError(f"No task has a metric '{request.metric}'.{nearest(request.metric, metrics)}")
    return Standing(boards=tuple(boards(entries, on_gap=request.on_gap)), runs=count)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Scored:
    """What one checkpoint scored on one task, in the order of the sorted items."""

    weights: str
    chats: int
    supervised_tokens: int
    answers: str
    conditions: Mapping[str, str]
    items: tuple[str, ...]
    clusters: tuple[str, ...]
    subtasks: tuple[str, ...]
    prompts: tuple[str, ...]
    scores: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns records into entries; keeps what several runs share."""

    _known: dict[tuple[Any, ...], _Scored] = field(default_factory=dict)
    _texts: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    def entries(
        self, run: Run, about: Asked, task: str, store: Store, metric: str, metrics: set[str]
    ) -> Iterator[Entry]:
        """Yield the entries of a run's arms on one task; adds the names of its metrics to `metrics`."""
        # Seeds that were asked differently are no runs of one arm.
        alike: dict[tuple[str, str], list[tuple[int | None, _Scored]]] = {}
        for arm, seed, model in runs(about.choice):
            one = self._scored(run, store, model, arm, seed, task)
            metrics.update(one.scores)
            alike.setdefault((arm, digest("conditions", dict(one.conditions))), []).append((seed, one))
        for (arm, _), own in alike.items():
            if not metric or any(metric in one.scores for _, one in own):
                yield _entry(run, about, task, arm, own, metric)

    def _scored(self, run: Run, store: Store, model: str, arm: str, seed: int | None, task: str) -> _Scored:
        stages = {
            "model": model,
            "items": f"items/{task}",
            "predict": score_name(arm, seed, task, kind="predict"),
            "score": score_name(arm, seed, task),
        }
        place = (store.root, *(run.records[name][1] for name in stages.values()))
        if place not in self._known:
            stored = Runs(store.root)
            records = stored.records(run, store.ledger, only=stages.values())
            made = {record.output for record in records.values()}
            asking = (stages["predict"], stages["score"])
            stored.require_joined(run, store.ledger, records, dict.fromkeys(asking, made))
            self._known[place] = self._read({kind: records[name] for kind, name in stages.items()})
        return self._known[place]

    def _read(self, records: Mapping[str, Record]) -> _Scored:
        model, facts = records["model"].facts, records["score"].facts
        order = sorted(range(len(facts["item"])), key=facts["item"].__getitem__)
        texts = [[facts[name][place] for place in order] for name in ("item", "cluster", "subtask", "prompt")]
        found = digest("items", texts[:3]), digest("prompts", texts[3])
        # Checkpoints that were asked the same share the texts: 14,042 items take 10 MB as strings, 0.1 MB as scores.
        items, clusters, subtasks, prompts = self._texts.setdefault("".join(found), tuple(map(tuple, texts)))
        return _Scored(
            weights=str(model["weights"]),
            chats=int(model.get("chats", 0)),
            supervised_tokens=int(model.get("supervised_tokens", 0)),
            answers=records["predict"].output,
            conditions={**_settings(records), "items": found[0], "prompts": found[1]},
            items=items,
            clusters=clusters,
            subtasks=subtasks,
            prompts=prompts,
            scores={
                name: np.array([values[place] for place in order], dtype=float)
                for name, values in facts["scores"].items()
                if len(values) == len(order)
            },
        )


def _entry(
    run: Run, about: Asked, task: str, arm: str, own: Sequence[tuple[int | None, _Scored]], metric: str
) -> Entry:
    """Return the entry of an arm whose checkpoints were asked alike."""
    head, first = about.heads[task], own[0][1]
    name = metric or head.primary
    missing = np.full(len(first.items), np.nan)
    return Entry(
        origins=(Origin(study=about.study.name, run=run.name, arm=arm),),
        treatment=treatment(arm, about.study, about.choice),
        filter=_filter(about, arm),
        base=_base(about.study.base),
        seeds=tuple(seed for seed, _ in own if seed is not None),
        # Of a base that was pretrained here, what it was pretrained on is no fine-tuning data.
        chats=0 if arm == BASE_ARM else first.chats,
        supervised_tokens=0 if arm == BASE_ARM else first.supervised_tokens,
        weights=tuple(one.weights for _, one in own),
        answers=tuple(one.answers for _, one in own),
        task=task,
        title=head.title if head.profile == "lm-eval" else f"{head.title}, {head.profile}",
        metric=name,
        # The chance level is that of the task's own metric.
        chance=head.chance if name == head.primary else 0.0,
        conditions={
            **({"aspect": head.aspect} if head.aspect != "capability" else {}),
            "profile": head.profile,
            "metric": name,
            "average": head.average,
            **first.conditions,
        },
        items=first.items,
        clusters=first.clusters,
        prompts=first.prompts,
        counts=counts(first.subtasks, head.average),
        scores=np.stack([one.scores.get(name, missing) for _, one in own]),
    )


def _settings(records: Mapping[str, Record]) -> dict[str, str]:
    """Return what the three stages of an evaluation were asked with, by name."""
    found = {}
    for kind in ("items", "predict", "score"):
        payload = records[kind].payload
        found[f"version of {kind}"] = str(payload["version"])
        for name, value in payload["settings"].items():
            if name in _LUCK:
                continue
            shown = f"{kind} {name}" if name == "definition" else name
            found[shown] = "all" if (name, value) == ("limit", 0) else _plain(value)
    # Files and versions of what is asked; the scores' definition says them again, and how programs are run.
    del found["items definition"]
    found["definition"] = found.pop("score definition")
    return found


def _plain(value: Any) -> str:
    """Return a setting as a short text; the digest of one that is none."""
    if isinstance(value, Mapping):
        return (
            " ".join(map(str, value.values()))
            if set(value) <= {"engine", "engine_version"}
            else digest("setting", value)
        )
    return "none" if value is None else str(value)


def _filter(about: Asked, arm: str) -> str:
    """Return the filter pack whose labels decided on an arm's chats; empty where none did."""
    if arm == BASE_ARM:
        return ""
    study, data = about.study, about.choice.data_of(arm)
    read = any(study.variants[one].treatment.reads_labels for one in study.made_of(data))
    return name_of(study.pack(data)) if read else ""


def _base(base: Base) -> str:
    """Return the name of a base model; the last part of a path."""
    return (base.name or base.kind.value).rstrip("/").rpartition("/")[2]
