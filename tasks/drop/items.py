"""Rows of DROP's validation split, and lm-eval's own reading and scoring of them."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from lm_eval.tasks.drop.utils import process_docs, process_results

from harness.evaluate.benchmarks import rows

__all__ = ["load", "process_docs", "process_results"]


def load(data_dir: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the split `validation`; the files under --data have no training split."""
    found = rows(
        file="drop/validation.jsonl.gz", hub="EleutherAI/drop", config=None, split="validation", data_dir=data_dir
    )
    return {"validation": Dataset.from_list(found)}
