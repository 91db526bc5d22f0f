"""What tasks there are, read from the YAML without lm-eval.

Owns the list behind `harness tasks` and the digest of a task's definition. Does not load items. Invariant:
a definition's digest covers the bytes of the YAML, of every file it includes and of every Python file it
names, and of nothing else (never a folder: `__pycache__` is in folders).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness import layout
from harness.errors import InputError, nearest
from harness.store.files import files_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskInfo:
    """A top-level task (an lm-eval task or group) of tasks/.

    Attributes:
        name: as given to --tasks.
        title: for people.
        primary: the metric that reports use.
        higher_is_better: its direction.
        chance: score of guessing, 0 to 1.
        kind: lm-eval's output type.
        shots: few-shot examples in the prompt.
        subtasks: number of leaves.
        source: where items come from by default.
        files: item files under --data; empty when no --data is needed.
        clusters: what items share beyond chance: "subtask" (many subtasks, as drawn from more), or "item" (the
            few subtasks are all there are, so items are drawn independently within them).
        executes: whether answers are programs that scoring runs in the sandbox.
        path: the YAML file.
    """

    name: str
    title: str
    primary: str
    chance: float
    kind: str
    shots: int
    subtasks: int
    source: str
    path: Path
    higher_is_better: bool = True
    files: tuple[str, ...] = field(default=())
    clusters: str = "subtask"
    executes: bool = False


def tasks() -> dict[str, TaskInfo]:
    """Return the shipped tasks by name."""
    root = layout.shipped("tasks")
    found = {}
    for path in sorted(root.glob("*/*.yaml")):
        if "profile" not in _load(path)["metadata"]:  # a definition under another profile is no task of its own
            info = _read(path)
            found[info.name] = info
    return found


def require(names: Iterable[str]) -> dict[str, TaskInfo]:
    """Return the infos of named tasks, in order.

    Raises:
        InputError: an unknown name; suggests the nearest.
    """
    known = tasks()
    for name in names:
        if name not in known:
            raise InputError(f"There is no task named '{name}'.{nearest(name, known)} `harness tasks` lists them.")
    return {name: known[name] for name in names}


def definition_digest(info: TaskInfo) -> str:
    """Return the digest of the files that define a task."""
    roots = (layout.shipped("tasks"), layout.package())
    named = {}
    for path in _definition(info.path):
        root = next(root for root in roots if path.is_relative_to(root))
        named[path.relative_to(root).as_posix()] = path
    return files_digest(named)


def _definition(path: Path) -> list[Path]:
    raw = _load(path)
    files = [path]
    for module in sorted(_functions(raw)):
        local = path.parent / f"{module}.py"
        ours = layout.package() / f"{module.removeprefix('harness.').replace('.', '/')}.py"
        files += [file for file in (local, ours) if file.exists()][:1]
    includes = raw.get("include", [])
    for name in [includes] if isinstance(includes, str) else includes:
        files += _definition(path.parent / name)
    return files


def _functions(value: Any) -> set[str]:
    """Return the modules named by `!function module.name` anywhere in a YAML value."""
    if isinstance(value, _Function):
        return {value.rpartition(".")[0]}
    if isinstance(value, dict):
        return set().union(*(_functions(item) for item in value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*(_functions(item) for item in value)) if value else set()
    return set()


class _Function(str):
    """The text after `!function`."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    pass


_Loader.add_constructor("!function", lambda loader, node: _Function(loader.construct_scalar(node)))


def _load(path: Path) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    return raw


def _read(path: Path) -> TaskInfo:
    raw = _load(path)
    children = raw["task"] if isinstance(raw.get("task"), list) else []
    metadata = raw["metadata"]
    return TaskInfo(
        name=raw.get("group") or raw["task"],
        title=metadata["title"],
        primary=metadata["primary"],
        chance=float(metadata["chance"]),
        kind=raw["output_type"],
        shots=int(raw.get("num_fewshot") or 0),
        subtasks=max(len(children), 1),
        source=metadata["source"],
        files=tuple(metadata.get("files", ())),
        clusters=metadata.get("clusters", "subtask"),
        executes=bool(raw.get("unsafe_code")),
        path=path,
    )
