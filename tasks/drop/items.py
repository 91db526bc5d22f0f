"""Rows of DROP's validation split, and lm-eval's own reading and scoring of them."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from lm_eval.tasks.drop.utils import process_docs, process_results

from harness.evaluate.benchmarks import rows
from harness.evaluate.profiles.instructeval import drop_split

__all__ = ["load", "load_single", "process_docs", "process_results"]


def load(data_dir: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the split `validation`; the files under --data have no training split."""
    return {"validation": Dataset.from_list(_validation(data_dir))}


def load_single(data_dir: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the splits `shots` and `test` of InstructEval's DROP: questions with one distinct answer.

    The files under --data keep an equal vote only once, so there the first annotator's answer is one of the votes.
    Their order is not the hub's: other rows are drawn as shots.
    """
    shots, test = drop_split(_validation(data_dir), main=data_dir is not None)
    return {"shots": Dataset.from_list(shots), "test": Dataset.from_list(test)}


def _validation(data_dir: str | None) -> list[dict[str, Any]]:
    return rows(
        file="drop/validation.jsonl.gz", hub="EleutherAI/drop", config=None, split="validation", data_dir=data_dir
    )
