"""Canonical digests: one sha256 for one meaning, and a refusal for anything ambiguous.

Owns the encoding that every key and every content digest goes through. Does not read files (see
`harness.store`). Invariant: two values have equal digests only if they have equal types and contents,
because every node is written with its type tag and its length.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Mapping
from typing import Any


def digest(kind: str, value: Any) -> str:
    """Return the sha256 hex digest of `value` under the domain tag `kind`.

    Raises:
        TypeError: for a value whose canonical form is not defined (sets, floats that are not finite,
            arbitrary objects); the message names the path to it.
    """
    sha = hashlib.sha256()
    sha.update(encode([kind, value]))
    return sha.hexdigest()


def encode(value: Any, *, path: str = "value") -> bytes:
    """Encode a value as type-tagged, length-prefixed bytes.

    Accepted: None, bool, int, finite float, str, bytes, string enums, list, tuple, and mappings with
    string keys (order does not matter). Lists and tuples encode alike, because TOML and JSON know one.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None:
        return b"N;"
    if isinstance(value, bool):
        return b"B1;" if value else b"B0;"
    if isinstance(value, int):
        return b"I%d;" % value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{path}: {value} has no canonical form; use None for a missing number")
        return b"F" + value.hex().encode() + b";"
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return b"S%d:" % len(raw) + raw
    if isinstance(value, bytes):
        return b"Y%d:" % len(value) + value
    if isinstance(value, (list, tuple)):
        parts = [encode(item, path=f"{path}[{i}]") for i, item in enumerate(value)]
        return b"L%d:" % len(parts) + b"".join(parts)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{path}: key {key!r} is not a string; only string keys have a canonical order")
        items = sorted(value.items())
        body = b"".join(encode(k, path=path) + encode(v, path=f"{path}.{k}") for k, v in items)
        return b"M%d:" % len(items) + body
    raise TypeError(f"{path}: a {type(value).__name__} has no canonical form; convert it to plain data before hashing")
