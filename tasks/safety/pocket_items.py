"""Prompts of the pocket study's own safety sets."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from harness.data import pocket


def load(subtask: str, **metadata: Any) -> dict[str, Dataset]:
    """Return the prompts of one kind, "harmful" or "safe"."""
    return {"test": Dataset.from_list(pocket.prompts(subtask))}
