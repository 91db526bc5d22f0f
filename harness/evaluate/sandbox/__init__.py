"""Run programs that a language model wrote against their tests, and believe only our own verdict.

Owns the interface: what a program may use and what can become of it. Does not execute anything: `crew` starts a
helper process per worker (`warden`), which forks, isolates and ends the rest. This module is loaded in those too, so
it imports next to nothing. Invariant: `Verdict.PASSED` comes from a process that never ran a line of the program,
over a socket that the program's process never had.

What it cannot defend: a program that recognises the call's arguments and answers by rote has passed, as
it would anywhere; the kernel's own faults; side channels such as cache timing. Programs see the standard
library only, no site-packages, no /proc. Values cross as plain data: a function that returns its argument
returns an equal copy (`is` is lost), an object of the program's own class is refused, an iterator is run.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one program may use: seconds, bytes, tasks.

    CPU time decides; wall time only ends sleepers, so that a busy machine does not turn right answers wrong. The kernel
    counts CPU time and memory per process, and threads as `processes`; `file_bytes` is one file and all of the
    directory, `output_bytes` one answer (what is printed goes nowhere).
    """

    cpu_seconds: float = 3.0
    judge_cpu_seconds: float = 10.0
    wall_seconds: float = 30.0
    memory_bytes: int = 1024 * _MIB
    file_bytes: int = 16 * _MIB
    output_bytes: int = 16 * _MIB
    processes: int = 8


class Verdict(enum.StrEnum):
    """What became of one program."""

    PASSED = "passed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASHED = "crashed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A program (prompt and completion), the tests that define `check(candidate)`, and what to check."""

    program: str
    tests: str
    entry_point: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A verdict with its reason: types and line numbers only, so that equal runs give equal records."""

    verdict: Verdict
    detail: str
    isolation: str

    @property
    def passed(self) -> bool:
        """Whether `check` returned."""
        return self.verdict is Verdict.PASSED


@functools.cache
def code_digest() -> str:
    """Return the SHA-256 of this package's source: a change of the sandbox may change scores.

    The interpreter is part of what runs, so its version takes part.
    """
    from pathlib import Path

    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def isolation_level() -> str:
    """What this kernel gives: 'namespaces', or 'rlimits' (no network isolation: refused by default)."""
    from harness.evaluate.sandbox.crew import probe

    return probe()[0]


def run(
    program: str, tests: str, entry_point: str, limits: Limits | None = None, *, allow_unsafe: bool = False
) -> Outcome:
    """Run one program; see `run_many`, which is much cheaper for more than one."""
    job = Job(program=program, tests=tests, entry_point=entry_point)
    return run_many([job], limits, workers=1, allow_unsafe=allow_unsafe)[0]


def run_many(
    jobs: Sequence[Job],
    limits: Limits | None = None,
    workers: int | None = None,
    on_done: Callable[[int], None] | None = None,
    *,
    allow_unsafe: bool = False,
) -> list[Outcome]:
    """Run all jobs, each in fresh processes, and return their outcomes in the order of the jobs.

    `on_done(index)` is called once per finished job, one call at a time. Raises `InputError` where the
    kernel gives no namespaces (unless `allow_unsafe`) or a job's tests cannot be run, `WorkerError` where
    a helper process died; nothing is left running either way.
    """
    from harness.evaluate.sandbox.crew import Crew

    count = max(1, min(workers or os.cpu_count() or 1, len(jobs)))
    return Crew(jobs, limits or Limits(), on_done, allow_unsafe).finish(count)
