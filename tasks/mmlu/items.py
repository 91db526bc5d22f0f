"""Rows of MMLU by subject, from the hub or from --data (mmlu/{dev,test}.jsonl.gz)."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from harness.evaluate.benchmarks import rows


def load(subject: str, data_dir: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the splits `dev` (the five shots) and `test` of one subject."""
    return {
        split: Dataset.from_list(
            [
                row
                for row in rows(
                    file=f"mmlu/{split}.jsonl.gz", hub="cais/mmlu", config=subject, split=split, data_dir=data_dir
                )
                if row["subject"] == subject
            ]
        )
        for split in ("dev", "test")
    }
