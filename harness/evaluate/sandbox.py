"""Run programs that a language model wrote against their tests, and believe only our own verdict.

Owns the limits, the verdicts and the wardens (one helper process per worker). Does not fork, isolate or
execute anything itself: `sandbox_warden` does. Invariant: `Verdict.PASSED` comes from a process that never
ran a line of the program, over a pipe that the program's process never had.

What it cannot defend: a program that recognises the call's arguments and answers by rote has passed, as
it would anywhere; the kernel's own faults; side channels such as cache timing. Programs see the standard
library only, no site-packages, no /proc. Values cross as plain data: a function that returns its argument
returns an equal copy (`is` is lost), an object of the program's own class is refused, an iterator is run.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.errors import InputError, WorkerError
from harness.evaluate.sandbox_wire import write_frame

_MIB = 1 << 20
_ROOT = Path(__file__).resolve().parents[2]
# The source root is on the path for the first import only: a program must not find the harness there.
_START = (
    "import sys; sys.path.insert(0, {root!r}); import harness.evaluate.sandbox_warden as warden;"
    " del sys.path[0]; warden.main()"
)
_SETUP_FAILED, _OVER_CPU, _HUNG_UP, _SIGNAL = 102, 100, 101, 128  # as in sandbox_warden


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one program may use. CPU time decides; wall time only ends sleepers, so that a busy machine
    does not turn right answers wrong. `processes` counts threads too; `output_bytes` is one answer."""

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


class _Warden:
    """One helper process and the two pipes to it."""

    def __init__(self, limits: Limits, *, namespaces: bool = True) -> None:
        setting = json.dumps({**asdict(limits), "namespaces": namespaces})
        command = [sys.executable, "-s", "-S", "-P", "-B", "-c", _START.format(root=str(_ROOT)), setting]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PYTHONHASHSEED": "0"},
            cwd="/",
            start_new_session=True,
        )
        hello = self._line()
        if "error" in hello:
            self._close()
            raise WorkerError(f"code sandbox: cannot start: {hello['error']}")
        self.isolation: str = hello["isolation"]
        self.reason: str = hello["reason"]

    def __enter__(self) -> _Warden:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> str:
        """End the helper process with all that runs in it; return what it said on its error stream."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.close()  # the warden ends what runs, then itself
        process.wait()
        process.stdout.close()
        said = b"" if process.stderr.closed else process.stderr.read()
        process.stderr.close()
        return said.decode(errors="replace").strip()[-500:] or "nothing"

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text.endswith(b"\n"):
            raise WorkerError(f"code sandbox: the helper process ended unexpectedly. It said: {self._close()}")
        line: dict[str, Any] = json.loads(text)
        return line

    def run(self, job: Job) -> Outcome:
        """Run one job; `InputError` when its tests cannot be run, `WorkerError` when the helper died."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # reading the report says what became of the helper
            write_frame(self._process.stdin.fileno(), asdict(job))
        line = self._line()
        judged = line if "verdict" in line else None
        ended = self._line() if judged else line
        if ended["keeper"] == _SETUP_FAILED:
            raise WorkerError(f"code sandbox: a program could not be confined. It said: {self._close()}")
        verdict, detail = _combine(judged, ended["judge"], ended["keeper"])
        if verdict == "bad-tests":
            raise InputError(
                f"The tests of '{job.entry_point}' cannot be run in the sandbox: {detail}."
                " Correct the tests of the task."
            )
        return Outcome(verdict=Verdict(verdict), detail=detail, isolation=self.isolation)


def _combine(judged: dict[str, Any] | None, judge_end: str, keeper: int) -> tuple[str, str]:
    """Return (verdict, detail) from the judge's word, else from how judge and candidate ended."""
    if judged and judged["verdict"] != "gone":
        return judged["verdict"], judged["detail"]
    if not judged and judge_end != "ended":
        return "timeout", "wall time limit" if judge_end == "wall" else "cpu time limit of the tests"
    if not judged:
        return "crashed", "the judge ended without a verdict"
    if keeper == _OVER_CPU:
        return "timeout", "cpu time limit"
    if keeper > _SIGNAL:
        return "crashed", f"the program was ended by signal {keeper - _SIGNAL}"
    if keeper == _HUNG_UP:
        return "crashed", "the program closed its channel"
    return "failed", "the program ended its own process"


@functools.cache
def _probe() -> tuple[str, str]:
    with _Warden(Limits()) as warden:
        return warden.isolation, warden.reason


def isolation_level() -> str:
    """What this kernel gives: 'namespaces', or 'rlimits' (no network isolation: refused by default)."""
    return _probe()[0]


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
    crew = _Crew(jobs, limits or Limits(), on_done, allow_unsafe)
    count = max(1, min(workers or os.cpu_count() or 1, len(jobs)))
    threads = [threading.Thread(target=crew.work, name=f"sandbox-{n}") for n in range(count)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        crew.stop()
        raise
    if crew.error is not None:
        raise crew.error
    return [crew.outcomes[index] for index in range(len(jobs))]


class _Crew:
    """The worker threads' shared state: which job is next, what came out, what went wrong first."""

    namespaces = True  # a test switches this off to see the fallback

    def __init__(
        self, jobs: Sequence[Job], limits: Limits, on_done: Callable[[int], None] | None, allow_unsafe: bool
    ) -> None:
        self._jobs, self._limits, self._on_done, self._allow_unsafe = jobs, limits, on_done, allow_unsafe
        self._lock = threading.Lock()
        self._next = 0
        self.outcomes: dict[int, Outcome] = {}
        self.error: BaseException | None = None

    def stop(self) -> None:
        """Hand out no more jobs."""
        with self._lock:
            self._next = len(self._jobs)

    def _take(self) -> int | None:
        with self._lock:
            if self._next >= len(self._jobs):
                return None
            self._next += 1
            return self._next - 1

    def work(self) -> None:
        """Run jobs in one warden until there are none; the first error stops all workers."""
        try:
            if not self._jobs:
                return
            with _Warden(self._limits, namespaces=self.namespaces) as warden:
                _require(warden, self._allow_unsafe)
                while (index := self._take()) is not None:
                    outcome = warden.run(self._jobs[index])
                    with self._lock:
                        self.outcomes[index] = outcome
                        if self._on_done:
                            self._on_done(index)
        except BaseException as error:  # raised again by run_many, in the caller's thread
            self.stop()
            self.error = self.error or error


def _require(warden: _Warden, allow_unsafe: bool) -> None:
    if warden.isolation != "namespaces" and not allow_unsafe:
        raise InputError(
            "Generated code is not run here: the kernel refuses the namespaces that keep it from the network"
            f" and the file system ({warden.reason}). Run as root, allow user namespaces (sysctl"
            " user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns), or, on a machine that"
            " may be lost, allow unsafe execution."
        )
