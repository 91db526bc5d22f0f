"""What tasks there are, read from the YAML without lm-eval.

Owns the list behind `harness tasks`, the one definition that a task has under a profile, and the digest of a
definition. Does not load items. Invariant: a definition's digest covers the bytes of the YAML, of every file it
includes, of every Python file it names and of all members of a group, and of nothing else (never a folder:
`__pycache__` is in folders).
"""

from __future__ import annotations

import enum
import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import layout
from harness.errors import InputError, nearest
from harness.evaluate import declarations
from harness.evaluate.declarations import Entry, Function
from harness.store.files import files_digest

LM_EVAL = "lm-eval"
# Builders of the package datasets that read local files.
_FILE_BUILDERS = {"json", "csv", "parquet", "text", "arrow", "pandas", "xml"}
# lm-eval's own metrics where a YAML names none (api/registry.py, `DEFAULT_METRIC_REGISTRY`), the first of each.
_FIRST_METRIC = {
    "multiple_choice": "acc",
    "loglikelihood": "perplexity",
    "loglikelihood_rolling": "word_perplexity",
    "generate_until": "exact_match",
}
_LOWER_IS_BETTER = {"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter"}


class Aspect(enum.StrEnum):
    """What of a model a task looks at; only capability has verdicts, safety is read beside it."""

    CAPABILITY = "capability"
    SAFETY = "safety"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskInfo:
    """One definition of a task: an lm-eval task, group or tag.

    Attributes:
        name: of the definition, as lm-eval knows it.
        of: the task that it defines, as given to --tasks.
        profile: under which profile.
        origin: "shipped" (tasks/), "path" (--tasks-path) or "lm-eval" (its own install).
        tasks_path: the folder of an origin "path".
        title: for people.
        primary: the metric that reports use.
        higher_is_better: its direction.
        chance: score of guessing, 0 to 1; 0 where the YAML does not say.
        kind: lm-eval's output type.
        shots: few-shot examples in the prompt.
        subtasks: number of leaves.
        max_prompt: longest prompt, tokens, that the profile allows while there are shots to drop; 0 = any.
        average: over subtasks: "micro" (by their size) or "macro" (all alike).
        source: where items come from by default.
        hubs: datasets of the hub that a definition of other origin than "shipped" reads.
        files: item files: of a shipped task under --data (empty when no --data is needed), else their paths.
        clusters: what items share beyond chance: "subtask" (many subtasks, as drawn from more), or "item" (the
            few subtasks are all there are, so items are drawn independently within them).
        executes: whether answers are programs that scoring runs in the sandbox.
        aspect: what of a model it looks at.
        chat: whether the prompt is what a user says, which every checkpoint reads in its own chat template.
        judge: filter pack that says of every answer whether it refuses; empty = lm-eval's metrics alone.
        path: the YAML file; for a tag that of its first member.
    """

    name: str
    of: str
    profile: str = LM_EVAL
    origin: str = "shipped"
    tasks_path: Path | None = None
    title: str
    primary: str
    chance: float
    kind: str
    shots: int
    subtasks: int
    max_prompt: int = 0
    average: str = "micro"
    source: str
    path: Path
    higher_is_better: bool = True
    hubs: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=())
    clusters: str = "subtask"
    executes: bool = False
    aspect: Aspect = Aspect.CAPABILITY
    chat: bool = False
    judge: str = ""


def passing(info: TaskInfo, pass_at: Sequence[int]) -> TaskInfo:
    """Return a definition that is compared by pass@k for the first k that was chosen, where it is by pass@1."""
    if not pass_at or info.primary != "pass_at_1":
        return info
    return replace(info, primary=f"pass_at_{pass_at[0]}")


def tasks() -> dict[str, TaskInfo]:
    """Return the shipped tasks by name, each as profile lm-eval defines it."""
    return {info.name: info for info in _shipped() if info.profile == LM_EVAL}


def require(names: Iterable[str], *, profile: str = LM_EVAL, tasks_path: Path | None = None) -> dict[str, TaskInfo]:
    """Return the definitions of named tasks, in order.

    Raises:
        InputError: an unknown name; suggests the nearest.
    """
    return {name: definition(name, profile, tasks_path) for name in names}


def definition(task: str, profile: str = LM_EVAL, tasks_path: Path | None = None) -> TaskInfo:
    """Return what a task is under a profile: shipped, declared below `tasks_path`, or of lm-eval's own install.

    A name below `tasks_path` goes before one of lm-eval's, as in lm-eval; one that ships with harness is refused there.

    Raises:
        InputError: no such task (suggests the nearest), no such profile of it, or a fault in its files.
    """
    shipped = {info.name: info for info in _shipped()}
    own = declarations.scan(_folder(tasks_path)) if tasks_path is not None else {}
    if task in own and task in shipped:
        raise InputError(f"{own[task].path} declares '{task}', which ships with harness. Give it a name of its own.")
    if task in shipped and shipped[task].profile != LM_EVAL:
        one = shipped[task]
        raise InputError(f"'{task}' is the task '{one.of}' under the profile '{one.profile}': ask for these two.")
    if profile != LM_EVAL:
        return _profiled(task, profile, list(shipped.values()), own, tasks_path)
    if task in shipped:
        return shipped[task]
    if task in own:
        return _read(own[task], _index("path", tasks_path), origin="path", tasks_path=tasks_path)
    known = declarations.scan_lm_eval()
    if task in known:
        return _read(known[task], known, origin="lm-eval")
    raise InputError(
        f"There is no task named '{task}'.{nearest(task, [*tasks(), *own, *known])} `harness tasks` lists those that"
        " ship; lm-eval's own go by their names there, and --tasks-path DIR brings others."
    )


def _profiled(
    task: str, profile: str, shipped: list[TaskInfo], own: Mapping[str, Entry], tasks_path: Path | None
) -> TaskInfo:
    found = [info for info in shipped if info.of == task]
    for entry in own.values():
        metadata = _metadata(declarations.load(entry.path)) if entry.path else {}
        if metadata.get("of") == task and "profile" in metadata:
            found.append(_read(entry, _index("path", tasks_path), origin="path", tasks_path=tasks_path))
    for info in found:
        if info.profile == profile:
            return info
    exist = sorted({info.profile for info in found} | {LM_EVAL})
    definition(task, LM_EVAL, tasks_path)
    raise InputError(f"The task '{task}' has no profile '{profile}'. It has: {', '.join(exist)}.")


def profiles(task: str, tasks_path: Path | None = None) -> list[str]:
    """Return the profiles that a task is defined under, lm-eval first."""
    found = [definition(task, tasks_path=tasks_path).profile]
    return found + sorted(info.profile for info in _shipped() if info.of == task and info.profile != LM_EVAL)


def index(info: TaskInfo) -> Mapping[str, Entry]:
    """Return the names that a definition may refer to, as lm-eval would have them."""
    return _index(info.origin, info.tasks_path)


def definition_digest(info: TaskInfo) -> str:
    """Return the digest of the files that define a task, under names that do not depend on where they lie."""
    roots = [layout.shipped("tasks"), layout.package(), declarations.lm_eval_tasks()]
    roots = [*([info.tasks_path.resolve()] if info.tasks_path else []), *(root.resolve() for root in roots)]
    named: dict[str, Path] = {}
    for path in definition_files(info):
        root = next((root for root in roots if path.is_relative_to(root)), path.parent)
        name = path.relative_to(root).as_posix()
        named[name if name not in named else f"{path.parent.name}/{name}#{len(named)}"] = path
    return files_digest(named)


def definition_files(info: TaskInfo) -> list[Path]:
    """Return the files that define a task and its members."""
    found: list[Path] = []
    for entry in declarations.members(info.name, index(info)):
        found += declarations.files(entry.path) if entry.path else []
    return list(dict.fromkeys(found))


def _folder(tasks_path: Path) -> Path:
    if not tasks_path.is_dir():
        raise InputError(f"--tasks-path {tasks_path} is no folder. Give the folder with the task YAML.")
    return tasks_path


def _index(origin: str, tasks_path: Path | None) -> Mapping[str, Entry]:
    if origin == "shipped":
        return declarations.scan(layout.shipped("tasks"))
    known = declarations.scan_lm_eval()
    return known if tasks_path is None or origin == "lm-eval" else {**known, **declarations.scan(_folder(tasks_path))}


def _shipped() -> list[TaskInfo]:
    known = _index("shipped", None)
    return [_read(entry, known, origin="shipped") for entry in known.values() if entry.path is not None]


def _read(entry: Entry, known: Mapping[str, Entry], *, origin: str, tasks_path: Path | None = None) -> TaskInfo:
    raw = declarations.load(entry.path) if entry.path else {}
    leaves = [settings for _, settings in declarations.leaves(entry.name, known)]
    if not leaves:
        raise InputError(f"{entry.path or entry.name}: the group '{entry.name}' has no tasks.")
    first, metadata = leaves[0], _metadata(raw)
    kind = str(first.get("output_type") or ("python class" if "class" in first else "generate_until"))
    primary, higher = _primary(raw, metadata, first, kind)
    shipped = origin == "shipped"
    hubs, files = ((), tuple(metadata.get("files", ()))) if shipped else _data(leaves, entry, metadata)
    path = entry.path or known[entry.members[0]].path
    assert path is not None
    return TaskInfo(
        name=entry.name,
        of=str(metadata.get("of", entry.name)),
        profile=str(metadata.get("profile", LM_EVAL)),
        origin=origin,
        tasks_path=tasks_path,
        title=str(metadata.get("title", raw.get("group_alias") or raw.get("task_alias") or entry.name)),
        primary=primary,
        higher_is_better=bool(metadata.get("higher_is_better", higher)),
        chance=float(metadata["chance"] if shipped else metadata.get("chance", 0.0)),
        kind=kind,
        shots=int(first.get("num_fewshot") or 0),
        subtasks=len(leaves),
        max_prompt=int(metadata.get("max_prompt_tokens", 0)),
        average=_average(raw, metadata, entry),
        source=metadata["source"] if shipped else ", ".join([*(f"hub {hub}" for hub in hubs), *files]) or "its code",
        hubs=hubs,
        files=files,
        clusters=metadata.get("clusters", "subtask"),
        executes=any(bool(leaf.get("unsafe_code")) for leaf in leaves),
        aspect=_aspect(metadata, entry),
        chat=_chat(metadata, kind, entry),
        judge=str(metadata.get("judge", "")),
        path=path,
    )


def _metadata(raw: Mapping[str, Any]) -> dict[str, Any]:
    found = raw.get("metadata")
    return found if isinstance(found, dict) else {}


def _primary(
    raw: Mapping[str, Any], metadata: Mapping[str, Any], leaf: Mapping[str, Any], kind: str
) -> tuple[str, bool]:
    """Return the metric that a task is compared by, its first if it names none, and whether more of that is better."""
    listed = [one for one in declarations.listed(leaf.get("metric_list")) if isinstance(one, dict) and "metric" in one]
    pooled = [one for one in declarations.listed(raw.get("aggregate_metric_list")) if isinstance(one, dict)]
    first = {_named(one["metric"]): one for one in reversed(listed)}
    usual = str(pooled[0]["metric"]) if pooled else next(reversed(first), _FIRST_METRIC.get(kind, "acc"))
    name = str(metadata.get("primary", usual))
    better = first.get(name, {}).get("higher_is_better", name not in _LOWER_IS_BETTER)
    return name, bool(better)


def _named(metric: Any) -> str:
    return str(metric).rpartition(".")[2] if isinstance(metric, Function) else str(metric)


def _average(raw: Mapping[str, Any], metadata: Mapping[str, Any], entry: Entry) -> str:
    pooled = [one for one in declarations.listed(raw.get("aggregate_metric_list")) if isinstance(one, dict)]
    unweighted = bool(pooled) and pooled[0].get("weight_by_size") is False
    average = str(metadata.get("average", "macro" if unweighted else "micro"))
    if average not in ("micro", "macro"):
        raise InputError(f"{entry.path}: 'metadata.average' is '{average}'; it is micro or macro.")
    return average


def _aspect(metadata: Mapping[str, Any], entry: Entry) -> Aspect:
    given = str(metadata.get("aspect", Aspect.CAPABILITY.value))
    if given not in list(Aspect):
        raise InputError(f"{entry.path}: 'metadata.aspect' is '{given}'; it is {' or '.join(Aspect)}.")
    return Aspect(given)


def _chat(metadata: Mapping[str, Any], kind: str, entry: Entry) -> bool:
    chat = metadata.get("chat", False)
    if not isinstance(chat, bool):
        raise InputError(f"{entry.path}: 'metadata.chat' is {chat!r}; it is true or false.")
    if (chat or metadata.get("judge")) and kind != "generate_until":
        raise InputError(
            f"{entry.path}: 'metadata.chat' and 'metadata.judge' are for tasks of the output type generate_until, and"
            f" this one is {kind}."
        )
    return chat


def _data(
    leaves: Iterable[Mapping[str, Any]], entry: Entry, metadata: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the hub datasets and the local files that the leaves name; relative files start where we run."""
    hubs: dict[str, None] = {}
    files: dict[str, None] = {}
    for name in metadata.get("files", ()):
        assert entry.path is not None
        files[str(entry.path.parent / name)] = None
    for leaf in leaves:
        place = leaf.get("dataset_path")
        if not isinstance(place, str) or "custom_dataset" in leaf:
            continue
        if place in _FILE_BUILDERS:
            for name in _names(leaf.get("dataset_kwargs")):
                (hubs if "://" in name else files).update(dict.fromkeys(_local(name)))
        elif Path(place).is_dir():
            files.update({str(path): None for path in sorted(Path(place).rglob("*")) if path.is_file()})
        else:
            hubs[place] = None
    return tuple(hubs), tuple(files)


def _names(options: Any) -> list[str]:
    given = options.get("data_files") if isinstance(options, dict) else None
    base = Path(str(options["data_dir"])) if isinstance(options, dict) and options.get("data_dir") else None
    values = list(given.values()) if isinstance(given, dict) else [given]
    names = [str(name) for value in values for name in declarations.listed(value)]
    if base is not None and not names:
        return [str(path) for path in sorted(base.rglob("*")) if path.is_file()]
    return [str(base / name) if base is not None and "://" not in name else name for name in names]


def _local(name: str) -> list[str]:
    """Return the files that a pattern names here, or the hub dataset that a hub address names."""
    if name.startswith("hf://datasets/"):
        return ["/".join(name.removeprefix("hf://datasets/").split("/")[:2]).partition("@")[0]]
    if "://" in name:
        return [name]
    found = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else [name]
    return [path for path in found if not Path(path).is_dir()]
