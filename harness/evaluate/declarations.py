"""Task YAML as lm-eval reads it, without importing lm-eval: names in a folder, includes, helpers, members of groups.

Owns the reading, the faults that can be seen in the files alone, and the list of files that a declaration consists
of. Does not load items, and gives no default a meaning: that is `catalog`. Invariant: names, includes, overrides and
helper files resolve as in lm-eval 0.4.13 (`tasks/_index.py`, `_yaml_loader.py`, `_factory.py`).
"""

from __future__ import annotations

import ast
import enum
import functools
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.errors import InputError, MissingPackageError, nearest

# What the index is made of; reading these lines alone takes 0.4 s for lm-eval's 14,000 files, parsing all of them 9 s.
_HEAD = re.compile(r"^[\"']?(task|group|tag|include|class)[\"']?[ \t]*:(.*(?:\n(?![A-Za-z_\"'!%]).*)*)", re.MULTILINE)
_PLAIN = re.compile(r"([\"']?)([A-Za-z_][\w.:/-]*)\1")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
_IGNORED = {"__pycache__", ".ipynb_checkpoints"}
# Keys of a task's YAML that lm-eval takes out before it reads the rest (`_factory.py`, `_build_task`).
_STRUCTURAL = {"tag", "group", "task_list", "include"}


class Kind(enum.StrEnum):
    """What a name stands for."""

    TASK = "task"
    CLASS = "class"
    GROUP = "group"
    TAG = "tag"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A name that can be asked for: `path` declares it; a tag has its `members` instead."""

    name: str
    kind: Kind
    path: Path | None
    members: tuple[str, ...] = ()


class Function(str):
    """The text after `!function`; `folder` is that of the YAML which says it."""

    folder: Path


def lm_eval_tasks() -> Path:
    """Return the folder of lm-eval's own task YAML.

    Raises:
        MissingPackageError: lm-eval is not installed.
    """
    return _lm_eval() / "tasks"


def _lm_eval() -> Path:
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise MissingPackageError("The package lm-eval is not installed. Install harness with the extra 'eval'.")
    return Path(spec.origin).parent


def scan(root: Path) -> Mapping[str, Entry]:
    """Return every name that the YAML below a folder declares, the first file in path order where several do."""
    return _scan(tuple((file, os.stat(file).st_mtime_ns) for file in _yaml(root)))


@functools.cache
def scan_lm_eval() -> Mapping[str, Entry]:
    """Return every name of lm-eval's own install, which does not change while we run."""
    return _scan(tuple((file, 0) for file in _yaml(lm_eval_tasks())))


def _yaml(root: Path) -> list[str]:
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _IGNORED]
        found += [os.path.join(folder, name) for name in names if name.endswith(".yaml")]
    return sorted(found)


@functools.lru_cache(maxsize=8)
def _scan(files: tuple[tuple[str, int], ...]) -> Mapping[str, Entry]:
    found: dict[str, Entry] = {}
    tags: dict[str, list[str]] = {}
    heads: dict[Path, dict[str, Any]] = {}
    for file, _ in files:
        path = Path(file)
        head = _head(path, heads)
        kind = next((kind for kind in (Kind.CLASS, Kind.GROUP, Kind.TASK) if kind.value in head), None)
        name = head.get("group" if kind is Kind.GROUP else "task")
        if kind is None or not isinstance(name, str) or name in found:
            continue
        found[name] = Entry(name=name, kind=kind, path=path)
        if kind is not Kind.GROUP:
            for tag in listed(head.get("tag")):
                tags.setdefault(str(tag), []).append(name)
    for tag, members in tags.items():
        found.setdefault(tag, Entry(name=tag, kind=Kind.TAG, path=None, members=tuple(sorted(set(members)))))
    return found


def _head(path: Path, known: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """Return the keys of `_HEAD` in a file and its includes; a file that cannot be read has none."""
    if path in known:
        return known[path]
    known[path] = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    own = {match[1]: _scalar(match[2]) for match in _HEAD.finditer(text)}
    merged: dict[str, Any] = {}
    for name in listed(own.pop("include", None)):
        merged |= _head(Path(os.path.normpath(path.parent / str(name))), known)
    known[path] = merged | own
    return known[path]


def _scalar(text: str) -> Any:
    if (plain := _PLAIN.fullmatch(text.strip())) and plain[2].lower() not in _WORDS:
        return plain[2]
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return None


def listed(value: Any) -> list[Any]:
    """Return the values of a key that takes one value or several."""
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # PyYAML has no types
    folder = Path()


def _function(loader: Any, node: Any) -> Function:
    found = Function(loader.construct_scalar(node))
    found.folder = loader.folder
    return found


_Loader.add_constructor("!function", _function)


def load(path: Path) -> dict[str, Any]:
    """Return a YAML file with what it includes, its own keys winning.

    Raises:
        InputError: the file, an include or a helper is missing, or is no YAML mapping.
    """
    return _load(path, ())


def _load(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in above:
        raise InputError(f"{above[-1]}: 'include' goes round in a circle, through {path}.")
    raw = _parse(path)
    for function in _functions(raw):
        function_file(function, path)
    merged: dict[str, Any] = {}
    for name in listed(raw.pop("include", None)):
        inner = path.parent / str(name)
        if not inner.is_file():
            raise InputError(f"{path}: 'include' names {name}, and there is no {inner}. Correct the path.")
        merged |= {key: value for key, value in _load(inner, (*above, path)).items() if key != "task_list"}
    return merged | raw


def _parse(path: Path) -> dict[str, Any]:
    class Loader(_Loader):
        folder = path.parent

    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path} is no YAML mapping of keys and values.")
    return raw


def _functions(value: Any) -> Iterator[Function]:
    if isinstance(value, Function):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _functions(inner)


def function_file(function: Function, path: Path) -> Path:
    """Return the Python file of `!function module.name`: beside the YAML, else of an installed package.

    Raises:
        InputError: there is neither; names the YAML and the helper.
    """
    module = function.rpartition(".")[0]
    beside = function.folder / f"{module.replace('.', '/')}.py"
    if module and beside.is_file():
        return beside
    top, _, rest = module.partition(".")
    spec = importlib.util.find_spec(top) if top else None
    if spec is not None and spec.origin is not None:
        if not rest:
            return Path(spec.origin)
        inner = Path(spec.origin).parent / rest.replace(".", "/")
        for candidate in (inner.with_suffix(".py"), inner / "__init__.py"):
            if candidate.is_file():
                return candidate
    raise InputError(f"{path}: '!function {function}' needs the helper file {beside}, which is missing.")


def files(path: Path) -> list[Path]:
    """Return the files that a YAML consists of: itself, its includes, and every Python file that they name."""
    path = path.resolve()
    raw = _parse(path)
    found = [path, *sorted({function_file(function, path).resolve() for function in _functions(raw)})]
    for name in listed(raw.get("include")):
        found += files(path.parent / str(name))
    return list(dict.fromkeys(found))


def members(name: str, index: Mapping[str, Entry]) -> list[Entry]:
    """Return an entry and every entry that it stands for, however deep."""
    found: dict[str, Entry] = {}

    def visit(name: str) -> None:
        if name in found or name not in index:
            return
        found[name] = entry = index[name]
        inner: Iterable[Any] = entry.members
        if entry.kind is Kind.GROUP and entry.path is not None:
            inner = listed(load(entry.path).get("task"))
        for one in inner:
            named(one)

    def named(one: Any) -> None:
        if isinstance(one, str):
            visit(one)
        elif isinstance(one, dict):
            visit(str(one.get("group") or one.get("task")))
            for inner in listed(one.get("task")) if "group" in one else []:
                named(inner)

    visit(name)
    return list(found.values())


def leaves(name: str, index: Mapping[str, Entry]) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, settings) of every leaf of a task, group or tag, with the overrides of its groups.

    Raises:
        InputError: a fault in a file: an unknown key, a member that no file declares, a missing include or helper.
    """
    return list(dict(_leaves(index[name], {}, index, ())).items())


def _leaves(
    entry: Entry, overrides: Mapping[str, Any], index: Mapping[str, Entry], above: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    if entry.name in above:
        raise InputError(f"{entry.path}: the group '{entry.name}' is a member of itself.")
    if entry.kind is Kind.TAG or entry.path is None:
        for member in entry.members:
            yield from _leaves(index[member], overrides, index, (*above, entry.name))
        return
    raw = load(entry.path)
    if entry.kind is not Kind.GROUP:
        if entry.kind is Kind.TASK:
            require_known(raw, entry.path, _STRUCTURAL | fields("TaskConfig"))
            _require_shots(raw, entry.path)
        yield entry.name, {**raw, **overrides}
        return
    yield from _group(entry.name, raw, entry.path, overrides, index, above)


def _group(
    name: str,
    raw: Mapping[str, Any],
    path: Path,
    overrides: Mapping[str, Any],
    index: Mapping[str, Entry],
    above: tuple[str, ...],
) -> Iterator[tuple[str, dict[str, Any]]]:
    require_known(raw, path, _STRUCTURAL | fields("GroupConfig") | fields("TaskConfig"))
    _require_shots(raw, path)
    own = {key: value for key, value in raw.items() if key not in fields("GroupConfig")} | dict(overrides)
    for member in raw["task"] if isinstance(raw.get("task"), list) else []:
        one: Any = {"task": member} if isinstance(member, str) else member
        if not isinstance(one, dict) or not {"task", "group"} & one.keys():
            raise InputError(f"{path}: the group '{name}' has a member without a name: {member}")
        if "group" in one and one["group"] not in index:
            yield from _group(f"{name}::{one['group']}", one, path, own, index, above)
            continue
        inner = str(one.get("group") or one["task"])
        require_known(one, path, _STRUCTURAL | fields("GroupConfig") | fields("TaskConfig"))
        if inner in index:
            given = {key: value for key, value in one.items() if key not in ("task", "group")}
            yield from _leaves(index[inner], own | given, index, (*above, name))
        elif "dataset_path" in own | one or "custom_dataset" in own | one:
            yield f"{name}::{inner}", own | one
        else:
            raise InputError(f"{path}: the group '{name}' names '{inner}', and no file declares it.")


def require_known(raw: Mapping[str, Any], path: Path, known: set[str]) -> None:
    """Refuse a key that lm-eval does not have; suggests the nearest."""
    for key in raw:
        if key not in known:
            raise InputError(f"{path}: lm-eval knows no key '{key}'.{nearest(str(key), known)}")


def _require_shots(raw: Mapping[str, Any], path: Path) -> None:
    if isinstance(raw.get("fewshot_config"), dict):
        for key in raw["fewshot_config"]:
            if key not in (known := fields("FewshotConfig")):
                raise InputError(f"{path}: lm-eval knows no key 'fewshot_config.{key}'.{nearest(str(key), known)}")


@functools.cache
def fields(name: str) -> set[str]:
    """Return the keys of one of lm-eval's settings classes, read from its source: importing it takes seconds."""
    for file in ("task.py", "group.py"):
        tree = ast.parse((_lm_eval() / "config" / file).read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                assigned = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
                return {target.id for target in assigned if isinstance(target, ast.Name)}
    raise AssertionError(f"lm-eval has no class {name}")
