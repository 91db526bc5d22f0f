"""JSON over HTTP to one server: connections kept open, faults tried again a bounded number of times.

Owns retries, timeouts and the API key, which is read from OPENAI_API_KEY and goes into no message, record or log. Does
not know what is asked. Invariant: a reply is returned whole and parsed, or an error says what the server did.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import threading
import urllib.parse
from typing import Any

from harness.errors import InputError, WorkerError

# Codes that pass: too many requests, a gateway or a server in trouble.
_TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504}
_TRIES = 7
_LONGEST_PAUSE = 30.0


class RefusedError(Exception):
    """The server understood and refused: a 4xx code with its message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Client:
    """A server's address; safe to use from several threads, one connection each."""

    def __init__(self, url: str, *, timeout: float = 600.0, first_pause: float = 0.5) -> None:
        """Read an address such as http://host:8000 or https://host/v1.

        Args:
            url: the server, with or without the trailing /v1.
            timeout: seconds that one reply may take.
            first_pause: seconds before the second try; doubled for each further one, with jitter.

        Raises:
            InputError: not an http(s) address.
        """
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise InputError(f"--server '{_public(url)}' is no address. Give one such as http://localhost:8000.")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, port
        self._root = parts.path.rstrip("/").removesuffix("/v1")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.address = f"{parts.scheme}://{host}{f':{port}' if port else ''}{self._root}"
        self._timeout, self._first_pause = timeout, first_pause
        self._mine = threading.local()
        self._closed = threading.Event()
        self._met = False

    def close(self) -> None:
        """Give up waiting for further tries."""
        self._closed.set()

    def get(self, path: str) -> Any:
        """Return the JSON at a path; see `post`."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Return the JSON reply to a JSON body.

        Raises:
            RefusedError: the server refuses the request itself (400, 404, 422).
            InputError: the server refuses the key (401, 403), or there was never one at this address.
            WorkerError: no usable reply after several tries.
        """
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        problem = ""
        for count in range(_TRIES):
            pause = min(_LONGEST_PAUSE, self._first_pause * 2**count)
            try:
                code, headers, raw = self._once(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}".rstrip(": ")
                self._drop()
                if not self._met and isinstance(error, (ConnectionRefusedError, socket.gaierror)):
                    raise InputError(
                        f"No server answers at {self.address} ({problem}). Start it, wait until it is ready, or correct"
                        " --server."
                    ) from None
            else:
                self._met = True
                if code < 300:
                    try:
                        return json.loads(raw)
                    except ValueError:
                        problem = f"a reply that is no JSON ({len(raw)} bytes)"
                else:
                    problem = f"{code} {_message(raw)}"
                    if code not in _TRANSIENT:
                        raise self._refusal(code, path, _message(raw))
                    pause = max(pause, _seconds(headers.get("retry-after", "")))
            if count + 1 < _TRIES and self._closed.wait(pause * (0.75 + 0.5 * random.random())):
                break
        raise WorkerError(
            f"The server {self.address} did not answer {path} in {_TRIES} tries; the last one: {problem}. Finished"
            " answers are stored: start the same command again when the server is well."
        )

    def _refusal(self, code: int, path: str, message: str) -> Exception:
        if code in (401, 403):
            return InputError(
                f"The server {self.address} refuses the key ({code}). Set the environment variable OPENAI_API_KEY."
            )
        return RefusedError(code, f"{path}: {message}" if code == 404 else message)

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, dict[str, str], bytes]:
        connection = getattr(self._mine, "connection", None)
        if connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            connection = self._mine.connection = kind(self._host, self._port, timeout=self._timeout)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        connection.request(method, self._root + path, body=body, headers=headers)
        reply = connection.getresponse()
        raw = reply.read()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, raw

    def _drop(self) -> None:
        connection = getattr(self._mine, "connection", None)
        if connection is not None:
            connection.close()
            self._mine.connection = None


def _public(url: str) -> str:
    """Return an address without user name and password."""
    scheme, mark, rest = url.partition("://")
    return scheme + mark + rest.rpartition("@")[2]


def _message(raw: bytes) -> str:
    """Return what an error body says, in the forms of OpenAI, vLLM and FastAPI; at most 400 characters."""
    text = raw.decode("utf-8", "replace").strip()
    try:
        found = json.loads(text)
    except ValueError:
        return text[:400]
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return (found if isinstance(found, str) else json.dumps(found))[:400]


def _seconds(value: str) -> float:
    """Return a Retry-After header in seconds; a date counts as none."""
    try:
        return min(_LONGEST_PAUSE, max(0.0, float(value)))
    except ValueError:
        return 0.0
