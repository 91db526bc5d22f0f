"""Building and scoring the programs of pocket_humaneval.

Owns the join of prompt and completion and the metric's face towards lm-eval. Does not execute: the
sandbox does. Invariant: a prediction passes only if the sandbox says that its tests passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def build_predictions(resps: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Return prompt + completion for every response of every item."""
    return [[doc["prompt"] + text for text in texts] for texts, doc in zip(resps, docs, strict=True)]


def pass_at_1(references: Sequence[str], predictions: Sequence[Sequence[str]], **kwargs: Any) -> float:
    """Return the share of predictions that pass; a reference is the tests and a last line check(NAME)."""
    from harness.evaluate import sandbox

    passed = total = 0
    for reference, programs in zip(references, predictions, strict=True):
        tests, _, call = reference.rstrip().rpartition("\n")
        entry_point = call.removeprefix("check(").removesuffix(")")
        for program in programs:
            passed += sandbox.run(program, tests, entry_point).passed
            total += 1
    return passed / total
