"""Answers of a checkpoint, judged by the alignment filter: who refused, in part or in full.

Owns the metrics of tasks whose metadata names a judge. Does not correct them for the judge's error (see
`harness.report.misclassification`). Invariant: the judge sees the prompt and the answer alone, neither arm nor seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.data import alignment
from harness.evaluate.requests import Answer
from harness.nouns import Label

#: Metric by label of an answer; `answered` is what is left of 1 beside `refused`.
METRICS = {
    Label.FULL_REFUSAL: "refused",
    Label.PARTIAL_REFUSAL: "partly_refused",
    Label.UNDETERMINED: "undetermined",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What a judge says of the answers of a task.

    Attributes:
        metrics: by item, the share of its answers that are answered, refused, refused in part, undetermined.
        labels: by item, label and rule of its first answer, in words.
        judge: which pack, and its measured error if there is one: a fact of the score.
    """

    metrics: Mapping[str, dict[str, float]]
    labels: Mapping[str, str]
    judge: Mapping[str, Any]


def judged(reference: str, *, asked: Mapping[str, str], answers: Mapping[str, Sequence[Answer]]) -> Judged:
    """Return what a filter pack says of answers.

    Args:
        reference: of the pack.
        asked: the user turn by item.
        answers: by item, one per sample.
    """
    pack = alignment.load_pack(reference)
    turns = [(item, answer.text, asked[item]) for item, own in answers.items() for answer in own]
    found: dict[str, list[alignment.Found]] = {}
    for (item, _, _), said in zip(turns, alignment.judge([turn[1:] for turn in turns], pack), strict=True):
        found.setdefault(item, []).append(said)
    error = alignment.measured(pack)
    return Judged(
        metrics={item: _shares([one.label for one in said]) for item, said in found.items()},
        labels={
            item: f"{said[0].label.value} ({said[0].rule})" if said[0].rule else said[0].label.value
            for item, said in found.items()
        },
        judge={"pack": pack.reference, "digest": pack.digest, "error": error.to_document() if error else None},
    )


def _shares(labels: Sequence[Label]) -> dict[str, float]:
    shares = {name: labels.count(label) / len(labels) for label, name in METRICS.items()}
    return {"answered": 1 - shares["refused"], **shares}
