"""A ledger read as a whole: records by kind, by the digest that they made, by the beginning of their key.

Owns which stage an input of a record can have come from, and which runs a record answers for. Changes nothing.
Invariant: a record that is not what was written is not believed; it is named among the problems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from harness.errors import InputError
from harness.plan import Kind
from harness.store import Record, Run, Runs, Store

# Which kinds of stages make what a stage of a kind reads in a role; a test holds it against the plan.
_MAKERS: Mapping[str, tuple[Kind, ...]] = {
    "items": (Kind.ITEMS,),
    "labels": (Kind.LABEL,),
    "overlap": (Kind.OVERLAP,),
    "data": (Kind.VARIANT,),
    "base": (Kind.BASE,),
    "model": (Kind.TRAIN, Kind.BASE),
    "predictions": (Kind.PREDICT,),
}
_CHATS: Mapping[str, Kind] = {
    Kind.OVERLAP: Kind.CHATS,
    Kind.CLEAN: Kind.CHATS,
    Kind.LABEL: Kind.CLEAN,
    Kind.VARIANT: Kind.CLEAN,
    Kind.EXPOSURE: Kind.VARIANT,
}
_SHORTEST = 4


def makers(kind: str, role: str) -> tuple[Kind, ...]:
    """Return the kinds of stages that make what a stage of `kind` reads in a role."""
    if role == "chats" and kind in _CHATS:
        return (_CHATS[kind],)
    return _MAKERS.get(role.partition("/")[0], tuple(Kind))


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """A run that a record answers for, and the stages of it that the record is."""

    run: str
    stages: tuple[str, ...]


class Records:
    """All records and runs of a store.

    Attributes:
        problems: sentences about files that are no records or runs.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.problems: list[str] = []
        self._kinds: dict[str, dict[str, Record]] = {}
        self._outputs: dict[tuple[str, str], list[Record]] = {}
        for path in sorted(store.ledger.root.glob("*/*.json")):
            record = store.ledger.read(path)
            if record is None:
                self.problems.append(f"{path} is no record, or was changed after it was written.")
            else:
                kind = path.parent.name
                self._kinds.setdefault(kind, {})[record.key] = record
                self._outputs.setdefault((kind, record.output), []).append(record)

    def of_kind(self, kind: str) -> list[Record]:
        """Return the records of a kind in order of their keys."""
        return list(self._kinds.get(kind, {}).values())

    def get(self, kind: str, key: str) -> Record | None:
        """Return the record of a key."""
        return self._kinds.get(kind, {}).get(key)

    def made(self, kind: str, role: str, output: str) -> list[Record]:
        """Return the records that made what a stage of `kind` read in a role, in order of their keys."""
        return [record for maker in makers(kind, role) for record in self._outputs.get((maker.value, output), [])]

    def find(self, prefix: str) -> Record:
        """Return the record whose key begins so; else the one whose output or weights do.

        Raises:
            InputError: none, several, or one that was changed by hand.
        """
        wanted = prefix.lower()
        if len(wanted) < _SHORTEST:
            raise InputError(f"'{prefix}' is too short to name a record: give {_SHORTEST} digits of its key or more.")
        every = [record for kind in self._kinds.values() for record in kind.values()]
        found = [record for record in every if record.key.startswith(wanted)]
        found = found or [
            record
            for record in every
            if record.output.startswith(wanted) or str(record.facts.get("weights", "")).startswith(wanted)
        ]
        if not found:
            self._raise_damaged(wanted)
            raise InputError(
                f"No record in {self.store.ledger.root} has a key that begins with '{prefix}', nor an output or weights"
                f" that do. It holds {'1 record' if len(every) == 1 else f'{len(every)} records'}; their keys are"
                " printed by `harness explain STAGE`, such as `harness explain label`."
            )
        if len(found) > 1:
            rows = "\n".join(f"  {self.title(record)}" for record in found[:20])
            more = f"\n  and {len(found) - 20} more" if len(found) > 20 else ""
            raise InputError(f"{len(found)} records are named by '{prefix}'. Give more digits of a key:\n{rows}{more}")
        return found[0]

    def title(self, record: Record) -> str:
        """Return one line that names a record: its key, its kind, the stage that it is in a run."""
        uses = self.uses(record)
        where = f"  {uses[0].stages[0]} of {uses[0].run}" if uses else ""
        return f"{record.key[:12]}  {record.payload['kind']}{where}"

    def uses(self, record: Record) -> tuple[Use, ...]:
        """Return the runs that a record answers for, in order of their names."""
        found = []
        for run in self.runs:
            stages = tuple(sorted(stage for stage, (_, key) in run.records.items() if key == record.key))
            if stages:
                found.append(Use(run=run.name, stages=stages))
        return tuple(found)

    def as_stage(self, study: str, stage: str) -> list[Record]:
        """Return the records that were this stage in the runs of a study, in order of their keys."""
        places = {run.records[stage] for run in self.runs if run.study["name"] == study and stage in run.records}
        return [self._kinds[kind][key] for kind, key in sorted(places) if key in self._kinds.get(kind, {})]

    def filter_of(self, label: Record) -> str | None:
        """Return the name of the filter pack of a label record, where the runs that use it agree on one."""
        found = set()
        for run in self.runs:
            for stage, (_, key) in run.records.items():
                if key == label.key:
                    found.add(stage.partition("/")[2] or str(run.study.get("filter", "")))
        return found.pop() if len(found) == 1 and "" not in found else None

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs of the store, in order of their names; one that cannot be read is among the problems."""
        found, runs = [], Runs(self.store.root)
        for path in sorted(runs.root.glob("*/*.json")):
            try:
                found.append(runs.read(path))
            except InputError as error:
                self.problems.append(str(error))
        return tuple(found)

    def _raise_damaged(self, prefix: str) -> None:
        """Raise where the record that is asked for is there and cannot be believed."""
        for path in sorted(self.store.ledger.root.glob("*/*.json")):
            if path.stem.startswith(prefix[:32]):
                raise InputError(
                    f"Record {path} was changed after it was written: its digest does not match, so it is not believed."
                    " Restore it, or remove it; `harness ablate` makes it again."
                )
