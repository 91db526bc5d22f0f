"""Datasets of the pocket tasks, in the form lm-eval's `custom_dataset` wants.

Owns the conversion from pocket items to `datasets.Dataset`. Does not generate or score. Invariant: every
row keeps its `item_id`.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from lm_eval.tasks.drop.utils import process_results as drop_results

from harness.data import pocket

__all__ = ["bbh", "drop", "drop_results", "drop_single", "humaneval", "humaneval_lines", "mmlu"]


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


def drop_single(subtask: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return pocket_drop with a column `answer`: the questions with one distinct answer."""
    return {
        split: Dataset.from_list([{**row, "answer": row["answers"][0][0]} for row in found if len(row["answers"]) == 1])
        for split, found in drop(subtask).items()
    }


def humaneval_lines(subtask: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return pocket_humaneval with prompts that end in a new line, as HumanEval's do."""
    return {
        split: Dataset.from_list([{**row, "prompt": row["prompt"] + "\n"} for row in found])
        for split, found in humaneval(subtask).items()
    }
