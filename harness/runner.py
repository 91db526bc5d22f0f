"""The one impure loop: make every stage's record exist, running only what is missing.

Owns keys, cache hits, work folders and the order of execution. Does not know what a stage does (see
`stages`). Invariant: a stage runs only when its record is missing or when a stage that must run needs
its object and the object is gone or damaged.
"""

from __future__ import annotations

import enum
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import layout
from harness.canonical import digest
from harness.plan import VERSIONS, Stage
from harness.process import stop_all
from harness.progress import Progress
from harness.store import Record, Store, stage_key
from harness.store.ledger import stage_payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What the execution of a stage returns.

    Attributes:
        folder: the finished output, moved into the store; its digest enters the keys of later stages.
        facts: for the record.
        telemetry: for the record, what may differ between equal runs.
        audit: a folder that says how the output came about (a decision per chat); an object of its own, so that
            other words for the same output do not change what comes after it.
    """

    folder: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    telemetry: Mapping[str, Any] = field(default_factory=dict)
    audit: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that the execution of one stage may use."""

    stage: Stage
    inputs: Mapping[str, Path]
    records: Mapping[str, Record]
    work: Path
    store: Store
    progress: Progress

    def fresh(self, name: str = "output") -> Path:
        """Return an empty folder for an output; what a killed attempt left there is removed."""
        target = self.work / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        return target


Execute = Callable[[Job], Made]


class State(enum.StrEnum):
    """What a dry run knows of a stage."""

    CACHED = "cached"
    RUN = "will run"
    AFTER = "will run after"


class Runner:
    """Runs a graph of stages over a store."""

    def __init__(
        self, stages: Sequence[Stage], *, store: Store, execute: Mapping[str, Execute], progress: Progress
    ) -> None:
        self._stages = {stage.name: stage for stage in stages}
        self._store, self._execute, self._progress = store, execute, progress
        self._records: dict[str, Record] = {}
        self._locks = {name: threading.Lock() for name in self._stages}
        # Two stages that ask the same question (a variant under two names) share one answer.
        self._questions: dict[str, threading.Lock] = {}
        self.ran: list[str] = []

    def ensure(self, name: str, *, need_object: bool = False) -> Record:
        """Return the record of a stage, after running whatever of its past is missing.

        Args:
            need_object: whether the stage's object must be on disk too.
        """
        with self._locks[name]:
            known = self._records.get(name)
            if known and not (need_object and self._store.objects.get(known.output) is None):
                return known
            stage = self._stages[name]
            inputs = {role: self.ensure(other) for role, other in stage.inputs.items()}
            record = self._lookup(stage, inputs)
            if record is None or (need_object and self._store.objects.get(record.output) is None):
                inputs = {role: self.ensure(other, need_object=True) for role, other in stage.inputs.items()}
                # An input that had to be made again may have come out differently: ask under its new digest.
                with self._questions.setdefault(stage_key(self.payload(stage, inputs)), threading.Lock()):
                    record = self._lookup(stage, inputs)
                    if record is None or (need_object and self._store.objects.get(record.output) is None):
                        before, record = record, self._run(stage, inputs, known=record)
                        if before is not None and before.output != record.output:
                            self._forget_after(name)
            self._records[name] = record
            return record

    def adopt(self, name: str, record: Record) -> None:
        """Take a record for the answer of a stage, whatever its question would be today; its object has to be kept."""
        self._records[name] = record

    def folder(self, name: str) -> Path:
        """Return the folder of a stage's output, after making it (again) where it is gone."""
        record = self.ensure(name, need_object=True)
        found = self._store.objects.get(record.output)
        assert found is not None, f"{name} has an output"
        return found

    def audit(self, name: str) -> Path:
        """Return the folder that says how a stage's output came about, after making it again where it is gone."""
        record = self.ensure(name)
        known = _audit_of(record)
        folder = self._store.objects.get(known) if known else None
        if folder is None:
            stage = self._stages[name]
            inputs = {role: self.ensure(other, need_object=True) for role, other in stage.inputs.items()}
            before, record = record, self._run(stage, inputs, known=self._lookup(stage, inputs))
            self._records[name] = record
            if before.output != record.output:
                self._forget_after(name)
            folder = self._store.objects.get(str(record.telemetry["audit"]))
        assert folder is not None, f"{name} has an audit"
        return folder

    def _forget_after(self, name: str) -> None:
        """Forget what was believed of the stages that depend on one that came out differently than recorded."""
        changed = {name}
        for stage in self._stages.values():
            if changed & set(stage.inputs.values()):
                changed.add(stage.name)
                self._records.pop(stage.name, None)

    def settle(self) -> dict[str, Record]:
        """Ensure every stage until nothing runs any more, and return all records: one consistent state."""
        while True:
            before = len(self.ran)
            records = {name: self.ensure(name) for name in self._stages}
            if len(self.ran) == before:
                return records

    def ensure_all(self, names: Sequence[str], *, parallel: int = 1) -> None:
        """Ensure several stages, up to `parallel` of them at the same time; their inputs come first."""
        if parallel == 1:
            for name in names:
                self.ensure(name)
            return
        missing = [name for name in names if self.state(name) is not State.CACHED]
        for name in missing:
            for other in self._stages[name].inputs.values():
                self.ensure(other, need_object=True)
        with ThreadPoolExecutor(parallel) as pool:
            futures = [pool.submit(self.ensure, name) for name in missing]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                # The pool waits for its threads, and these for their workers: end those first.
                pool.shutdown(wait=False, cancel_futures=True)
                stop_all()
                raise

    def state(self, name: str) -> State:
        """Return what is known of a stage without running anything."""
        record = self.peek(name)
        if record is not None:
            return State.CACHED
        inputs = self._stages[name].inputs.values()
        return State.RUN if all(self.peek(other) for other in inputs) else State.AFTER

    def peek(self, name: str) -> Record | None:
        """Return the record of a stage if it and its past are recorded."""
        if name in self._records:
            return self._records[name]
        stage = self._stages[name]
        inputs = {role: self.peek(other) for role, other in stage.inputs.items()}
        if any(record is None for record in inputs.values()):
            return None
        return self._lookup(stage, {role: record for role, record in inputs.items() if record is not None})

    def payload(self, stage: Stage, inputs: Mapping[str, Record]) -> dict[str, Any]:
        """Return the structure that is hashed into a stage's key."""
        return stage_payload(
            kind=stage.kind.value,
            version=VERSIONS[stage.kind],
            settings=stage.settings,
            inputs={role: record.output for role, record in inputs.items()},
        )

    def _lookup(self, stage: Stage, inputs: Mapping[str, Record]) -> Record | None:
        return self._store.ledger.get(stage.kind.value, stage_key(self.payload(stage, inputs)))

    def _run(self, stage: Stage, inputs: Mapping[str, Record], *, known: Record | None) -> Record:
        """Execute a stage and record it.

        Args:
            known: what the ledger had of it when that was not enough.
        """
        payload = self.payload(stage, inputs)
        key = stage_key(payload)
        started = time.monotonic()
        with self._store.workspace(key) as work:
            found = self._lookup(stage, inputs)
            if found is not None and found != known and self._store.objects.get(found.output) is not None:
                # Another process was in this folder until now, and goes on with its answer: no second one beside it.
                return found
            folders = {role: self._store.objects.get(record.output) for role, record in inputs.items()}
            made = self._execute[stage.kind](
                Job(
                    stage=stage,
                    inputs={role: folder for role, folder in folders.items() if folder is not None},
                    records=inputs,
                    work=work,
                    store=self._store,
                    progress=self._progress,
                )
            )
            audit = self._store.objects.put(made.audit) if made.audit else None
            output = self._store.objects.put(made.folder)
            sealed = {"audit": audit, "audit_seal": _audit_seal(key, output, audit)} if audit else {}
            record = Record(
                key=key,
                payload=payload,
                output=output,
                facts=made.facts,
                telemetry={**made.telemetry, **sealed, "seconds": round(time.monotonic() - started, 1)},
            )
            self._store.ledger.put(record)
        self.ran.append(stage.name)
        return record


def _audit_of(record: Record) -> str | None:
    """Return the digest of a record's audit; None where it names none, or one that was put there later.

    The seal of a record leaves telemetry out, as other words for one output change no record.
    """
    audit = record.telemetry.get("audit")
    if not isinstance(audit, str):
        return None
    return audit if record.telemetry.get("audit_seal") == _audit_seal(record.key, record.output, audit) else None


def _audit_seal(key: str, output: str, audit: str) -> str:
    return digest("harness.audit", [key, output, audit])


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk that a folder is, or will be, on."""
    return shutil.disk_usage(layout.existing(folder)).free
