"""The inference process: reads questions, lets a backend work, sends answers as they come.

Owns the conversation with the parent. Knows no engine beyond its name. Invariant: it never waits for the parent while
the backend has work, and never works without looking for new questions in between.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from typing import Any, Protocol

from harness.errors import InputError
from harness.evaluate.requests import Answer, Request
from harness.process import die_with_parent, send


class CannotSwap(Exception):
    """The new weights did not prove to be in place of the old ones; a fresh engine has to take them."""


class Backend(Protocol):
    """What computes answers, in this process.

    Whatever is wrong with a model or a request is an InputError, which the parent raises again.
    """

    def use(self, model: str) -> dict[str, Any]:
        """Take a model folder's weights, in place of others where it has some; return facts.

        Raises:
            CannotSwap: the new weights are not all there.
        """
        ...

    def submit(self, key: str, request: Request) -> None:
        """Take a request."""
        ...

    def step(self) -> list[tuple[str, Answer]]:
        """Work a while; return what is finished."""
        ...

    @property
    def pending(self) -> int:
        """Requests that are not finished."""
        ...


def main() -> None:
    """Serve the parent until its side closes."""
    die_with_parent()
    try:
        _serve()
    except InputError as error:
        send({"input_error": str(error)})


def _serve() -> None:
    inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()
    first = inbox.get()
    if first is None:
        return
    backend = _backend(first["setting"])
    while True:
        while not backend.pending or not inbox.empty():
            message = inbox.get()
            if message is None:
                return
            if "use" in message:
                try:
                    send({"used": backend.use(message["use"])})
                except CannotSwap as reason:
                    send({"cannot_swap": str(reason)})
            for key, row in message.get("ask", ()):
                backend.submit(key, Request.from_row(row))
        answers = backend.step()
        if answers:
            send({"answers": [[key, answer.to_row()] for key, answer in answers]})


def _listen(inbox: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        inbox.put(json.loads(line))
    inbox.put(None)


def _backend(setting: dict[str, Any]) -> Backend:
    if setting["name"] == "vllm":
        from harness.evaluate.engines.vllm_backend import Vllm

        return Vllm(dtype=setting["dtype"], max_length=setting["max_length"])
    if setting["name"] == "transformers":
        from harness.evaluate.engines.transformers_backend import TransformersBackend

        return TransformersBackend(dtype=setting["dtype"], max_length=setting["max_length"])
    from harness.evaluate.engines.server_backend import ServerBackend

    return ServerBackend(setting["server"], max_length=setting["max_length"])


if __name__ == "__main__":
    main()
