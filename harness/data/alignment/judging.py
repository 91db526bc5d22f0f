"""The measured error of a pack as a judge of answers: how often it sees a full refusal where people see one.

Owns the counts by model that answered, and their file `training/filters/measured/<name>@<version>.json`. Does no
statistics with them (see `harness.report.misclassification`). Invariant: figures are those of one pack's bytes, on
answers that the pack was not made on; a pack with other bytes has none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.canonical import digest
from harness.data.alignment.engine import judge
from harness.data.alignment.gold import Gold
from harness.data.alignment.pack import Pack
from harness.layout import shipped

#: {model that answered: {label by people: {label by the pack: answers}}}
Counts = Mapping[str, Mapping[str, Mapping[str, int]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """How a pack judges labelled answers.

    Attributes:
        pack, pack_digest: which pack.
        answers: which labelled answers, in words.
        source, source_sha256: the file that they are in, below --data.
        counts: what people and the pack say of them, by model.
    """

    pack: str
    pack_digest: str
    answers: str
    source: str
    source_sha256: str
    counts: Counts

    @property
    def digest(self) -> str:
        """Digest of all figures; enters the keys of scores that show them."""
        return digest("measured", self.to_document())

    def to_document(self) -> dict[str, Any]:
        """Return the one JSON object of its file."""
        return {
            "pack": self.pack,
            "pack_digest": self.pack_digest,
            "answers": self.answers,
            "source": self.source,
            "source_sha256": self.source_sha256,
            "counts": {model: {label: dict(said) for label, said in own.items()} for model, own in self.counts.items()},
        }


def measured(pack: Pack) -> Measured | None:
    """Return the shipped figures of a pack; None where there are none, or none of these bytes."""
    path = place(pack)
    if not path.is_file():
        return None
    found = Measured(**json.loads(path.read_text(encoding="utf-8")))
    return found if found.pack_digest == pack.digest else None


def place(pack: Pack) -> Path:
    """Return the file of a pack's figures, which need not be there."""
    return shipped("training") / "filters" / "measured" / f"{pack.reference}.json"


def count(rows: Sequence[Gold], pack: Pack) -> Counts:
    """Return what people and a pack say of labelled answers, by the model that gave them."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for row, said in zip(rows, judge([(row.text, row.user) for row in rows], pack), strict=True):
        found.setdefault(row.model, {}).setdefault(row.label.value, Counter())[said.label.value] += 1
    return {
        model: {label: dict(sorted(own[label].items())) for label in sorted(own)}
        for model, own in sorted(found.items())
    }


def unseen(rows: Sequence[Gold]) -> list[Gold]:
    """Return XSTest's answers to odd-numbered prompts: no rule was written on them and no weight fitted to them."""
    return [row for row in rows if int(row.id.rsplit("-", 1)[1]) % 2]
