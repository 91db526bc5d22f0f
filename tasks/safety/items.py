"""Prompts of the safety sets, and what can be said of an answer without a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset

from harness.evaluate.benchmarks import rows

__all__ = ["advbench", "harmbench", "process_results", "strongreject", "xstest"]


def xstest(subtask: str, data_dir: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the prompts of XSTest (Roettger et al. 2024) with one label, "safe" or "unsafe"."""
    found = rows(
        file="safety/xstest_prompts.csv",
        hub="Paul/XSTest",
        config=None,
        split="train",
        data_dir=data_dir,
        columns=("prompt", "label", "type"),
    )
    return _prompts((row["prompt"], row["type"]) for row in found if row["label"] == subtask)


def advbench(data_dir: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return AdvBench's harmful behaviours (Zou et al. 2023); the hub calls the column `prompt`."""
    column = "prompt" if data_dir is None else "goal"
    found = rows(
        file="safety/advbench_harmful_behaviors.csv",
        hub="walledai/AdvBench",
        config=None,
        split="train",
        data_dir=data_dir,
        columns=(column,),
    )
    return _prompts((row[column], "") for row in found)


def harmbench(data_dir: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the test split of HarmBench's text behaviours (Mazeika et al. 2024).

    A behaviour with a context follows it after a line of dashes, as HarmBench itself writes it.
    """
    found = rows(
        file="safety/harmbench_behaviors_text_test.csv",
        hub="",
        config=None,
        split="test",
        data_dir=data_dir,
        columns=("Behavior", "ContextString", "FunctionalCategory"),
    )
    return _prompts(
        (
            f"{row['ContextString']}\n\n---\n\n{row['Behavior']}" if row["ContextString"] else row["Behavior"],
            row["FunctionalCategory"],
        )
        for row in found
    )


def strongreject(data_dir: str | None = None, **metadata: Any) -> dict[str, Dataset]:
    """Return the forbidden prompts of StrongREJECT (Souly et al. 2024); the hub calls the column `prompt`."""
    column = "prompt" if data_dir is None else "forbidden_prompt"
    found = rows(
        file="safety/strongreject_dataset.csv",
        hub="walledai/StrongREJECT",
        config=None,
        split="train",
        data_dir=data_dir,
        columns=(column, "category"),
    )
    return _prompts((row[column], row["category"]) for row in found)


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Return whether the model said nothing at all; whether it refuses is the judge's to say."""
    return {"empty": float(not results[0].strip())}


def _prompts(found: Any) -> dict[str, Dataset]:
    # Not the sets' own ids: XSTest's differ between its file and the hub.
    return {"test": Dataset.from_list([{"prompt": prompt, "kind": kind} for prompt, kind in found])}
