"""The process that the harness starts for the code sandbox; it forks, confines and ends all the others.

Owns the process tree: warden -> judge (tests, verdict) and warden -> candidate (program). Does not read a job:
the judge takes it from the pipe, so what a candidate inherits from the warden's memory never held a test.
Invariant: a candidate is dead, with all it started, before the warden reports its job.

Started with a clean environment, without site-packages, never forked from the harness (whose threads a
fork would break). With namespaces the warden is the first process of one itself: when it ends, the kernel ends
all below it. PYTHONHASHSEED is fixed, because a program that depends on the order of a set must get the same
verdict twice; that is why it runs under `-P -s -S` and not `-I`, which ignores the variable.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from harness.evaluate.sandbox import Limits, isolation
from harness.evaluate.sandbox.judge import JOBS_PER_JUDGE, serve
from harness.evaluate.sandbox.keeper import Candidate, World, confine, cpu_seconds

_TICK_MS = 20
# Imported once here, inherited by every candidate: what programs import most.
_WARM = (
    "abc bisect collections copy dataclasses datetime decimal enum fractions functools hashlib heapq"
    " itertools json math operator random re statistics string textwrap typing"
)


def main() -> None:
    """Serve jobs from descriptor 0 until it closes; one JSON line per report to descriptor 1."""
    sys.dont_write_bytecode = True  # of what programs import; our own modules, loaded by now, are compiled once
    setting = json.loads(sys.argv[1])
    namespaces = setting.pop("namespaces")  # False: the caller (a test) wants the fallback
    limits = Limits(**setting)
    for name in _WARM.split():
        importlib.import_module(name)
    jobs, report = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (0, 1))
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.umask(0o022)
    os.environ.clear()
    try:
        isolation.be_killed_first()
        world = _isolate(limits, namespaces, (jobs, report))
    except OSError as error:
        _say(report, {"error": str(error)})
        return
    _say(report, {"isolation": world.level, "reason": world.reason})
    random.seed(0)
    gc.collect()
    gc.freeze()
    warden = Warden(limits, world, jobs, report)
    while select.select([jobs], [], [])[0] and _has_job(jobs):
        _say(report, warden.one_job())
    warden.end()


def _say(report: int, line: dict[str, Any]) -> None:
    os.write(report, json.dumps(line).encode("ascii") + b"\n")  # below PIPE_BUF: never interleaved


def _has_job(jobs: int) -> bool:
    poll = select.poll()
    poll.register(jobs, select.POLLIN)
    return any(event & select.POLLIN for _, event in poll.poll(0))


def _isolate(limits: Limits, namespaces: bool, ours: tuple[int, ...]) -> World:
    """Enter the namespaces if the kernel lets us; prove with a throw-away candidate that all is in place.

    Returns in another process than it was called in: the first of the new process namespace. The caller's
    closes the descriptors `ours`, waits for that one and ends.
    """
    uid = isolation.private_uid()
    tasks = isolation.count_own_tasks() if uid is None else 0
    reason = "" if namespaces else "namespaces were switched off by the caller"
    if namespaces:
        pid = os.fork()  # a failure half-way would leave this process in neither world
        if pid == 0:
            _attempt(isolation.leave_namespaces, isolation.enter_tree)
        reason = _reason(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    if reason:
        isolation.adopt_orphans()
        world = World(reason=reason, pid_namespace=None, uid=uid, other_tasks=tasks)
    else:
        own_user = isolation.leave_namespaces()
        _go_on_in_child(ours)
        alone = own_user and isolation.counts_tasks_by_namespace()
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        isolation.enter_tree()
        world = World(reason="", pid_namespace=own, uid=None if own_user else uid, other_tasks=0 if alone else tasks)
    isolation.hide()
    isolation.forbid_capabilities()
    isolation.call_filter()
    pid = os.fork()
    if pid == 0:
        _attempt(lambda: confine(limits, world, trial=True))
    failed = _reason(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    if failed:
        raise OSError(
            f"a program cannot be confined and still read Python's own library ({failed}). Use a Python that"
            f" every user may read, not {sys.base_prefix}"
        )
    return world


def _go_on_in_child(ours: tuple[int, ...]) -> None:
    """Fork, return in the child alone, and end as it ends."""
    pid = os.fork()
    if pid == 0:
        isolation.die_with_parent()
        return
    for fd in ours:
        os.close(fd)
    os._exit(abs(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))


def _attempt(*actions: Callable[[], object]) -> None:
    try:
        for action in actions:
            action()
    except OSError as error:
        os._exit(error.errno or 255)
    except BaseException:  # a fork: only its exit status is seen
        os._exit(255)
    os._exit(0)


def _reason(status: int) -> str:
    if status == errno.ENOSPC:  # what unshare(2) says where the administrator allows none
        return "the limit on namespaces is reached or zero"
    return os.strerror(status) if 0 < status < 255 else "unknown error" if status else ""


class _Judge:
    """The judge process and the socket to it: a candidate's channel goes there, a verdict comes back."""

    def __init__(self, limits: Limits, world: World, jobs: int, report: int) -> None:
        self.control, its = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(report)
            self.control.close()
            _judge(limits, world, jobs, its)
        its.close()
        self.ended = os.pidfd_open(self.pid)

    def end(self) -> None:
        """Kill and reap it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.ended)
        self.control.close()


def _judge(limits: Limits, world: World, jobs: int, control: socket.socket) -> None:
    """Judge jobs; never returns. The tests are trusted, their time and reach are not."""
    try:
        os.dup2(0, 2)
        cpu = limits.judge_cpu_seconds * JOBS_PER_JUDGE  # a backstop: the warden counts the time of each job
        isolation.limit(cpu_seconds=cpu, memory=limits.memory_bytes, file=0, processes=None)
        if world.pid_namespace is not None:
            isolation.drop_privileges(world.judge_uid)
            isolation.hide()
        isolation.die_with_parent()
        serve(jobs, control, limits.output_bytes)
    finally:
        os._exit(0)


class Warden:
    """One worker's processes: a candidate for every job, a judge for as long as it stays clean."""

    def __init__(self, limits: Limits, world: World, jobs: int, report: int) -> None:
        self._limits, self._world, self._jobs, self._report = limits, world, jobs, report
        self._judge: _Judge | None = None

    def end(self) -> None:
        """End the judge."""
        if self._judge is not None:
            self._judge.end()
            self._judge = None

    def one_job(self) -> dict[str, Any]:
        """Fork a candidate, await the judge within the limits, end the candidate; say how both ended.

        The judge takes the job from the pipe when it gets the candidate's channel. Its word is a report of
        `judge.serve`; without it, 'judge' says why: 'ended', 'wall' or 'cpu'.
        """
        if self._judge is None:
            self._judge = _Judge(self._limits, self._world, self._jobs, self._report)
        judge_end, candidate_end = (end.detach() for end in socket.socketpair())
        candidate = Candidate(self._limits, self._world, candidate_end, self._judge.pid)
        os.close(candidate_end)
        socket.send_fds(self._judge.control, [b"j"], [judge_end])
        os.close(judge_end)
        how = self._wait(self._judge, candidate)
        said = self._judge.control.recv(4096) if how == "judged" else b""
        how = how if said else how.replace("judged", "ended")  # a socket also wakes us when its other end dies
        line: dict[str, Any] = json.loads(said) if said else {"again": False}
        if not line.pop("again"):
            self.end()
            if _has_job(self._jobs):  # the harness sends no next job before this one's report
                raise RuntimeError("the judge ended before it had read its job")
        return {**line, "judge": how, "candidate": candidate.end()}

    def _wait(self, judge: _Judge, candidate: Candidate) -> str:
        """Return 'judged', or why there is no verdict."""
        deadline = time.monotonic() + self._limits.wall_seconds
        judge_deadline = cpu_seconds(judge.pid) + self._limits.judge_cpu_seconds
        control = judge.control.fileno()
        poll = select.poll()
        poll.register(control, select.POLLIN)
        poll.register(judge.ended, select.POLLIN)
        poll.register(candidate.ended, select.POLLIN)
        poll.register(self._jobs, 0)  # hang-up only: the harness is gone
        while True:
            events = dict(poll.poll(_TICK_MS))
            if control in events:
                return "judged"
            if judge.ended in events:
                return "ended"
            if self._jobs in events or time.monotonic() > deadline:
                return "wall"
            if cpu_seconds(judge.pid) > judge_deadline:
                return "cpu"
            if candidate.ended in events:  # the judge will see its channel close
                poll.unregister(candidate.ended)
                candidate.end_descendants()
            candidate.check_cpu()


if __name__ == "__main__":
    main()
