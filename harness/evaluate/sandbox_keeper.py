"""The keeper of one candidate in the code sandbox: confines it, watches it, and ends it with all it started.

Owns the candidate's process from fork to death. Does not know the tests or the verdict; says only how the
process ended. Invariant: when the keeper has ended, nothing that the candidate started is alive.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import sysconfig
import time
from dataclasses import dataclass

from harness.evaluate import sandbox_isolation as isolation
from harness.evaluate.sandbox_candidate import serve

# How a candidate ended, as the exit status of its keeper.
EXITED, OVER_CPU, HUNG_UP, SETUP_FAILED, SIGNAL = 1, 100, 101, 102, 128
TICK_MS = 20
_LIBRARY = sysconfig.get_path("stdlib")  # asked for now: the question itself reads files
_OWN = isolation.NEWNS | isolation.NEWPID | isolation.NEWIPC


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What holds for all jobs of one warden; times in seconds, sizes in bytes."""

    cpu_seconds: float
    judge_cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    file_bytes: int
    output_bytes: int
    processes: int
    namespaces: bool  # False: the caller (a test) wants the fallback


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What this kernel gave the warden: namespaces or why not, and how processes of a user are told apart."""

    namespaces: bool
    reason: str
    uids: int | None  # the first of the ids that real root may hand out, one per process
    other_tasks: int  # tasks of the same user that the process limit counts besides ours

    @property
    def level(self) -> str:
        """The name of what was reached."""
        return "namespaces" if self.namespaces else "rlimits"

    def private_uid(self) -> int | None:
        """A user id of this process alone; None without the right to hand them out."""
        return None if self.uids is None else self.uids + os.getpid() % isolation.PRIVATE_UIDS


def cpu_seconds(pid: int) -> float:
    """CPU time of a live or unreaped process, all its threads together (the kernel's per-process clock)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:  # it ended between the poll and here: the next poll says so
        return 0.0


def keep(setting: Setting, world: World, channel: int, leash: int) -> None:
    """Start the candidate; end it at its CPU limit or when the leash is let go. Never returns."""
    status = SETUP_FAILED
    try:
        isolation.adopt_orphans()
        ready_read, ready_write = os.pipe()
        uid = world.private_uid()
        if world.namespaces:
            isolation.unshare(_OWN)
        pid = os.fork()
        if pid == 0:
            os.close(ready_read)
            _candidate(setting, world, channel, ready_write, uid)
        os.close(channel)
        os.close(ready_write)
        ready = os.read(ready_read, 1)
        status = _watch(pid, leash, setting) if ready else SETUP_FAILED
        if not ready:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if not world.namespaces:
            _end_descendants(uid)
    except BaseException as error:  # a fork: nobody above could show it
        sys.stderr.write(f"keeper: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


def _watch(pid: int, leash: int, setting: Setting) -> int:
    """Return how the candidate ended; its death as first process of its namespace ends all it started."""
    poll = select.poll()
    ended = os.pidfd_open(pid)
    poll.register(ended, select.POLLIN)
    poll.register(leash, 0)
    killed = 0
    while not killed:
        events = dict(poll.poll(TICK_MS))
        if ended in events:
            break
        killed = HUNG_UP if leash in events else OVER_CPU if cpu_seconds(pid) > setting.cpu_seconds else 0
    if killed:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if killed == OVER_CPU or code == -signal.SIGXCPU:
        return OVER_CPU
    if killed and code == -signal.SIGKILL:
        return HUNG_UP
    return SIGNAL - code if code < 0 else EXITED


def confine(setting: Setting, world: World, uid: int | None, *, trial: bool = False) -> None:
    """Take from this process, the candidate's, all that it does not need; a trial checks what it needs."""
    os.setsid()
    if trial and world.namespaces:
        isolation.unshare(_OWN)
    if world.namespaces:
        isolation.private_directory(setting.file_bytes)
    others = 0 if uid is not None else world.other_tasks + 3  # warden, judge and keeper are the same user
    isolation.limit(
        cpu_seconds=setting.cpu_seconds,
        memory=setting.memory_bytes,
        file=setting.file_bytes,
        processes=setting.processes + others,
    )
    isolation.drop_privileges(uid)
    isolation.forbid_calls()
    if trial:
        os.listdir(_LIBRARY)


def _candidate(setting: Setting, world: World, channel: int, ready: int, uid: int | None) -> None:
    """Confine this process, then serve the program; never returns."""
    try:
        confine(setting, world, uid)
        os.dup2(0, 2)
        os.write(ready, b"+")
        os.dup2(channel, 3)
        os.closerange(4, 1 << 16)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        serve(3)
    finally:
        os._exit(0)


def _end_descendants(uid: int | None) -> None:
    """Without a process namespace: kill what the candidate left, until there is nothing to wait for."""
    if uid is not None:
        pid = os.fork()
        if pid == 0:
            os.setresuid(uid, uid, uid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            os._exit(0)
    for _ in range(2000):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            for child in file.read().split():
                os.kill(int(child), signal.SIGKILL)
        time.sleep(0.002)
