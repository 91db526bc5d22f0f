"""The trusted side of the code sandbox: it runs the tests and alone says whether they passed.

Owns the tests and the verdict. Does not run a line of the program: every name that the tests take from it
is a proxy that sends plain arguments to the candidate's process and receives plain answers. Invariant:
PASSED is returned only where `check` itself returned, in this process, with the candidate still answering.

One process judges several jobs, which saves a fork and its copied pages, 3 ms per program. Only tests of the task
run in it; it says when they left something behind (a module or a builtin changed, a thread), and is then replaced.
"""

from __future__ import annotations

import _thread
import builtins
import contextlib
import functools
import importlib
import json
import os
import random
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

from harness.evaluate.sandbox.wire import WireError, decode, encode, read_frame, write_frame

TESTS_FILE = "<tests>"
# Modules that tests may name without importing them (the program's imports would have provided them).
_TEST_MODULES = "collections copy datetime functools heapq itertools json math operator random re string"
JOBS_PER_JUDGE = 32
_MUTABLE = (list, dict, set, bytearray)


class Stop(BaseException):
    """Ends the tests. Not an `Exception`, so that no `except` of a test takes it for the candidate's own."""


class BadTests(Exception):
    """The tests themselves cannot be run this way; says why."""


class Remote:
    """The candidate as seen from here: ask, and believe nothing about the answer but its shape."""

    def __init__(self, channel: int, answer_bytes: int) -> None:
        self._channel = channel
        self._answer_bytes = answer_bytes
        self.stopped: tuple[str, str] | None = None
        self.raised: BaseException | None = None

    def stop(self, verdict: str, detail: str) -> Stop:
        """Fix the verdict: the first reason stands, whatever the tests do with the exception."""
        self.stopped = self.stopped or (verdict, detail)
        return Stop()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one message and return the candidate's reply; stops the tests when there is none."""
        if self.stopped:
            raise Stop
        try:
            write_frame(self._channel, message)
        except OSError:
            raise self.stop("gone", "") from None
        return self._reply()

    def ready(self) -> bool:
        """Whether the candidate has confined itself; it says so before it sees a line of the program."""
        with contextlib.suppress(EOFError, OSError):
            return bool(read_frame(self._channel, 64) == {"ready": True})
        return False

    def _reply(self) -> dict[str, Any]:
        try:
            reply = read_frame(self._channel, self._answer_bytes)
        except (EOFError, OSError):
            raise self.stop("gone", "") from None
        except (ValueError, RecursionError):
            raise self.stop("failed", "the program's answer is malformed or too large") from None
        if type(reply) is not dict:
            raise self.stop("failed", "the program's answer is malformed or too large")
        if "opaque" in reply:
            raise self.stop("failed", "the program's answer is not plain data")
        if "raised" in reply:
            raise self._error(reply)
        return reply

    def _error(self, reply: dict[str, Any]) -> BaseException:
        name, text = reply["raised"], reply.get("text")
        kind = getattr(builtins, name, None) if type(name) is str else None
        if not (isinstance(kind, type) and issubclass(kind, BaseException)) or type(text) is not str:
            return self.stop("failed", "the program's answer is malformed or too large")
        if not issubclass(kind, Exception):
            return self.stop("failed", f"the program raised {kind.__name__}")
        if issubclass(kind, MemoryError):
            return self.stop("memory", "memory limit")
        try:
            self.raised = kind(text)
        except TypeError:  # UnicodeDecodeError and its like want more arguments than a message
            self.raised = next(base for base in kind.__mro__ if base in (ValueError, Exception))(text)
        return self.raised

    def value(self, node: Any) -> Any:
        """Decode one part of a reply."""
        try:
            return decode(node)
        except (TypeError, ValueError, ArithmeticError, RecursionError):
            raise self.stop("failed", "the program's answer is malformed or too large") from None

    def proxy(self, name: str) -> Callable[..., Any]:
        """Return a function that calls the candidate's function `name`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                message = {"op": "call", "name": name, "args": encode(args), "kwargs": encode(kwargs)}
            except WireError:
                self.stop("bad-tests", f"they pass '{name}' a value that is not plain data")
                raise Stop from None
            reply = self.ask(message)
            result = self.value(reply.get("ok"))
            self._mutate(args, reply.get("after"))
            return result

        return call

    def _mutate(self, args: tuple[Any, ...], after: Any) -> None:
        """Repeat on the tests' own arguments what the function did to its copies."""
        if type(after) is not list or len(after) != len(args):
            return
        for mine, node in zip(args, after, strict=True):
            new = self.value(node)
            if type(mine) in _MUTABLE and type(new) is type(mine):
                mine.clear()
                (mine.extend if isinstance(mine, (list, bytearray)) else mine.update)(new)


class Names(dict[str, Any]):
    """The globals of the tests: what they do not define themselves is the program's."""

    def __init__(self, remote: Remote) -> None:
        super().__init__(__builtins__=builtins, __name__="tests")
        self._remote = remote

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) or name.startswith("__"):
            raise KeyError(name)
        reply = self._remote.ask({"op": "look", "name": name})
        if "callable" in reply:
            return self._remote.proxy(name)
        if "ok" in reply:
            return self._remote.value(reply["ok"])
        if name in _TEST_MODULES.split():
            return importlib.import_module(name)
        raise KeyError(name)


def serve(jobs: int, control: socket.socket, answer_bytes: int) -> None:
    """Judge jobs from the pipe, one for each channel that arrives, until told to end or no longer clean.

    After each one a report goes back: verdict, detail, and whether this process may judge `again`.
    """
    before = _surroundings()
    for left in reversed(range(JOBS_PER_JUDGE)):
        message, channels, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        verdict, detail = judge(read_frame(jobs, 1 << 30), channels[0], answer_bytes)
        again = left > 0 and _surroundings() == before
        report = {"verdict": verdict, "detail": detail[:300], "again": again}
        control.sendall(json.dumps(report).encode("ascii"))
        os.close(channels[0])  # not before: the candidate would end by itself, and that would be its verdict
        if not again:
            return


def _surroundings() -> tuple[Any, ...]:
    """What tests could change for those after them: modules and their names, builtins, threads."""
    watched = [builtins, *(sys.modules[name] for name in _TEST_MODULES.split())]
    return len(sys.modules), _thread._count(), [[*map(id, vars(module).values())] for module in watched]


@functools.lru_cache(maxsize=4)
def _compiled(tests: str) -> types.CodeType:
    return compile(tests, TESTS_FILE, "exec")


def judge(job: dict[str, str], channel: int, answer_bytes: int) -> tuple[str, str]:
    """Return (verdict, detail) of one job: `program`, `tests`, `entry_point`.

    The verdict is a value of `sandbox.Verdict`, or 'gone' (the candidate ended: its keeper knows how),
    'unconfined' (it ended before it was ready), or 'bad-tests'. The detail names types and lines only, so
    that two runs agree to the byte.
    """
    remote = Remote(channel, answer_bytes)
    random.seed(0)
    phase = "while loading"
    try:
        try:
            code = _compiled(job["tests"])
        except (SyntaxError, ValueError):
            raise BadTests("they do not compile") from None
        if not remote.ready():
            return "unconfined", ""
        remote.ask({"program": job["program"]})
        phase = "in the tests"
        entry = remote.ask({"op": "look", "name": job["entry_point"]})
        if "callable" not in entry:
            return "failed", "the program does not define the entry point"
        names = Names(remote)
        exec(code, names)
        check = dict.get(names, "check")
        if not isinstance(check, types.FunctionType):
            raise BadTests("they do not define check(candidate)")
        check(remote.proxy(job["entry_point"]))
    except BadTests as error:
        return "bad-tests", str(error)
    except BaseException as error:
        return remote.stopped or ("failed", _describe(error, remote, phase))
    return remote.stopped or ("passed", "")


def _describe(error: BaseException, remote: Remote, phase: str) -> str:
    line, trace = 0, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == TESTS_FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"at line {line} of the tests" if line else phase
    who = "the program raised " if error is remote.raised else ""
    return f"{who}{type(error).__name__} {where}"
