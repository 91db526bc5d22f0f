"""Two pieces of plain data, field by field.

Owns the paths under which fields are known. Does not know what the fields mean (see `wording`). Invariant: two values
have differences if and only if their canonical encodings differ, so a payload without differences has the same key.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.canonical import encode

_PLAIN = re.compile(r"[A-Za-z0-9_/-]+")


class Absent(enum.Enum):
    """The value of a field that is not there; None is a value."""

    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A field whose value is not the same on both sides; `Absent.ABSENT` where one side does not have it."""

    path: str
    recorded: Any
    now: Any

    def document(self) -> dict[str, Any]:
        """Return it as plain data; a value that is absent is left out."""
        values = {"recorded": self.recorded, "now": self.now}
        return {"path": self.path} | {name: value for name, value in values.items() if value is not Absent.ABSENT}


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Return {path: leaf} of plain data, such as {"settings.recipe.betas[0]": 0.9}.

    A key that is not a plain name stands in brackets and quotes, so that no two fields share a path. An empty mapping
    or list is a leaf.
    """
    if isinstance(value, Mapping) and value:
        found: dict[str, Any] = {}
        for key in sorted(value):
            plain = _PLAIN.fullmatch(key) is not None
            place = (f"{path}.{key}" if path else key) if plain else f"{path}[{json.dumps(key)}]"
            found |= flatten(value[key], place)
        return found
    if isinstance(value, (list, tuple)) and value:
        found = {}
        for number, item in enumerate(value):
            found |= flatten(item, f"{path}[{number}]")
        return found
    return {path: value}


def differences(recorded: Any, now: Any) -> tuple[Difference, ...]:
    """Return the fields in which two pieces of plain data differ, in order of their paths.

    1, 1.0 and True are three values, as they are in a key.
    """
    before, after = flatten(recorded), flatten(now)
    return tuple(
        Difference(path=path, recorded=before.get(path, Absent.ABSENT), now=after.get(path, Absent.ABSENT))
        for path in sorted(before.keys() | after.keys())
        if path not in before or path not in after or encode(before[path]) != encode(after[path])
    )
