"""Differences and causes in words.

Owns what the fields of a payload are called. Finds nothing (see `chain`). Invariant: a sentence names the field, the
recorded value and the value now, or says that one of them is not known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.commands.explain.chain import Cause, is_unknown
from harness.commands.explain.differences import Absent, Difference, flatten
from harness.plan import Kind

_SHORT = 12
_LONGEST = 60

PRODUCTS: Mapping[str, str] = {
    Kind.CHATS: "other chats",
    Kind.OVERLAP: "other overlaps",
    Kind.CLEAN: "other chats",
    Kind.LABEL: "other labels",
    Kind.VARIANT: "other chats",
    Kind.EXPOSURE: "other items as seen",
    Kind.BASE: "another model",
    Kind.TRAIN: "another model",
    Kind.ITEMS: "other items",
    Kind.PREDICT: "other answers",
    Kind.SCORE: "other scores",
}
# (kinds, pattern of the path, what it is called); the first that fits. {source} is the name of a source of chats.
_PACKAGES = r"settings\.packages\.(.+)"
_NAMES: Sequence[tuple[tuple[str, ...], str, str]] = (
    ((), r"schema", "the form of records (SCHEMA)"),
    ((), r"version", "the code of this kind of stage (its number in plan.VERSIONS)"),
    ((), r"kind", "the kind of stage"),
    ((), r"settings", "the settings"),
    ((), _PACKAGES, r"the version of the package \1"),
    ((), r"inputs\.(.+)", r"the input '\1'"),
    ((Kind.CHATS,), r"settings\.seed", "data_seed"),
    ((Kind.CHATS,), r"settings\.sources\[\d+\]\[0\]", "the name of a source"),
    ((Kind.CHATS,), r"settings\.sources\[\d+\]\[1\]\.content", "the content of source '{source}'"),
    ((Kind.CHATS,), r"settings\.sources\[\d+\]\[1\]\.content\.file", "the bytes of the file of source '{source}'"),
    ((Kind.CHATS,), r"settings\.sources\[\d+\]\[1\]\.content\.(.+)", r"the \1 of source '{source}'"),
    ((Kind.CHATS,), r"settings\.sources\[\d+\]\[1\]\.settings\.(.+)", r"'\1' of source '{source}'"),
    ((Kind.CLEAN,), r"settings\.filters\.(.+)", r"'\1' in [clean]"),
    ((Kind.CLEAN,), r"settings\.mix\.?(.*)", r"[mix] \1"),
    ((Kind.CLEAN, Kind.VARIANT), r"settings\.seed", "data_seed"),
    ((Kind.CLEAN,), r"settings\.sources.*", "the names of the sources"),
    ((Kind.LABEL,), r"settings\.digest", "the filter pack"),
    ((Kind.VARIANT,), r"settings\.lineage\[\d+\]\.answers", "the file of answers"),
    ((Kind.VARIANT,), r"settings\.lineage\[\d+\]\.(.+)", r"'\1' of the variant"),
    ((Kind.VARIANT,), r"settings\.size_of\[\d+\]\.(.+)", r"'\1' of the variant whose size it has"),
    ((Kind.BASE,), r"settings\.recipe\.(.+)", r"'\1' of the recipe of the pretraining"),
    ((Kind.BASE,), r"settings\.source\.converted_by\.(.+)", r"the version of the package \1, which converts the base"),
    ((Kind.BASE,), r"settings\.source", "the base model's source"),
    ((Kind.BASE,), r"settings\.source\.(.+)", r"the \1 of the base model's source"),
    ((Kind.TRAIN,), r"settings\.recipe\.(.+)", r"'\1' of the recipe"),
    ((Kind.TRAIN,), r"settings\.seed", "the training seed"),
    ((Kind.ITEMS, Kind.SCORE), r"settings\.definition", "the task's definition and data"),
    ((Kind.ITEMS, Kind.SCORE), r"settings\.definition\.files", "the task's files (YAML, items.py)"),
    ((Kind.ITEMS, Kind.SCORE), r"settings\.definition\.lm_eval", "the version of the package lm-eval"),
    ((Kind.ITEMS, Kind.SCORE), r"settings\.definition\.execution\[0\]", "the version of Python, which runs programs"),
    ((Kind.ITEMS, Kind.SCORE), r"settings\.definition\.execution\[1\]", "the code of the sandbox"),
    ((Kind.ITEMS, Kind.SCORE), r"settings\.definition\.items(.+)", r"the task's data \1"),
    ((Kind.ITEMS,), r"settings\.sampling_seed", "data_seed"),
    ((Kind.ITEMS, Kind.PREDICT), r"settings\.(limit|max_new_tokens|samples|temperature|dtype|max_length)", r"'\1'"),
    ((Kind.PREDICT,), r"settings\.engine\.engine", "the engine"),
    ((Kind.PREDICT,), r"settings\.engine\.engine_version", "the version of the engine"),
    ((), r"settings\.(.+)", r"the setting \1"),
)


def because(cause: Cause, payload: Mapping[str, Any], called: Mapping[str, str]) -> str:
    """Return a cause with the stages between it and the stage that is explained, as what follows "because".

    Args:
        payload: of the last of the stages, as it is now; it says what its sources are called.
        called: {digest: name} of what has a name too.
    """
    steps = [f"{name} gives {PRODUCTS[kind]}" for name, kind in cause.stages[1:]]
    return ", because ".join([*steps, said(cause.difference, cause.stages[-1][1], payload, called)])


def said(difference: Difference, kind: str, payload: Mapping[str, Any], called: Mapping[str, str]) -> str:
    """Return one difference as a clause."""
    path = difference.path.removesuffix(".unknown") if is_unknown(difference) else difference.path
    name = _name(kind, path, payload)
    if is_unknown(difference):
        which = "" if f"'{difference.now}'" in name else f" ({difference.now})"
        return f"{name}{which} cannot be read here (give --data DIR, or reach the hub)"
    if path.startswith("inputs.") and Absent.ABSENT not in (difference.recorded, difference.now):
        return f"{name} changed, and no record says how the recorded one ({short(difference.recorded)}) was made"
    if difference.recorded is Absent.ABSENT:
        return f"{name} is new: {short(difference.now, called)}"
    if difference.now is Absent.ABSENT:
        return f"{name} is gone; it was {short(difference.recorded, called)}"
    return f"{name} changed from {short(difference.recorded, called)} to {short(difference.now, called)}"


def short(value: Any, called: Mapping[str, str] | None = None) -> str:
    """Return a value in one line: of a digest the first digits, of a long text its beginning."""
    if value is Absent.ABSENT:
        return "-"
    if isinstance(value, str):
        if re.fullmatch(r"[0-9a-f]{40,}", value):
            name = (called or {}).get(value)
            return f"{name} ({value[:_SHORT]})" if name else value[:_SHORT]
        text = value if value and value.isprintable() else json.dumps(value)
    else:
        text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def summary(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the facts of a record in short: lists of many values by their number, first and last."""
    rows: list[tuple[str, str]] = []
    for name in sorted(facts):
        value = facts[name]
        if isinstance(value, Mapping) and 0 < len(flatten(value)) <= 8:
            rows += [(path, short(leaf)) for path, leaf in flatten({name: value}).items()]
        elif isinstance(value, Mapping):
            rows += [
                (f"{name}.{key}", _listed(value[key])) if isinstance(value[key], list) else (f"{name}.{key}", "...")
                for key in sorted(value)[:8]
            ]
            rows += [(name, f"{len(value)} entries")] if len(value) > 8 or not value else []
        else:
            rows.append((name, _listed(value) if isinstance(value, list) else short(value)))
    return rows


def _listed(values: Sequence[Any]) -> str:
    if len(values) <= 3:
        return ", ".join(short(value) for value in values) or "none"
    return f"{len(values):,} values, {short(values[0])} ... {short(values[-1])}"


def _name(kind: str, path: str, payload: Mapping[str, Any]) -> str:
    for kinds, pattern, name in _NAMES:
        found = re.fullmatch(pattern, path)
        if found and (not kinds or kind in kinds):
            return found.expand(name).replace("{source}", _source(path, payload)).strip()
    return path


def _source(path: str, payload: Mapping[str, Any]) -> str:
    """Return the name of the source of chats that a path of a payload leads into; its number where there is none."""
    number = re.match(r"settings\.sources\[(\d+)\]", path)
    if number is None:
        return ""
    sources = payload.get("settings", {}).get("sources", [])
    place = int(number[1])
    return str(sources[place][0]) if place < len(sources) else str(place)
