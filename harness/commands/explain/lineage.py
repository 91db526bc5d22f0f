"""From a record to the records and outside things that it was made from.

Owns how a record is told in one line and what of it comes from outside the store. Invariant: an input whose record is
not in the ledger is named with its digest; of several records that made the same bytes, one is shown, all are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.commands.explain.packs import pack_named
from harness.commands.explain.records import Records
from harness.commands.explain.wording import short
from harness.plan import Kind
from harness.store import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class Ancestor:
    """A record in the past of another one.

    Attributes:
        role: what it is to the one that reads it; empty for the record that is asked about.
        digest: of the output that was read.
        record: what made it; None where no record says so.
        stages: names that it has in a run.
        line: what it is, in one line.
        same: how many records made these bytes.
        outside: what it read that is no stage's: (what, identity).
        inputs: what it was made from; empty where the same record stands further up.
        repeated: whether it stands further up with its inputs.
    """

    role: str
    digest: str
    record: Record | None
    stages: tuple[str, ...] = ()
    line: str = ""
    same: int = 1
    outside: tuple[tuple[str, str], ...] = ()
    inputs: tuple[Ancestor, ...] = field(default=())
    repeated: bool = False

    def document(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "role": self.role,
            "output": self.digest,
            "kind": self.record.payload["kind"] if self.record else None,
            "key": self.record.key if self.record else None,
            "stages": list(self.stages),
            "line": self.line,
            "same": self.same,
            "outside": [list(one) for one in self.outside],
            "inputs": [one.document() for one in self.inputs],
            "repeated": self.repeated,
        }


def ancestry(records: Records, record: Record) -> Ancestor:
    """Return a record with all that it was made from, up to the sources."""
    run = next((run for run in records.runs if any(key == record.key for _, key in run.records.values())), None)
    keys = {key: stage for stage, (_, key) in run.records.items()} if run else {}
    seen: set[str] = set()

    def of(role: str, made: Record, same: int) -> Ancestor:
        repeated = made.key in seen
        seen.add(made.key)
        stages = (keys[made.key],) if made.key in keys else ()
        inputs: list[Ancestor] = []
        for name, digest in sorted(made.payload["inputs"].items()) if not repeated else ():
            known = records.made(made.payload["kind"], name, digest)
            chosen = next((one for one in known if one.key in keys), known[0] if known else None)
            if chosen is None:
                inputs.append(Ancestor(role=name, digest=digest, record=None, line="no record of it in this ledger"))
            else:
                inputs.append(of(name, chosen, len(known)))
        return Ancestor(
            role=role,
            digest=made.output,
            record=made,
            stages=stages,
            line=line(made),
            same=same,
            outside=() if repeated else tuple(_outside(records, made)),
            inputs=tuple(inputs),
            repeated=repeated and bool(made.payload["inputs"]),
        )

    return of("", record, 1)


def line(record: Record) -> str:
    """Return what a record says, in one line."""
    facts, settings = record.facts, record.payload["settings"]
    kind = record.payload["kind"]
    if kind in (Kind.CHATS, Kind.CLEAN):
        return f"{facts.get('chats', '?'):,} chats" if isinstance(facts.get("chats"), int) else ""
    if kind == Kind.VARIANT:
        treatments = [one.get("treatment", "?") for one in settings.get("lineage", [])]
        return f"{facts.get('chats', '?')} chats, treatment {', '.join(treatments)}"
    if kind == Kind.LABEL:
        return f"{sum(facts.get('turns', {}).values()):,} turns labelled"
    if kind in (Kind.BASE, Kind.TRAIN):
        seed = f", seed {settings['seed']}" if kind == Kind.TRAIN else ""
        steps = f", {facts['steps']} steps" if "steps" in facts else ""
        return f"weights {short(facts.get('weights', '?'))}{seed}{steps}"
    if kind == Kind.ITEMS:
        return f"{facts.get('items', '?')} items"
    if kind == Kind.PREDICT:
        return f"answers to {facts.get('task', '?')}"
    if kind == Kind.SCORE:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in _numbers(facts.get("aggregate", {})))
        return f"{facts.get('task', '?')}: {numbers}, {len(facts.get('item', ()))} items"
    return ""


def _numbers(aggregate: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in sorted(aggregate.items()) if isinstance(value, (int, float))]


def _outside(records: Records, record: Record) -> Iterator[tuple[str, str]]:
    """Yield what a record's stage read from outside the store: (what, identity)."""
    kind, settings = record.payload["kind"], record.payload["settings"]
    if kind == Kind.CHATS:
        for name, source in settings.get("sources", ()):
            content = source.get("content", {}) if isinstance(source, Mapping) else source
            yield f"source {name}", _identity(content)
    elif kind == Kind.LABEL:
        name = pack_named(settings.get("digest")) or records.filter_of(record)
        yield "filter pack" + (f" {name}" if name else ""), short(settings.get("digest"))
    elif kind == Kind.VARIANT:
        for one in settings.get("lineage", ()):
            if one.get("answers"):
                yield "file of answers", short(one["answers"])
    elif kind == Kind.BASE:
        yield "base model", _identity(settings.get("source", {}))
    elif kind == Kind.PREDICT:
        yield "engine", _identity(settings.get("engine", {}))
        if "checkpoint" in settings:
            yield "checkpoint", short(settings["checkpoint"])
    elif kind == Kind.ITEMS:
        yield "task", _identity(settings.get("definition", {}))
    if "packages" in settings:
        yield "packages", _identity(settings["packages"])


def _identity(value: Any) -> str:
    """Return the identity of something outside in one line, digests in short."""
    if isinstance(value, Mapping):
        parts = [f"{name} {_identity(one)}" for name, one in sorted(value.items()) if one is not None]
        return ", ".join(parts) or "-"
    return short(value)
