"""Worker processes: their own process group, messages as JSON lines, death with their parent.

Owns how heavy stages (training ranks, the inference engine) are started, heard and stopped. Does not
know what they compute. Invariant: when a `Worker` context ends, for whatever reason, no process of its
group is left; SIGKILL of the parent ends the workers too (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.errors import WorkerError

_MESSAGES_FD = "HARNESS_MESSAGES_FD"
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends; called first in every worker."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before that call took effect; whoever adopts orphans here is not it.
    if os.environ.get("HARNESS_PARENT") not in (None, str(os.getppid())):
        os._exit(1)


def cuda_present() -> bool:
    """Whether this machine shows a CUDA device, asked without importing torch."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))


def stop_all() -> None:
    """Kill every worker that is running; for a program that has to end at once."""
    for worker in list(_running):
        worker.kill()


def send(message: Mapping[str, Any]) -> None:
    """Send one message from a worker to its parent; a worker without a channel says nothing."""
    fd = os.environ.get(_MESSAGES_FD)
    if fd is not None:
        os.write(int(fd), (json.dumps(message) + "\n").encode())


class Worker:
    """A group of processes that run one Python module, with one message channel for all of them."""

    def __init__(
        self, *, module: str, arguments: Sequence[str], environments: Sequence[Mapping[str, str]], log: Path
    ) -> None:
        """Start one process per environment (rank).

        Args:
            module: the module to run with `python -m`.
            arguments: its command line.
            environments: per process, the variables to add to this process's own.
            log: file that gets everything the processes print; its tail is quoted when one fails.
        """
        read, write = os.pipe()
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._processes: list[subprocess.Popen[str]] = []
        _running.add(self)
        self._channel = read
        self._buffer = b""
        try:
            with log.open("ab") as sink:
                for extra in environments:
                    self._processes.append(
                        subprocess.Popen(
                            [sys.executable, "-m", module, *arguments],
                            stdin=subprocess.PIPE,
                            stdout=sink,
                            stderr=sink,
                            text=True,
                            start_new_session=True,
                            pass_fds=(write,),
                            env={
                                **os.environ,
                                **extra,
                                _MESSAGES_FD: str(write),
                                "HARNESS_PARENT": str(os.getpid()),
                            },
                        )
                    )
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(write)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def request(self, message: Mapping[str, Any]) -> None:
        """Send one JSON line to the first process's standard input."""
        stdin = self._processes[0].stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield messages until every process has closed the channel.

        Raises:
            WorkerError: when a process ended with another exit code than 0; quotes the end of the log.
        """
        while (message := self._read()) is not None:
            yield message
        if any(process.wait() != 0 for process in self._processes):
            raise self._failure()

    def next_message(self) -> dict[str, Any]:
        """Return the next message of a persistent worker.

        Raises:
            WorkerError: when the worker ended instead of answering.
        """
        message = self._read()
        if message is None:
            raise self._failure()
        return message

    def _read(self) -> dict[str, Any] | None:
        """Return the next message, None at the end; look once a second whether a rank has died.

        A dead rank leaves the others waiting in a collective with the channel open, and a child that a finished rank
        forked holds it open, too, so the end of the channel alone would never come.
        """
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._channel], [], [], 1.0)
            if ready:
                part = os.read(self._channel, 65536)
                if not part:
                    return None
                self._buffer += part
            elif any(process.poll() not in (None, 0) for process in self._processes):
                raise self._failure()
            elif all(process.poll() == 0 for process in self._processes) and not self._says_more():
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _says_more(self) -> bool:
        """Whether something came after the last look."""
        return bool(select.select([self._channel], [], [], 0)[0])

    def stop(self) -> None:
        """Kill the whole group of every process and wait for them."""
        self.kill()
        _running.discard(self)
        for process in self._processes:
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            process.wait()
        os.close(self._channel)

    def kill(self) -> None:
        """Send SIGKILL to the whole group of every process; whoever reads the messages sees the end."""
        for process in self._processes:
            # Also where the first of a group has ended: what it started may be left, and as long as one of the group
            # lives its number is given to no other process.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def _failure(self) -> WorkerError:
        codes = [process.poll() for process in self._processes]
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        tail = "\n".join(text.strip().splitlines()[-15:])
        return WorkerError(f"A worker process ended with exit codes {codes}. The end of {self._log}:\n{tail}")


_running: set[Worker] = set()
