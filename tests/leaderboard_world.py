"""Runs in a real store, without any training: what `harness ablate` would have left, with scores that a test chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from test_report_seen import INFOS, TASKS, Info, records

from harness.canonical import digest
from harness.report.join import TaskHead, run_of
from harness.report.result import Result
from harness.store import Record, Run, Runs, Store
from harness.store.ledger import stage_key, stage_payload
from harness.study import load_study
from harness.study.choice import Choice, alone, choose
from harness.study.relabelled import with_packs

RATES = {"base": 0.3, "aligned": 0.5, "clean": 0.8, "random": 0.5}
Scores = Callable[[str, int | None, str, int], Sequence[float | None]]


def drawn(rates: Mapping[str, float] = RATES, noise: float = 0.0) -> Scores:
    """Return scores drawn item by item at a rate for each arm; `noise` is the standard deviation over seeds."""

    def scores(arm: str, seed: int | None, task: str, items: int) -> list[float]:
        draw = np.random.default_rng([list(RATES).index(arm) if arm in RATES else 9, seed or 0, TASKS.index(task)])
        rate = rates.get(arm, 0.5) + noise * float(draw.normal())
        return [float(value) for value in draw.random(items) < rate]

    return scores


def run(
    root: Path,
    *,
    name: str = "pocket",
    seeds: int | None = None,
    tasks: Sequence[str] = TASKS,
    limit: int | None = None,
    items: int = 60,
    scores: Scores | None = None,
    variants: Mapping[str, Any] | None = None,
    pair: tuple[str, ...] = (),
    data: str = "",
    engine: str = "vllm",
    definition: str = "1",
    prompt: str = "prompt of",
    change: Callable[[str, Record], Record] = lambda _, record: record,
    pair_alone: bool = False,
) -> Run:
    """Write the records of a finished study and its run into a store; return the run.

    Args:
        data: other data, so other weights, under the same names of arms.
        definition: of the tasks.
        prompt: how every prompt begins.
        pair: arms, plain or with a filter pack.
        change: is given (stage, record) of every record before it is written.
        pair_alone: without base and controls, as `harness regress` leaves it.
    """
    study = load_study("pocket")[0].model_copy(update={"name": name, **({"variants": variants} if variants else {})})
    study, arms = with_packs(study, pair)
    choice = choose(study, pair=arms, seeds=seeds, tasks=tasks, limit=limit)
    choice = alone(choice) if pair_alone else choice
    store = Store(root)
    made = _stages(choice, items, scores or drawn(), data, engine, definition, prompt)
    given = {stage: change(stage, record) for stage, record in made.items()}
    inputs = {stage: {role: given[other].output for role, other in _inputs(stage, choice).items()} for stage in given}
    places = {}
    for stage, record in given.items():
        payload = {**record.payload, "inputs": inputs[stage]}
        final = replace(record, payload=payload, key=stage_key(payload))
        store.ledger.put(final)
        places[stage] = (str(final.payload["kind"]), final.key)
    found = run_of(study=study, choice=choice, heads={name: head(INFOS[name]) for name in tasks}, records=places)
    Runs(root).put(found)
    return found


def head(info: Info) -> TaskHead:
    """Return what a report says of a task."""
    return TaskHead.of(info)


def result(root: Path, found: Run) -> Result:
    """Return the result of a run from its store."""
    from harness.report.join import again

    return again(found, Runs(root).records(found, Store(root).ledger))


def _inputs(stage: str, choice: Choice) -> dict[str, str]:
    """Return {role: stage} of what comes before a stage, as far as views look at it."""
    kind, *place = stage.split("/")
    if kind == "train":
        return {"data": f"variant/{choice.data_of(place[0])}", "base": "base"}
    if kind == "predict":
        model = "base" if place[0] == "base" else "/".join(["train", *place[:-1]])
        return {"model": model, "items": f"items/{place[-1]}"}
    if kind == "score":
        return {"items": f"items/{place[-1]}", "predictions": stage.replace("score/", "predict/")}
    return {}


def _stages(
    choice: Choice, items: int, scores: Scores, data: str, engine: str, definition: str, prompt: str
) -> dict[str, Record]:
    """Return the records by stage, with payloads as `plan` and `runner` make them."""
    found = records(choice, None)
    for task in choice.definitions:
        found[f"items/{task}"] = Record(key="", payload={}, output=digest("items", [task, items, definition]))
    done = {}
    for stage, record in found.items():
        kind, *place = stage.split("/")
        # The base is the same in every study.
        own = "" if "base" in (kind, *place[:1]) else data
        facts, settings, output = dict(record.facts), {"stage": stage, "data": own}, digest("out", [stage, own])
        asked = {"of": digest("of", [stage, own, engine, items, choice.limit])}
        if kind == "train":
            facts |= {"weights": digest("weights", [stage, own]), "chats": 80}
        if kind == "items":
            settings = {"definition": {"files": definition}, "limit": choice.limit, "samples": 1, "sampling_seed": 0}
            output = record.output
        if kind == "predict":
            settings = {"engine": {"engine": engine}, "dtype": "float32", "max_length": 512}
            output = digest("answers", [stage, own, engine, items])
        if kind == "score":
            task, arm, seed = place[-1], place[0], int(place[1]) if len(place) == 3 else None
            names = [f"{task}-{number:04}" for number in range(items)]
            settings = {"definition": {"files": definition, "execution": None}}
            facts |= {
                "item": names,
                "cluster": names,
                "subtask": [f"part {number % 3}" for number in range(items)],
                "prompt": [f"{prompt} {one}" for one in names],
                "scores": {"acc": (values := list(scores(arm, seed, task, items)))},
            }
            known = [value for value in values if value is not None]
            facts["aggregate"] = {"acc": sum(known) / len(known)} if known else {}
        payload = stage_payload(kind=kind, version=1, settings=settings, inputs={}) | asked
        done[stage] = replace(record, payload=payload, output=output, facts=facts, telemetry={"seconds": 1.5})
    return done
