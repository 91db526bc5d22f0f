"""From a question that has no answer to the recorded one that is nearest, and from what differs to the first cause.

Owns the comparison of two questions through all that came before them. Says nothing in words (see `wording`).
Invariant: every difference ends in a field that is no input, or in an input whose past is not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.commands.explain.differences import Absent, Difference, differences
from harness.commands.explain.records import Records
from harness.plan import Stage
from harness.store import Record

_UNKNOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A question as it is asked now, compared with one that was recorded.

    Attributes:
        stage: name of the stage now.
        kind: of both.
        record: the recorded question.
        fields: what differs, other than inputs.
        inputs: what differs of the inputs.
    """

    stage: str
    kind: str
    record: Record
    fields: tuple[Difference, ...]
    inputs: tuple[Input, ...]

    @property
    def distance(self) -> int:
        """How many fields differ, counted at their first causes; a past that is not recorded may differ in many."""
        return len(self.fields) + sum(
            _UNKNOWN if one.step is None else max(1, one.step.distance) for one in self.inputs
        )

    @property
    def width(self) -> int:
        """How many fields of this question itself differ."""
        return len(self.fields) + len(self.inputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """An input whose digest is another one.

    Attributes:
        role: what it is to the question.
        stage: the stage that makes it now; None where the question does not have it now.
        recorded, now: digests; None where a side does not have it.
        step: what differs in the past of the two; None where no record says how the recorded one came about.
    """

    role: str
    stage: str | None
    recorded: str | None
    now: str | None
    step: Step | None


class Past:
    """Compares questions of a plan with records; every pair once."""

    def __init__(
        self, records: Records, stages: Mapping[str, Stage], peek: Callable[[str], Record | None], study: str
    ) -> None:
        """Compare over a plan.

        Args:
            records: of the ledger.
            stages: of the plan, by name.
            peek: returns what is recorded of a stage of the plan.
            study: name of the study; what was this very stage in one of its runs comes before other records.
        """
        self._records, self._stages, self._peek, self._study = records, stages, peek, study
        self._known: dict[tuple[str, str], Step] = {}

    def compare(self, stage: str, payload: Mapping[str, Any], record: Record) -> Step:
        """Return what differs between a stage's payload now and a record, down to the first causes."""
        place = (stage, record.key)
        if place not in self._known:
            self._known[place] = self._compare(stage, payload, record)
        return self._known[place]

    def nearest(self, stage: str, payload: Mapping[str, Any], among: Sequence[Record]) -> Step | None:
        """Return the comparison with the record of which the fewest fields differ; of equals that of the lowest key.

        What was this stage in a run of the study is preferred: another arm or seed may differ in fewer fields and
        yet not be what one expects to be found again.
        """
        own = {record.key for record in self._records.as_stage(self._study, stage)}
        chosen = [record for record in among if record.key in own] or among
        steps = [self.compare(stage, payload, record) for record in chosen]
        return min(steps, key=lambda step: (step.distance, step.width, step.record.key), default=None)

    def _compare(self, stage: str, payload: Mapping[str, Any], record: Record) -> Step:
        kind = str(payload["kind"])
        fields = differences(without_inputs(record.payload), without_inputs(payload))
        roles = self._stages[stage].inputs
        before: Mapping[str, str] = record.payload.get("inputs", {})
        after: Mapping[str, str] = payload["inputs"]
        inputs = []
        for role in sorted(before.keys() | after.keys()):
            if before.get(role) != after.get(role):
                maker = roles.get(role)
                step = self._input(kind, role, maker, before.get(role))
                inputs.append(Input(role=role, stage=maker, recorded=before.get(role), now=after.get(role), step=step))
        return Step(stage=stage, kind=kind, record=record, fields=fields, inputs=tuple(inputs))

    def _input(self, kind: str, role: str, maker: str | None, recorded: str | None) -> Step | None:
        """Return what differs between what makes an input now and what made the recorded one."""
        now = self._peek(maker) if maker is not None else None
        if maker is None or now is None or recorded is None:
            return None
        made = self._records.made(kind, role, recorded)
        alike = [one for one in made if one.payload["kind"] == now.payload["kind"]]
        return self.nearest(maker, now.payload, alike or made)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """A first cause.

    Attributes:
        stages: from the stage that is explained to the one that has the cause; (name, kind).
        difference: the field; an input of which nothing more is known is a field "inputs.<role>".
        record: the record that the last of the stages was compared with.
    """

    stages: tuple[tuple[str, str], ...]
    difference: Difference
    record: Record


def causes(step: Step) -> tuple[Cause, ...]:
    """Return the first causes of a comparison: own fields before those of inputs, each once."""
    found: dict[tuple[str, str], Cause] = {}

    def walk(step: Step, before: tuple[tuple[str, str], ...]) -> None:
        stages = (*before, (step.stage, step.kind))
        lost = [
            Difference(
                path=f"inputs.{one.role}",
                recorded=Absent.ABSENT if one.recorded is None else one.recorded,
                now=Absent.ABSENT if one.now is None else one.now,
            )
            for one in step.inputs
            if one.step is None
        ]
        for difference in (*readable(step.fields), *lost):
            cause = Cause(stages=stages, difference=difference, record=step.record)
            found.setdefault((step.stage, difference.path), cause)
        for one in step.inputs:
            if one.step is not None:
                walk(one.step, stages)

    walk(step, ())
    return tuple(found.values())


def readable(fields: Sequence[Difference]) -> list[Difference]:
    """Leave out fields that differ only because something could not be read: there is one field that says so."""
    unknown = [one.path.removesuffix("unknown") for one in fields if is_unknown(one)]
    return [one for one in fields if is_unknown(one) or not any(one.path.startswith(start) for start in unknown)]


def is_unknown(difference: Difference) -> bool:
    """Whether a field says that what it stands for could not be read (see `fingerprints.of`, dry)."""
    return difference.path.endswith(".unknown") and difference.recorded is Absent.ABSENT


def without_inputs(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a payload that are known before anything has run."""
    return {name: value for name, value in payload.items() if name != "inputs"}
