"""Variants under other filter packs, as a command names them: "clean@alignment@1.1.0" is 'clean' under that pack.

Owns that notation and the study that it leads to. Reads no pack. Invariant: the study that comes out is one that could
have been written in a file, and the variants that were there before are as they were.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from harness.errors import InputError, nearest
from harness.study.model import Study

SEPARATOR = "@"


def under(variant: str, pack: str) -> str:
    """Return how a variant under a pack is named on a command line."""
    return f"{variant}{SEPARATOR}{pack}"


def name_of(pack: str) -> str:
    """Return what a pack calls itself, from its reference or from the path of its file, which is named like it."""
    return PurePath(pack).name.removesuffix(".toml")


def with_packs(study: Study, names: Sequence[str]) -> tuple[Study, tuple[str, ...]]:
    """Return a study that has the variants that are named with a pack, and the names of all in it.

    Where every variant is named with a pack, the first one's takes the place of the study's.

    Args:
        names: variants, plain or with a pack, such as "clean" and "clean@alignment@1.1.0".

    Raises:
        InputError: an unknown variant, one that no filter acts on, or two packs that cannot be told apart by name.
    """
    named = [_split(study, name) for name in names]
    if not any(pack for _, pack in named):
        return study, tuple(names)
    raw: dict[str, Any] = study.model_dump(mode="json", exclude_defaults=True)
    found: dict[str, tuple[str, str]] = {}
    for variant, pack in named:
        if not pack:
            found.setdefault(variant, (variant, pack))
            continue
        new = _name(variant, pack, taken={*study.variants, *(one for one in found if found[one] != (variant, pack))})
        found[new] = (variant, pack)
        _copy(study, variant, pack, raw, suffix=new.removeprefix(variant))
    if all(pack for _, pack in named):
        raw["filter"] = named[0][1]
    return Study.model_validate(raw), tuple(found)


def _split(study: Study, name: str) -> tuple[str, str]:
    """Return variant and pack; of a plain name the pack is empty."""
    variant, separator, pack = name.partition(SEPARATOR)
    if not separator:
        return name, ""
    if variant not in study.variants:
        raise InputError(f"Study '{study.name}' has no variant named '{variant}'.{nearest(variant, study.variants)}")
    if not pack:
        raise InputError(f"'{name}' names no filter after the '@'; write it like {variant}@{study.filter}.")
    if not any(study.variants[one].treatment.reads_labels for one in study.made_of(variant)):
        acting = [one for one in study.variants if study.variants[one].treatment.reads_labels]
        raise InputError(
            f"Variant '{variant}' of study '{study.name}' is the same under every filter: nothing that makes it acts on"
            f" labels. Those that do: {', '.join(acting) or 'none'}."
        )
    return variant, pack


def _name(variant: str, pack: str, *, taken: set[str]) -> str:
    """Return a name such as "clean-1.1.0"; with the pack's whole name where that is taken."""
    whole = name_of(pack)
    for part in (whole.partition("@")[2] or whole, whole):
        name = f"{variant}-{re.sub(r'[^A-Za-z0-9_.-]', '-', part)}"
        if name not in taken:
            return name
    raise InputError(
        f"'{name}' is taken already, so variant '{variant}' under the filter '{pack}' cannot be told apart from it."
        " Give the filter's file another name and version."
    )


def _copy(study: Study, variant: str, pack: str, raw: dict[str, Any], *, suffix: str) -> None:
    """Add a variant and all that it is made of once more, under a pack, to a study as plain data."""
    family = study.made_of(variant)
    for one in family:
        copied = dict(raw["variants"][one])
        copied.pop("filter", None)
        for relative in ("parent", "size_of"):
            if relative in copied:
                copied[relative] += suffix
        if study.variants[one].treatment.reads_labels:
            copied["filter"] = pack
        raw["variants"][one + suffix] = copied
        expected = raw.get("estimate", {}).get("chats", {})
        if one in expected:
            expected[one + suffix] = expected[one]
