"""HumanEval-shaped scoring: programs built from prompt and completion, executed in the sandbox.

Owns the two functions that task YAML names (`build_predictions`, `pass_at_1`), in lm-eval's signatures.
Does not isolate (see `sandbox`). Invariant: a prediction passes only if the sandbox says so; the outcomes
kept between the two calls are those of exactly these programs and tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.evaluate.sandbox import Job, run_many

_outcomes: dict[tuple[str, str, str], bool] = {}


def build_predictions(resps: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Return prompt + completion for every response, as lm-eval's humaneval/utils.py does.

    lm-eval calls this once with all items and then scores item by item, so the programs are executed here,
    many at a time, and `pass_at_1` looks the outcomes up.
    """
    pairs = list(zip(resps, docs, strict=True))
    programs = [[doc["prompt"] + text for text in texts] for texts, doc in pairs]
    _execute(
        [
            (program, doc["test"], doc["entry_point"])
            for own, (_, doc) in zip(programs, pairs, strict=True)
            for program in own
        ]
    )
    return programs


def pass_at_1(references: Sequence[str], predictions: Sequence[Sequence[str]], **options: Any) -> float:
    """Return the share of programs that pass; a reference is the tests and a last line check(NAME)."""
    verdicts = []
    for reference, programs in zip(references, predictions, strict=True):
        tests, _, call = reference.rpartition("\n")
        name = call.removeprefix("check(").removesuffix(")")
        wanted = [(program, tests, name) for program in programs]
        _execute(wanted)
        verdicts += [_outcomes[one] for one in wanted]
    return sum(verdicts) / len(verdicts)


def _execute(wanted: Sequence[tuple[str, str, str]]) -> None:
    missing = sorted({one for one in wanted if one not in _outcomes})
    jobs = [Job(program=program, tests=tests, entry_point=name) for program, tests, name in missing]
    if jobs:
        outcomes = run_many(jobs)
        _outcomes.update((one, outcome.passed) for one, outcome in zip(missing, outcomes, strict=True))
