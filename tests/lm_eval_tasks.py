"""Small datasets of our own in the columns of hub datasets, and lm-eval's own task YAML pointed at them.

The texts are written for these tests; none is an item of a benchmark.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from harness.evaluate import declarations

NAMES = ("Ann", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gwen", "Hal", "Ida", "Jon", "Kim", "Leo")
THINGS = ("jars", "pens", "maps", "kites", "coins", "drums", "ropes", "lamps", "books", "shells", "bells", "keys")


def gsm8k() -> dict[str, list[dict[str, Any]]]:
    """Return sums in words whose answers end in "#### n"."""

    def row(k: int) -> dict[str, Any]:
        have, more = 3 * k + 2, 1000 + k
        return {
            "question": f"{NAMES[k]} has {have} {THINGS[k]} and finds {more} more. How many {THINGS[k]} are there?",
            "answer": f"There are {have} + {more} = {have + more}.\n#### {have + more:,}",
        }

    return {"train": [row(k) for k in range(6)], "test": [row(k) for k in range(2, 12)]}


def truthfulqa() -> dict[str, list[dict[str, Any]]]:
    """Return questions with choices of several words, some of them true."""
    rows = []
    for k, name in enumerate(NAMES):
        choices = [f"{name} sells {THINGS[k]} in the harbour", f"Nobody knows what {name} sells", f"{name} is a cloud"]
        choices = choices[: 2 + k % 2]
        targets = {"choices": choices, "labels": [1, *([k % 2] if len(choices) == 3 else []), 0]}
        one = {"choices": choices, "labels": [1] + [0] * (len(choices) - 1)}
        rows.append({"question": f"What does {name} do all day?", "mc1_targets": one, "mc2_targets": targets})
    return {"validation": rows}


def winogrande() -> dict[str, list[dict[str, Any]]]:
    """Return sentences with a gap: every choice is a context of its own."""
    rows = []
    for k in range(10):
        first, second = NAMES[k], NAMES[k + 2]
        rows.append(
            {
                "sentence": f"{first} gave the {THINGS[k]} to {second} because _ had no room left for them.",
                "option1": first,
                "option2": second,
                "answer": str(1 + k % 2),
            }
        )
    # lm-eval draws one shot more than it shows, in case it drew the item itself: two shots need three rows.
    return {"train": rows[:3], "validation": rows[3:]}


def wikitext() -> dict[str, list[dict[str, Any]]]:
    """Return pages in wikitext's own spacing."""
    pages = [
        f" = {name} 's {thing} = \n {name} kept {k + 2} @,@ 000 {thing} in a shed , and {k} @.@ 5 of them were new . \n"
        * (1 + k % 4)
        for k, (name, thing) in enumerate(zip(NAMES, THINGS, strict=True))
    ]
    return {"train": [{"page": pages[0]}], "validation": [{"page": pages[1]}], "test": [{"page": p} for p in pages]}


def arithmetic() -> dict[str, list[dict[str, Any]]]:
    """Return sums whose completion is scored."""
    return {
        "validation": [
            {"context": f"Question: What is {k} plus {k + 30}?\nAnswer:", "completion": f" {2 * k + 30}"}
            for k in range(10, 20)
        ]
    }


# Our name of each: the file of lm-eval's task that it includes, and the rows in its columns.
TASKS = {
    "sums_in_words": ("gsm8k/gsm8k.yaml", gsm8k),
    "true_trades": ("truthfulqa/truthfulqa_mc2.yaml", truthfulqa),
    "gaps": ("winogrande/default.yaml", winogrande),
    "sheds": ("wikitext/wikitext.yaml", wikitext),
    "plain_sums": ("arithmetic/arithmetic_2da.yaml", arithmetic),
}


def declare(folder: Path, name: str, **changes: Any) -> Path:
    """Write one of `TASKS` into a folder for --tasks-path: its rows, and YAML that includes lm-eval's own."""
    include, rows = TASKS[name]
    path = declarations.lm_eval_tasks() / include
    return write(folder, name, rows(), {"include": str(path), "task": name, "dataset_name": None, **changes})


def write(
    folder: Path, name: str, splits: Mapping[str, Sequence[Mapping[str, Any]]], settings: Mapping[str, Any]
) -> Path:
    """Write a task of one's own: JSON lines beside its YAML."""
    files = {}
    for split, rows in splits.items():
        path = folder / f"{name}.{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        files[split] = str(path)
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")}}
    target = folder / f"{name}.yaml"
    target.write_text(yaml.safe_dump({**data, **settings}, sort_keys=False), encoding="utf-8")
    return target
