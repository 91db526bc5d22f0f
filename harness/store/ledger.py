"""Records: one small JSON file per finished stage, found by the key of the question it answers.

Owns the key and the record's form. Does not hold artifacts (see `objects`). Invariant: a record is
written last and atomically, so a record that exists is complete; its payload is the very structure
that was hashed, so a miss can be explained field by field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.canonical import digest
from harness.store.files import write_atomic

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a finished stage left behind.

    Attributes:
        key: sha256 of `payload`.
        payload: the hashed question: schema, kind, version, settings, input digests.
        output: digest of the object that the stage produced.
        facts: small results that reports read (counts, losses, weights digest).
        telemetry: what may differ between equal runs (seconds, rates); never read by a report.
    """

    key: str
    payload: Mapping[str, Any]
    output: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    telemetry: Mapping[str, Any] = field(default_factory=dict)

    def seal(self) -> str:
        """Return the digest that is stored beside the record, so that a changed digit in a score is noticed."""
        return digest("harness.record", [self.payload, self.output, self.facts])


def stage_payload(*, kind: str, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return the structure whose digest is the stage's key; inputs are content digests."""
    return {"schema": SCHEMA, "kind": kind, "version": version, "settings": dict(settings), "inputs": dict(inputs)}


def stage_key(payload: Mapping[str, Any]) -> str:
    """Return the key of a stage's payload: 64 hex digits."""
    return digest("harness.stage", payload)


class Ledger:
    """The folder of records, `<root>/<kind>/<first 32 digits of the key>.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, kind: str, key: str) -> Path:
        """Return where the record of a key is, or would be."""
        return self.root / kind / f"{key[:32]}.json"

    def get(self, kind: str, key: str) -> Record | None:
        """Return the record of a key; None when there is none, or when its contents are not the key's or the seal's."""
        record = self.read(self.path(kind, key))
        return record if record is not None and record.key == key else None

    def read(self, path: Path) -> Record | None:
        """Return the record in a file; None when there is none, or when it is not what was written there."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            record = Record(**{name: value for name, value in raw.items() if name != "seal"})
            whole = record.key == stage_key(record.payload) and record.seal() == raw.get("seal")
            return record if whole and path == self.path(record.payload["kind"], record.key) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # A damaged record is no JSON, no UTF-8, or has other fields or values than those of a record.
            return None

    def put(self, record: Record) -> None:
        """Write a record, atomically."""
        text = json.dumps(
            {
                "key": record.key,
                "payload": record.payload,
                "output": record.output,
                "facts": record.facts,
                "telemetry": record.telemetry,
                "seal": record.seal(),
            },
            indent=1,
            sort_keys=True,
        )
        write_atomic(self.path(str(record.payload["kind"]), record.key), text + "\n")
