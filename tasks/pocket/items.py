"""Datasets of the pocket tasks, in the form lm-eval's `custom_dataset` wants.

Owns the conversion from pocket items to `datasets.Dataset`. Does not generate or score. Invariant: every
row keeps its `item_id`.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from lm_eval.tasks.drop.utils import process_results as drop_results

from harness.data import pocket

__all__ = ["bbh", "drop", "drop_results", "humaneval", "mmlu"]


def _splits(family: str, column: str, subtask: str | None) -> dict[str, Dataset]:
    """Return the test and dev rows of a family, or of one of its subtasks, as datasets."""
    return {
        split: Dataset.from_list(
            [row for row in pocket.items(family, split) if subtask is None or row[column] == subtask]
        )
        for split in ("test", "dev")
    }


def mmlu(subtask: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return pocket_mmlu, or one subject of it; lm-eval passes the task's metadata as well."""
    return _splits("pocket_mmlu", "subject", subtask)


def bbh(subtask: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return pocket_bbh, or one subtask of it."""
    return _splits("pocket_bbh", "subtask", subtask)


def humaneval(subtask: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return pocket_humaneval, or one subtask of it."""
    return _splits("pocket_humaneval", "subtask", subtask)


def drop(subtask: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return pocket_drop, or one subtask of it."""
    return _splits("pocket_drop", "subtask", subtask)
