"""The untrusted side of the code sandbox: it runs the program and answers calls with plain data.

Owns nothing that matters: the program may rewrite all of this at run time. Does not see the tests, the
verdict or any descriptor but its channel. Invariant: it is correct for honest programs; for hostile ones
nothing here is relied upon.
"""

from __future__ import annotations

import builtins
import inspect
import random
import sys
import types
from typing import Any

from harness.evaluate.sandbox.wire import WireError, decode, encode, read_frame, write_frame

_MUTABLE = (list, dict, set, bytearray)
_BUILTIN_ERRORS = {id(value): name for name, value in vars(builtins).items() if inspect.isclass(value)}


def serve(channel: int) -> None:
    """Run the program in the first frame, then answer `look` and `call` messages until the judge hangs up."""
    random.seed(0)  # a fork has seeded it anew
    write_frame(channel, {"ready": True})
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    program = read_frame(channel, 1 << 30)["program"]
    try:
        exec(compile(program, "<program>", "exec"), module.__dict__)
        reply: dict[str, Any] = {"ok": None}
    except BaseException as error:
        reply = _failure(error)
    while True:
        _send(channel, reply)
        try:
            message = read_frame(channel, 1 << 30)
        except (EOFError, OSError):
            return
        reply = _answer(message, module.__dict__)


def _answer(message: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    try:
        if message["op"] == "look":
            value = names.get(message["name"], names)
            if value is names:
                return {"absent": True}
            return {"callable": True} if callable(value) else {"ok": encode(value)}
        arguments = decode(message["args"])
        keywords = decode(message["kwargs"])
        value = names[message["name"]](*arguments, **keywords)
        reply = {"ok": encode(value)}
        after = [encode(item) if isinstance(item, _MUTABLE) else None for item in arguments]
        sent = zip(arguments, message["args"][1:], strict=True)
        before = [node if isinstance(item, _MUTABLE) else None for item, node in sent]
        return reply if after == before else {**reply, "after": after}
    except WireError:
        return {"opaque": True}
    except BaseException as error:
        return _failure(error)


def _failure(error: BaseException) -> dict[str, Any]:
    """Name the nearest builtin class of an exception: no other class exists on the judge's side."""
    for kind in type(error).__mro__:
        if id(kind) in _BUILTIN_ERRORS:
            try:
                text = str(error)[:1000]
            except Exception:
                text = ""
            return {"raised": _BUILTIN_ERRORS[id(kind)], "text": text}
    return {"raised": "Exception", "text": ""}


def _send(channel: int, reply: dict[str, Any]) -> None:
    try:
        write_frame(channel, reply)
    except (RecursionError, MemoryError) as error:
        write_frame(channel, _failure(error))
