"""A stage of a study: whether it is cached, and if not, what it waits for and what made the difference.

Owns the answer of `harness explain STAGE`. Runs nothing. Invariant: what is explained is the first stage of the past
that has no record and could run now, because only its question is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.commands.ablate import Ablation
from harness.commands.explain.chain import Cause, Past, Step, causes, is_unknown
from harness.commands.explain.packs import pack_named
from harness.commands.explain.records import Records, Use
from harness.commands.explain.wording import because
from harness.errors import InputError, nearest
from harness.plan import Kind, Stage
from harness.runner import State
from harness.store import Record, stage_key


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Why a stage is or is not cached.

    Attributes:
        study, stage: what was asked about.
        state: of that stage.
        record: its record where it is cached.
        kept: whether the object of the record is in the store.
        uses: the runs that the record answers for.
        explained: the stage whose question is compared: the stage itself, or the first that it waits for.
        waiting: all stages before it that have no record, in order of the graph.
        key: of the question that is compared; None where the stage is cached.
        payload: that question.
        damaged: the file that should answer it and is not believed.
        candidates: how many records of its kind there are.
        step: the comparison with the nearest one.
        causes: first causes of what differs, each with a sentence.
        sentence: the whole in one sentence.
    """

    study: str
    stage: str
    state: State
    explained: str
    payload: Mapping[str, Any]
    sentence: str
    record: Record | None = None
    kept: bool = False
    uses: tuple[Use, ...] = ()
    waiting: tuple[str, ...] = ()
    key: str | None = None
    damaged: Path | None = None
    candidates: int = 0
    step: Step | None = None
    causes: tuple[tuple[Cause, str], ...] = ()


def explain(ablation: Ablation, records: Records, name: str) -> Explanation:
    """Explain a stage of a planned study.

    Raises:
        InputError: the plan has no such stage.
    """
    stages = {stage.name: stage for stage in ablation.stages}
    require_stage(name, stages, ablation)
    record = ablation.runner.peek(name)
    return _missing(ablation, records, stages, name) if record is None else _cached(ablation, records, name, record)


def _cached(ablation: Ablation, records: Records, name: str, record: Record) -> Explanation:
    kept = ablation.store.objects.path(record.output).is_dir()
    gone = "" if kept else "; its object is not kept here and is made again when a stage needs it"
    return Explanation(
        study=ablation.study.name,
        stage=name,
        state=State.CACHED,
        record=record,
        kept=kept,
        uses=records.uses(record),
        explained=name,
        payload=record.payload,
        sentence=f"{name} is cached: record {record.key[:12]} answers for it{gone}.",
    )


def _missing(ablation: Ablation, records: Records, stages: Mapping[str, Stage], name: str) -> Explanation:
    peek = ablation.runner.peek
    past = [one for one in before(name, stages) if peek(one) is None]
    explained = next(one for one in [*past, name] if all(peek(other) for other in stages[one].inputs.values()))
    stage = stages[explained]
    payload = ablation.runner.payload(stage, {role: _known(peek(other)) for role, other in stage.inputs.items()})
    key = stage_key(payload)
    path = ablation.store.ledger.path(stage.kind.value, key)
    among = records.of_kind(stage.kind.value)
    whole = Past(records, stages, peek, ablation.study.name)
    step = None if path.exists() else whole.nearest(explained, payload, among)
    found = () if step is None else _worded(causes(step), ablation, stages, explained, payload, records)
    return Explanation(
        study=ablation.study.name,
        stage=name,
        state=ablation.runner.state(name),
        explained=explained,
        waiting=tuple(past),
        key=key,
        payload=payload,
        damaged=path if path.exists() else None,
        candidates=len(among),
        step=step,
        causes=found,
        sentence=_sentence(name, explained, path, ablation, stage.kind, found),
    )


def before(name: str, stages: Mapping[str, Stage]) -> list[str]:
    """Return all stages that a stage needs, itself left out, in order of the graph."""
    needed: set[str] = set()

    def add(one: str) -> None:
        for other in stages[one].inputs.values():
            if other not in needed:
                needed.add(other)
                add(other)

    add(name)
    return [one for one in stages if one in needed]


def require_stage(name: str, stages: Mapping[str, Stage], ablation: Ablation) -> None:
    """Raise where a plan has no stage of a name.

    Raises:
        InputError: suggests the nearest name, or the option that would bring the stage into the plan.
    """
    if name in stages:
        return
    arm = name.split("/")[1] if name.count("/") else ""
    if arm in ablation.study.variants and arm not in ablation.choice.arms:
        raise InputError(
            f"'{name}' is no stage of this plan: the arm '{arm}' is not in it ({', '.join(ablation.choice.arms)}). Add"
            f" --variant {ablation.choice.reference},{arm}."
        )
    close = nearest(name, stages)
    some = close if "Did you mean" in close else f" `harness ablate {ablation.request.study} --dry-run` lists them."
    raise InputError(
        f"Study '{ablation.study.name}' with these options has no stage named '{name}', and no record's key looks like"
        f" that.{some}"
    )


def _known(record: Record | None) -> Record:
    assert record is not None, "all inputs of what is explained are recorded"
    return record


def _worded(
    found: tuple[Cause, ...],
    ablation: Ablation,
    stages: Mapping[str, Stage],
    explained: str,
    payload: Mapping[str, Any],
    records: Records,
) -> tuple[tuple[Cause, str], ...]:
    """Return causes with their sentences."""

    def now(cause: Cause) -> Mapping[str, Any]:
        last = cause.stages[-1][0]
        return payload if last == explained else _known(ablation.runner.peek(last)).payload

    called = {}
    for stage in stages.values():
        if stage.kind is Kind.LABEL:
            called[str(stage.settings["digest"])] = stage.arguments.get("pack", ablation.study.filter)
    for cause in found:
        if cause.stages[-1][1] == Kind.LABEL and cause.difference.path == "settings.digest":
            name = pack_named(cause.difference.recorded) or records.filter_of(cause.record)
            if name is not None:
                called.setdefault(str(cause.difference.recorded), name)
    return tuple((cause, because(cause, now(cause), called)) for cause in found)


def _sentence(
    name: str, explained: str, path: Path, ablation: Ablation, kind: Kind, found: tuple[tuple[Cause, str], ...]
) -> str:
    start = f"{name} will run"
    if explained != name:
        start += f" after {explained}, which is not made yet; {explained} will run"
    if path.exists():
        return f"{start}: the record of its key is there, but was changed after it was written, and is not believed."
    if not found:
        return f"{start}: nothing of the kind '{kind.value}' is recorded in {ablation.store.root}."
    if is_unknown(found[0][0].difference):
        return f"It is not known whether {name} is cached: {found[0][1]}."
    more = {1: "", 2: " (and 1 more cause)"}.get(len(found), f" (and {len(found) - 1} more causes)")
    return f"{start} because {found[0][1]}{more}."
