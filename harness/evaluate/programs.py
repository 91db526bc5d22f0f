"""HumanEval-shaped scoring: programs built from prompt and completion, executed in the sandbox.

Owns the two functions that task YAML names (`build_predictions`, `pass_at_1`), in lm-eval's signatures, and the
settings that those signatures have no room for (`execution`). Does not isolate (see `sandbox`). Invariant: a
prediction passes only if the sandbox says so, under the settings of the surrounding `execution`.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from harness.evaluate.sandbox import Job, Limits, Outcome, Verdict, run_many


@dataclass(kw_only=True, slots=True)
class Log:
    """What was executed in one `execution`: every program once, however often it was asked for."""

    outcomes: dict[Job, Outcome] = field(default_factory=dict)

    @property
    def isolation(self) -> str | None:
        """The level under which the programs ran, 'namespaces' or 'rlimits'; None where none did."""
        levels = {outcome.isolation for outcome in self.outcomes.values()}
        assert len(levels) <= 1, "one machine, one kernel"
        return levels.pop() if levels else None

    @property
    def verdicts(self) -> dict[Verdict, int]:
        """How many different programs came to which verdict."""
        return dict(collections.Counter(outcome.verdict for outcome in self.outcomes.values()))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Execution:
    allow_unsafe: bool = False
    workers: int | None = None
    limits: Limits | None = None
    on_done: Callable[[int, int], None] | None = None
    log: Log = field(default_factory=Log)


# lm-eval calls the functions below by name, with arguments of its own: settings reach them around it.
_execution: ContextVar[_Execution] = ContextVar("execution")
_DEFAULT = _Execution()


@contextlib.contextmanager
def execution(
    *,
    allow_unsafe: bool = False,
    workers: int | None = None,
    limits: Limits | None = None,
    on_done: Callable[[int, int], None] | None = None,
) -> Iterator[Log]:
    """Within this block (and thread), execute programs in this way and log what came out.

    Outcomes are shared within the block and forgotten after it. `allow_unsafe` runs programs also where the kernel
    refuses namespaces; `log.isolation` says so. `workers` defaults to one per processor; `on_done(done, total)` is
    called after each program of a batch. Outside any block programs run with the defaults: isolated or not at all.
    """
    settings = _Execution(allow_unsafe=allow_unsafe, workers=workers, limits=limits, on_done=on_done)
    token = _execution.set(settings)
    try:
        yield settings.log
    finally:
        _execution.reset(token)


def build_predictions(resps: Iterable[Sequence[str]], docs: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Return prompt + completion for every response, as lm-eval's humaneval/utils.py does.

    lm-eval calls this once with all items and then scores item by item, so the programs are executed here,
    many at a time, and `pass_at_1` looks the outcomes up.
    """
    pairs = list(zip(resps, docs, strict=True))
    programs = [[doc["prompt"] + text for text in texts] for texts, doc in pairs]
    passed(
        Job(program=program, tests=doc["test"], entry_point=doc["entry_point"])
        for own, (_, doc) in zip(programs, pairs, strict=True)
        for program in own
    )
    return programs


def pass_at_1(references: Sequence[str], predictions: Sequence[Sequence[str]], **options: Any) -> float:
    """Return the share of programs that pass; a reference is the tests and a last line check(NAME)."""
    verdicts = []
    for reference, programs in zip(references, predictions, strict=True):
        tests, _, call = reference.rpartition("\n")
        name = call.removeprefix("check(").removesuffix(")")
        verdicts += passed(Job(program=program, tests=tests, entry_point=name) for program in programs)
    return sum(verdicts) / len(verdicts)


def passed(jobs: Iterable[Job]) -> list[bool]:
    """Return whether each program passes, in the order of the jobs; equal ones are executed once."""
    settings = _execution.get(_DEFAULT)
    wanted, known = list(jobs), settings.log.outcomes
    missing = list(dict.fromkeys(job for job in wanted if job not in known))
    if missing:
        done = 0

        def report(_: int) -> None:
            nonlocal done
            done += 1
            if settings.on_done:
                settings.on_done(done, len(missing))

        outcomes = run_many(missing, settings.limits, settings.workers, report, allow_unsafe=settings.allow_unsafe)
        known.update(zip(missing, outcomes, strict=True))
    return [known[job].passed for job in wanted]
