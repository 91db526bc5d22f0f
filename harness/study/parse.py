"""Strict parsing of TOML study and recipe files: every error of a file in one message.

Owns the way from a name or path to a `Study` or `Recipe`. Invariant: an unknown key is an error that
names the nearest known key; nothing is defaulted silently because it was misspelt.
"""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from harness import layout
from harness.errors import InputError, nearest
from harness.study.model import BaseKind, Recipe, Study

Model = TypeVar("Model", bound=BaseModel)

# The patterns of names: of studies, and of variants and sources.
_NAME = re.compile(r"\^\[(?P<capitals>A-Z)?a-z0-9\]\[")


def load_study(name: str) -> tuple[Study, Path]:
    """Return a study by shipped name or path, and its file.

    Raises:
        InputError: unknown name, unreadable file, or all errors of the file at once.
    """
    path = layout.find("studies", name)
    return _load(path, Study), path


def load_recipe(name: str, *, beside: Path | None = None) -> Recipe:
    """Return a recipe by shipped name or by a path relative to the study file."""
    return _load(layout.find("recipes", name, beside=beside), Recipe)


def load_pretraining(study: Study, path: Path) -> Recipe | None:
    """Return the recipe that the study's base is pretrained with here; None for a base that is fetched."""
    if study.base.kind is not BaseKind.POCKET:
        return None
    assert study.base.recipe is not None, "the study file was checked for it"
    return load_recipe(study.base.recipe, beside=path)


def _load(path: Path, model: type[Model]) -> Model:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}).") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {_describe(problem, model)}" for problem in _own(error.errors())]
        count = f"{len(lines)} error" + ("s" if len(lines) > 1 else "")
        raise InputError(f"{path}: {count}\n" + "\n".join(lines)) from None


def _own(problems: Sequence[Any]) -> list[Any]:
    """Leave out that a list is too short where its entries are wrong: pydantic counts the right ones alone."""
    places = [problem["loc"] for problem in problems]
    return [
        problem
        for problem in problems
        if problem["type"] != "too_short"
        or not any(
            len(place) > len(problem["loc"]) and place[: len(problem["loc"])] == problem["loc"] for place in places
        )
    ]


def _describe(problem: Any, model: type[BaseModel]) -> str:
    place = [str(part) for part in problem["loc"]]
    where = ".".join(place) or "file"
    if problem["type"] == "extra_forbidden":
        owner = _model_at(model, place[:-1])
        return f"{where}: unknown key.{nearest(place[-1], owner.model_fields if owner else ())}"
    if problem["type"] == "missing":
        return f"{where}: this key is required."
    if problem["type"] == "string_pattern_mismatch" and (name := _NAME.match(problem["ctx"]["pattern"])):
        letters = "A to Z, a to z" if name["capitals"] else "a to z"
        message = f"a name has the letters {letters}, digits, '.', '_' and '-', a letter or digit first"
    else:
        message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float)) else ""
    return f"{where}: {message}{shown}"


def _model_at(model: type[BaseModel], place: list[str]) -> type[BaseModel] | None:
    """Return the model that a path of keys leads to, through lists, dictionaries and optionals."""
    current: type[BaseModel] | None = model
    parts = iter(place)
    for part in parts:
        if current is None or part not in current.model_fields:
            return None
        annotation: Any = current.model_fields[part].annotation
        if typing.get_origin(annotation) in (dict, tuple, list):
            next(parts, None)  # the name or number of one entry, whatever it reads like
        current = next(
            (
                kind
                for kind in [annotation, *_arguments(annotation)]
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ),
            None,
        )
    return current


def _arguments(annotation: Any) -> list[Any]:
    found = []
    for argument in typing.get_args(annotation):
        found += [argument, *_arguments(argument)]
    return found
