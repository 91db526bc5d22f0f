"""Runs: which records answer for one finished command, so that its report needs nothing but the store.

Owns the form of `results/runs/<study>/<selection>.json`. Does not know what is in a study or a report. Invariant: a run
is written last and atomically, and names records by their keys: one that is there can be read again as it was, or,
where a record is gone, was changed or was made from other inputs than the run's, not at all.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.canonical import digest
from harness.errors import InputError
from harness.store.files import write_atomic
from harness.store.ledger import Ledger, Record

SCHEMA = 1
WHOLE = "whole"
"""Name of the run of a whole study, whose selection is empty."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One finished command.

    Attributes:
        study: the study file as plain data.
        choice: what of it was run: pair, arms, seeds, tasks, profiles, limit.
        selection: what deviates from the study file, as a folder name; empty for the whole study.
        tasks: per definition of a task, what a report says of it: title, metric, chance, average, profile.
        records: stage name -> (kind, key).
    """

    study: Mapping[str, Any]
    choice: Mapping[str, Any]
    selection: str
    tasks: Mapping[str, Mapping[str, Any]]
    records: Mapping[str, tuple[str, str]]

    @property
    def name(self) -> str:
        """The run's place below `runs/`, such as "pocket/whole"."""
        return f"{self.study['name']}/{self.selection or WHOLE}"

    def content(self) -> dict[str, Any]:
        """Return the run as plain data."""
        return {
            "schema": SCHEMA,
            "study": self.study,
            "choice": self.choice,
            "selection": self.selection,
            "tasks": self.tasks,
            "records": {stage: list(place) for stage, place in self.records.items()},
        }


class Runs:
    """The folder of runs below a store."""

    def __init__(self, root: Path) -> None:
        self.root = root / "runs"

    def path(self, study: str, selection: str) -> Path:
        """Return where the run of a study and a selection is, or would be."""
        return self.named(f"{study}/{selection or WHOLE}")

    def named(self, name: str) -> Path:
        """Return where the run of a name such as "pocket/whole" is, or would be."""
        return self.root / f"{name}.json"

    def put(self, run: Run) -> Path:
        """Write a run in place of an older one of the same study and selection; return the file.

        One that is there already is not written again, so that results which may only be read can be shown.
        """
        path = self.named(run.name)
        content = json.loads(json.dumps(run.content()))
        text = json.dumps(content | {"seal": _seal(content)}, indent=1, sort_keys=True)
        if not path.is_file() or path.read_bytes() != f"{text}\n".encode():
            write_atomic(path, text + "\n")
        return path

    def read(self, path: Path) -> Run:
        """Return the run of a file.

        Raises:
            InputError: the file is no run, of another schema, was changed by hand or has another run's name.
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            seal, schema = raw.pop("seal"), raw["schema"]
        except OSError as error:
            raise InputError(
                f"{path} cannot be read: {error.strerror or error}. Make it readable, or remove it and run `harness"
                " ablate` again."
            ) from None
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise InputError(
                f"{path} is no run: it cannot be read. Remove it and run `harness ablate` again."
            ) from None
        if schema != SCHEMA:
            raise InputError(
                f"{path} has schema {schema}, and this version reads {SCHEMA}. Run `harness ablate` again: what is"
                " recorded is found, and the run is written anew."
            )
        if seal is None or _seal(raw) != seal:
            raise InputError(
                f"{path} was changed after it was written: its digest does not match. Restore it, or remove it and run"
                " `harness ablate` again."
            )
        records = {stage: (kind, key) for stage, (kind, key) in raw["records"].items()}
        run = Run(
            study=raw["study"],
            choice=raw["choice"],
            selection=raw["selection"],
            tasks=raw["tasks"],
            records=records,
        )
        if self.named(run.name) != path:
            # Its reports would be written over those of the run that it was copied from.
            raise InputError(
                f"{path} holds the run '{run.name}', which belongs in {self.named(run.name)}. Move it there, or remove"
                " it."
            )
        return run

    def names(self) -> list[str]:
        """Return the names of all runs, in order, without reading any."""
        return sorted(path.relative_to(self.root).with_suffix("").as_posix() for path in self.root.glob("*/*.json"))

    def all(self) -> Iterator[Run]:
        """Yield every run, in order of their names.

        Raises:
            InputError: as `read`.
        """
        for name in self.names():
            yield self.read(self.named(name))

    def records(self, run: Run, ledger: Ledger, *, only: Collection[str] | None = None) -> dict[str, Record]:
        """Return the records of a run by stage name.

        Args:
            only: names of the stages that are wanted; None = all.

        Raises:
            InputError: a record is gone, was changed by hand, or is not of one piece with the others; names the first
                file.
        """
        found: dict[str, Record] = {}
        for stage, (kind, key) in run.records.items():
            if only is not None and stage not in only:
                continue
            record = ledger.get(kind, key)
            if record is None:
                path = ledger.path(kind, key)
                what = "was changed after it was written: its digest does not match" if path.exists() else "is missing"
                raise InputError(
                    f"Record {path} (stage '{stage}' of run '{run.name}') {what}. Restore it, or remove it and run"
                    " `harness ablate` again."
                )
            found[stage] = record
        if only is None:
            made = {record.output for record in found.values()}
            self.require_joined(run, ledger, found, dict.fromkeys(found, made))
        return found

    def require_joined(
        self, run: Run, ledger: Ledger, records: Mapping[str, Record], made: Mapping[str, Collection[str]]
    ) -> None:
        """Raise where a record was made from what the run's other records did not make.

        A record is found by its question. Where a stage was made again, or where two stores were mixed, its answer may
        be another one than that which the later records of the run come from.

        Args:
            made: by stage, the outputs that it may have been made from; stages that are not in it are not looked at.

        Raises:
            InputError: names the first file.
        """
        for stage, outputs in made.items():
            record = records[stage]
            for role, wanted in record.payload["inputs"].items():
                if wanted not in outputs:
                    raise InputError(
                        f"Record {ledger.path(*run.records[stage])} (stage '{stage}' of run '{run.name}') was made from"
                        f" another '{role}' ({wanted[:12]}) than the run has now: what makes it was made again and came"
                        " out differently, or two results folders were mixed. Run `harness ablate` again, or remove the"
                        " run."
                    )


def _seal(content: Mapping[str, Any]) -> str | None:
    """Return the digest of a run's content; None where it has none (a number that is not finite)."""
    try:
        return digest("harness.run", content)
    except TypeError:
        return None
