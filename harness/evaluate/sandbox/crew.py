"""The harness's side of the code sandbox: one helper process per worker, jobs to it, outcomes from it.

Owns the helper processes and the worker threads. Does not isolate, execute or judge anything: `warden` and those
below it do. Invariant: every helper process that was started has ended, with all below it, when a call returns.
"""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.errors import InputError, WorkerError
from harness.evaluate.sandbox import Job, Limits, Outcome, Verdict
from harness.evaluate.sandbox.wire import write_frame

_ROOT = Path(__file__).resolve().parents[3]
# The source root is on the path for the first import only: a program must not find the harness there.
_START = (
    "import sys; sys.path.insert(0, {root!r}); import harness.evaluate.sandbox.warden as warden;"
    " del sys.path[0]; warden.main()"
)
_OVER_CPU, _HUNG_UP, _SIGNAL = 100, 101, 128  # as in keeper, which is not imported here


class Warden:
    """One helper process and the two pipes to it."""

    def __init__(self, limits: Limits, *, namespaces: bool = True) -> None:
        setting = json.dumps({**asdict(limits), "namespaces": namespaces})
        command = [sys.executable, "-s", "-S", "-P", "-c", _START.format(root=str(_ROOT)), setting]
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

    def __enter__(self) -> Warden:
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
        if line.get("verdict") == "unconfined":
            raise WorkerError(f"code sandbox: a program could not be confined. It said: {self._close()}")
        verdict, detail = _combine(line)
        if verdict == "bad-tests":
            raise InputError(
                f"The tests of '{job.entry_point}' cannot be run in the sandbox: {detail}."
                " Correct the tests of the task."
            )
        return Outcome(verdict=Verdict(verdict), detail=detail, isolation=self.isolation)


def _combine(line: dict[str, Any]) -> tuple[str, str]:
    """Return (verdict, detail) from the judge's word, else from how judge and candidate ended."""
    if line["judge"] != "judged":
        if line["judge"] == "ended":
            return "crashed", "the judge ended without a verdict"
        return "timeout", "wall time limit" if line["judge"] == "wall" else "cpu time limit of the tests"
    if line["verdict"] != "gone":
        return line["verdict"], line["detail"]
    end = line["candidate"]
    if end == _OVER_CPU:
        return "timeout", "cpu time limit"
    if end > _SIGNAL:
        return "crashed", f"the program was ended by signal {end - _SIGNAL}"
    if end == _HUNG_UP:
        return "crashed", "the program closed its channel"
    return "failed", "the program ended its own process"


@functools.cache
def probe() -> tuple[str, str]:
    """Return the level of isolation that this kernel gives, and why it is not the full one."""
    with Warden(Limits()) as warden:
        return warden.isolation, warden.reason


class Crew:
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

    def finish(self, workers: int) -> list[Outcome]:
        """Run all jobs in that many threads; raise the first error, or what interrupted the waiting."""
        threads = [threading.Thread(target=self.work, name=f"sandbox-{n}") for n in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            self.stop()
            raise
        if self.error is not None:
            raise self.error
        return [self.outcomes[index] for index in range(len(self._jobs))]

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
            with Warden(self._limits, namespaces=self.namespaces) as warden:
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


def _require(warden: Warden, allow_unsafe: bool) -> None:
    if warden.isolation != "namespaces" and not allow_unsafe:
        raise InputError(
            "Generated code is not run here: the kernel refuses the namespaces that keep it from the network"
            f" and the file system ({warden.reason}). Run as root, allow user namespaces (sysctl"
            " user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns), or, on a machine that"
            " may be lost, allow unsafe execution."
        )
