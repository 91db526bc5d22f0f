"""The process that the harness starts for the code sandbox; it forks, confines and ends all the others.

Owns the process tree: warden -> judge (tests, verdict) and warden -> keeper -> candidate (program). Does
not read a job: the judge takes it from the pipe after the fork, so what a candidate inherits from the
warden's memory never held a test. Invariant: a candidate is dead, with all it started, before the warden
reports its job.

Started with a clean environment, without site-packages, never forked from the harness (whose threads a
fork would break). PYTHONHASHSEED is fixed, because a program that depends on the order of a set must get
the same verdict twice; that is why it runs under `-P -s -S` and not `-I`, which ignores the variable.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from harness.evaluate import sandbox_isolation as isolation
from harness.evaluate.sandbox_judge import judge
from harness.evaluate.sandbox_keeper import TICK_MS, Setting, World, confine, cpu_seconds, keep
from harness.evaluate.sandbox_wire import read_frame

# Imported once here, inherited by every candidate: what programs import most.
_WARM = (
    "abc bisect collections copy dataclasses datetime decimal enum fractions functools hashlib heapq"
    " itertools json math operator random re statistics string textwrap typing"
)


def main() -> None:
    """Serve jobs from descriptor 0 until it closes; one JSON line per report to descriptor 1."""
    setting = Setting(**json.loads(sys.argv[1]))
    for name in _WARM.split():
        importlib.import_module(name)
    jobs, report = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (0, 1))
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.umask(0o022)
    try:
        world = _isolate(setting)
    except OSError as error:
        _say(report, {"error": str(error)})
        return
    _say(report, {"isolation": world.level, "reason": world.reason})
    gc.collect()
    gc.freeze()
    while select.select([jobs], [], [])[0] and _has_job(jobs):
        _say(report, _one_job(jobs, report, setting, world))


def _say(report: int, line: dict[str, Any]) -> None:
    os.write(report, json.dumps(line).encode("ascii") + b"\n")  # below PIPE_BUF: never interleaved


def _has_job(jobs: int) -> bool:
    poll = select.poll()
    poll.register(jobs, select.POLLIN)
    return any(event & select.POLLIN for _, event in poll.poll(0))


def _isolate(setting: Setting) -> World:
    """Enter the namespaces if the kernel lets us; prove with a throw-away candidate that all is in place."""
    uids = isolation.private_uids()
    tasks = isolation.count_own_tasks() if uids is None else 0
    reason = "" if setting.namespaces else "namespaces were switched off by the caller"
    if setting.namespaces:
        pid = os.fork()  # a failure half-way would leave this process in neither world
        if pid == 0:
            _attempt(isolation.enter_namespaces)
        reason = _reason(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    if reason:
        world = World(namespaces=False, reason=reason, uids=uids, other_tasks=tasks)
    else:
        own_user = isolation.enter_namespaces()
        alone = own_user and isolation.counts_tasks_by_namespace()
        world = World(namespaces=True, reason="", uids=None if own_user else uids, other_tasks=0 if alone else tasks)
    isolation.hide()
    pid = os.fork()
    if pid == 0:
        _attempt(lambda: confine(setting, world, world.private_uid(), trial=True))
    failed = _reason(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    if failed:
        raise OSError(
            f"a program cannot be confined and still read Python's own library ({failed}). Use a Python that"
            f" every user may read, not {sys.base_prefix}"
        )
    return world


def _attempt(action: Any) -> None:
    try:
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


def _one_job(jobs: int, report: int, setting: Setting, world: World) -> dict[str, Any]:
    """Fork keeper and judge, await the judge within the limits, then the keeper; say how they ended."""
    judge_end, candidate_end = (end.detach() for end in socket.socketpair())
    leash_read, leash_write = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        for fd in (jobs, report, judge_end, leash_write):
            os.close(fd)
        keep(setting, world, candidate_end, leash_read)
    judging = os.fork()
    if judging == 0:
        os.close(candidate_end)
        os.close(leash_read)
        _judge(setting, world, jobs, report, judge_end)
    for fd in (judge_end, candidate_end, leash_read, leash_write):
        os.close(fd)
    how = _wait_for_judge(judging, jobs, setting)
    status = os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1])
    return {"judge": how, "keeper": status}


def _wait_for_judge(pid: int, jobs: int, setting: Setting) -> str:
    """Return 'ended', 'wall' or 'cpu'. The judge holds the keeper's leash: its end is the candidate's end."""
    deadline = time.monotonic() + setting.wall_seconds
    poll = select.poll()
    ended = os.pidfd_open(pid)
    poll.register(ended, select.POLLIN)
    poll.register(jobs, 0)  # hang-up only: the harness is gone
    how = ""
    while not how:
        events = dict(poll.poll(TICK_MS))
        if ended in events:
            how = "ended"
        elif jobs in events or time.monotonic() > deadline:
            how = "wall"
        elif cpu_seconds(pid) > setting.judge_cpu_seconds:
            how = "cpu"
    os.close(ended)
    if how != "ended":
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return how


def _judge(setting: Setting, world: World, jobs: int, report: int, channel: int) -> None:
    """Read the job, judge it, report; never returns. The tests are trusted, their time and reach are not."""
    try:
        os.dup2(0, 2)
        isolation.die_with_parent()
        job = read_frame(jobs, 1 << 30)
        os.close(jobs)
        isolation.limit(cpu_seconds=setting.judge_cpu_seconds, memory=setting.memory_bytes, file=0, processes=None)
        if world.namespaces:
            isolation.drop_privileges(world.private_uid())
            isolation.die_with_parent()  # a change of user clears it
            isolation.hide()
        verdict, detail = judge(job, channel, setting.output_bytes)
        _say(report, {"verdict": verdict, "detail": detail[:300]})
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
