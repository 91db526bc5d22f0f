"""How the judge and the candidate of the code sandbox talk: plain data in length-prefixed JSON frames.

Owns the encoding of values and the frames. Does not know what the messages mean. Invariant: whatever
bytes arrive, `decode` builds only builtin plain values (and `Fraction`, `Decimal`), never an object of a
class that the other side defined, so an answer cannot bring its own `__eq__`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_DEPTH = 200
_SMALL = 2**53


class WireError(ValueError):
    """A value that is not plain data, or bytes that are not a frame of it."""


def encode(value: Any, depth: int = 0) -> Any:
    """Return `value` as JSON nodes; subclasses of builtin types lose their class and all its methods.

    Scalars stand for themselves; everything else is a list that starts with a tag. Raises `WireError`
    for other types and for values nested deeper than `MAX_DEPTH` (cyclic ones too).
    """
    if depth > MAX_DEPTH:
        raise WireError("nested too deeply")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        plain = int.__int__(value)
        return plain if -_SMALL < plain < _SMALL else ["int", format(plain, "x")]
    if isinstance(value, float):
        return float.__float__(value)
    below = depth + 1
    if isinstance(value, dict):
        return ["dict", *([encode(k, below), encode(v, below)] for k, v in dict.items(value))]
    for tag, kind in (("list", list), ("tuple", tuple), ("set", set), ("frozenset", frozenset)):
        if isinstance(value, kind):
            return [tag, *(encode(item, below) for item in _plain_items(kind, value))]
    return _encode_rare(value, below)


def _plain_items(kind: Any, value: Any) -> Iterator[Any]:
    """Iterate as the builtin type does, whatever a subclass made of it."""
    items: Iterator[Any] = kind.__iter__(value)
    return items


def _encode_rare(value: Any, below: int) -> Any:
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, bytearray):
        return ["bytearray", value.hex()]
    if isinstance(value, range):
        return ["range", *(encode(edge) for edge in (value.start, value.stop, value.step))]
    if isinstance(value, Fraction):
        return ["fraction", encode(value.numerator), encode(value.denominator)]
    if isinstance(value, Decimal):
        return ["decimal", str(value)]
    if isinstance(value, Iterator):
        return ["iterator", *(encode(item, below) for item in value)]
    raise WireError("not plain data")


def decode(node: Any, depth: int = 0) -> Any:
    """Return the value of JSON nodes; raises `WireError` (or `TypeError`/`ValueError`) for anything else."""
    if node is None or type(node) in (bool, int, float, str):
        return node
    if type(node) is not list or not node or type(node[0]) is not str or depth > MAX_DEPTH:
        raise WireError("not an encoded value")
    tag = node[0]
    if tag == "dict":
        return {decode(k, depth + 1): decode(v, depth + 1) for k, v in node[1:]}
    if tag == "list":
        return [decode(item, depth + 1) for item in node[1:]]
    if tag in _ITEMS:
        return _ITEMS[tag](decode(item, depth + 1) for item in node[1:])
    if tag not in _FIXED or len(node) - 1 != len(_FIXED[tag][1]):
        raise WireError("unknown tag")
    make, kinds = _FIXED[tag]
    parts = [decode(part, depth + 1) for part in node[1:]]
    if any(type(part) is not kind for part, kind in zip(parts, kinds, strict=True)):
        raise WireError("wrong parts")
    return make(*parts)


_ITEMS: dict[str, Any] = {
    "tuple": tuple, "set": set, "frozenset": frozenset, "iterator": lambda items: iter(list(items))
}  # fmt: skip
_FIXED: dict[str, tuple[Any, tuple[type, ...]]] = {
    "int": (lambda text: int(text, 16), (str,)),
    "complex": (complex, (float, float)),
    "bytes": (bytes.fromhex, (str,)),
    "bytearray": (bytearray.fromhex, (str,)),
    "range": (range, (int, int, int)),
    "fraction": (Fraction, (int, int)),
    "decimal": (Decimal, (str,)),
}


def write_frame(fd: int, message: Any) -> None:
    """Write one JSON message, whole, to a descriptor."""
    body = json.dumps(message).encode("ascii")
    data = memoryview(len(body).to_bytes(4, "big") + body)
    while data:
        data = data[os.write(fd, data) :]


def read_frame(fd: int, limit: int) -> Any:
    """Read exactly one message of at most `limit` bytes; `EOFError` when the other side is gone.

    Reads not one byte more than the frame: the next reader of the descriptor may be another process.
    """
    size = int.from_bytes(_read_exactly(fd, 4), "big")
    if size > limit:
        raise WireError("message too large")
    return json.loads(_read_exactly(fd, size))


def _read_exactly(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = os.read(fd, min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
