"""The keeper of one candidate in the code sandbox: forks and confines it, and ends it with all it started.

Owns the candidate's process from fork to death, on the warden's side. Does not know the tests or the verdict;
says only how the process ended. Invariant: when `end` has returned, nothing that the candidate started is alive.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sysconfig
import time
from dataclasses import dataclass

from harness.evaluate.sandbox import Limits, isolation
from harness.evaluate.sandbox.candidate import serve

# How a candidate ended; above SIGNAL: by which signal.
EXITED, OVER_CPU, HUNG_UP, SIGNAL = 1, 100, 101, 128
_LIBRARY = sysconfig.get_path("stdlib")  # asked for now: the question itself reads files
_OWN = isolation.NEWNS | isolation.NEWIPC


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What this kernel gave the warden, and how processes of a user are told apart.

    Attributes:
        reason: why there are no namespaces; empty where there are.
        pid_namespace: descriptor of the warden's own process namespace; None without namespaces.
        uid: the first of two user ids that no other process has (only real root can hand them out).
        other_tasks: tasks of the same user that the process limit counts besides ours.
    """

    reason: str
    pid_namespace: int | None
    uid: int | None
    other_tasks: int

    @property
    def level(self) -> str:
        """The name of what was reached."""
        return "namespaces" if self.pid_namespace is not None else "rlimits"

    @property
    def judge_uid(self) -> int | None:
        """The user id of the judge: another one, so that ending all of the candidate's user spares it."""
        return None if self.uid is None else self.uid + 1


def cpu_seconds(pid: int) -> float:
    """CPU time of a live or unreaped process, all its threads together (the kernel's per-process clock)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:  # it ended between the poll and here: the next poll says so
        return 0.0


class Candidate:
    """One candidate process, forked here and confined by itself before it reads the program."""

    def __init__(self, limits: Limits, world: World, channel: int, judge: int) -> None:
        """Fork it; `channel` is its end, `judge` the process id that ending all others spares."""
        self._limits, self._world, self._judge = limits, world, judge
        if world.pid_namespace is None:
            self.pid = os.fork()
        else:
            self.pid = isolation.fork_into_namespace(world.pid_namespace)
        if self.pid == 0:
            _candidate(limits, world, channel)
        self.ended = os.pidfd_open(self.pid)
        self._over_cpu = False

    def check_cpu(self) -> None:
        """Kill it where it has used its CPU time; with the first process of its namespace dies all the rest."""
        if not self._over_cpu and cpu_seconds(self.pid) > self._limits.cpu_seconds:
            self._over_cpu = True
            os.kill(self.pid, signal.SIGKILL)
            self.end_descendants()

    def end(self) -> int:
        """Kill it if it lives, reap it, and return how it had ended."""
        os.kill(self.pid, signal.SIGKILL)  # not reaped yet: the id is still its own
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.ended)
        self.end_descendants()
        if self._over_cpu or code == -signal.SIGXCPU:
            return OVER_CPU
        if code == -signal.SIGKILL:
            return HUNG_UP
        return SIGNAL - code if code < 0 else EXITED

    def end_descendants(self) -> None:
        """Without a process namespace: kill what the candidate left, until only the judge is there."""
        if self._world.pid_namespace is not None:
            return
        if self._world.uid is not None:
            _kill_all_of(self._world.uid)
        for _ in range(2000):
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                others = set(map(int, file.read().split())) - {self._judge, self.pid}
            if not others:
                return
            for child in others:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            time.sleep(0.002)  # orphans of those arrive here


def _kill_all_of(uid: int) -> None:
    pid = os.fork()
    if pid == 0:
        os.setresuid(uid, uid, uid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(pid, 0)


def confine(limits: Limits, world: World, *, trial: bool = False) -> None:
    """Take from this process, the candidate's, all that it does not need; a trial checks what it needs."""
    os.setsid()
    if world.pid_namespace is not None:
        isolation.unshare(_OWN)
        isolation.private_directory(limits.file_bytes)
    others = 0 if world.uid is not None else world.other_tasks + 3  # the warden, its parent and the judge
    isolation.limit(
        cpu_seconds=limits.cpu_seconds,
        memory=limits.memory_bytes,
        file=limits.file_bytes,
        processes=limits.processes + others,
    )
    isolation.drop_privileges(world.uid)
    isolation.die_with_parent()  # a change of user clears it
    isolation.forbid_calls()
    if trial:
        os.listdir(_LIBRARY)


def _candidate(limits: Limits, world: World, channel: int) -> None:
    """Confine this process, then serve the program; never returns."""
    try:
        try:
            confine(limits, world)
        except BaseException as error:  # a fork: nobody above could show it
            os.write(2, f"candidate: {type(error).__name__}: {error}\n".encode())
            raise
        os.dup2(0, 2)
        os.dup2(channel, 3)
        os.closerange(4, 1 << 16)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        serve(3)
    finally:
        os._exit(0)
