"""Rows of BIG-Bench Hard by subtask, with the shots and descriptions that lm-eval ships."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import lm_eval.tasks
import yaml
from datasets import Dataset

from harness.evaluate.benchmarks import rows


@functools.cache
def shipped(subtask: str) -> dict[str, Any]:
    """Return lm-eval's own definition of a subtask (bbh/cot_fewshot), for its description and shots."""
    path = Path(lm_eval.tasks.__file__).parent / "bbh" / "cot_fewshot" / f"{subtask}.yaml"
    definition: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return definition


def _questions(subtask: str, data_dir: str | None) -> list[dict[str, str]]:
    found = rows(file=f"bbh/{subtask}.jsonl", hub="SaylorTwift/bbh", config=subtask, split="test", data_dir=data_dir)
    return [{name: row[name] for name in ("input", "target")} for row in found]


def load(subtask: str, data_dir: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the splits `test` and `shots` of one subtask; every row carries the subtask's description."""
    description = shipped(subtask)["description"]
    return {
        "test": Dataset.from_list([{**row, "description": description} for row in _questions(subtask, data_dir)]),
        "shots": Dataset.from_list(shipped(subtask)["fewshot_config"]["samples"]),
    }


def load_direct(subtask: str, data_dir: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the first three questions of a subtask as `shots`, all others as `test` (InstructEval's bbh.py:50-51)."""
    found = _questions(subtask, data_dir)
    return {"test": Dataset.from_list(found[3:]), "shots": Dataset.from_list(found[:3])}
