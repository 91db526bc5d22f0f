"""The leaves of a task, built by lm-eval one at a time.

Owns every import of lm_eval, what of a task is refused before its data is read, and the words for what goes wrong
inside lm-eval. Does not choose items. Invariant: a leaf is built by lm-eval's own factory from the files that
`catalog` counts into the definition, with the seeds of its `simple_evaluate`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, InputError
from harness.evaluate import catalog, declarations
from harness.evaluate.catalog import TaskInfo
from harness.evaluate.declarations import Entry, Function, Kind

# Of `lm_eval.simple_evaluate`: for code of tasks that draws from a global generator, and for shots.
_PYTHON_SEED, _NUMPY_SEED, _SHOTS_SEED = 0, 1234, 1234
# Metrics that exist for a whole corpus of texts alone, and one that is no number at all.
_TEXT_METRICS = {"bleu", "chrf", "chrf++", "ter", "bypass"}
LOADING = "be loaded"
_KINDS = ("multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until")


class Leaf:
    """One leaf of a task; its data is read by `load`.

    Code that draws from Python's or numpy's global generator (many `process_docs` shuffle choices) sees lm-eval's
    seeds, in the order load, documents, prompts, whatever else the process draws: use it inside `steady`.
    """

    def __init__(self, deferred: _Deferred, info: TaskInfo) -> None:
        self.name = deferred.task_name
        self.info = info
        self.settings = deferred.settings
        self._build = deferred.build
        self._generators: tuple[Any, Any] | None = None
        self._loaded: tuple[Any, Any] | None = None

    @property
    def subtask(self) -> str:
        """Its name without that of its group."""
        return self.name.rpartition("::")[2]

    def load(self) -> Any:
        """Return lm-eval's task, its data read.

        Raises:
            InputError: lm-eval cannot build it: no such data on this machine or the hub, a fault in its files.
        """
        self._generators = None
        with self.steady(LOADING):
            task = self._build()
            for reason in _unsupported(task):
                raise InputError(f"Task '{self.name}' {reason}, which is not supported.")
            task.set_fewshot_seed(_SHOTS_SEED)
        self._loaded = self._generators
        return task

    def rewind(self) -> None:
        """Let code of the task draw from the global generators as if it had just been loaded."""
        self._generators = self._loaded

    @contextlib.contextmanager
    def steady(self, aim: str) -> Iterator[None]:
        """Run code of the task: global generators as lm-eval seeds them, silent, faults as an InputError."""
        import numpy as np

        outside = random.getstate(), np.random.get_state()
        if self._generators is None:
            random.seed(_PYTHON_SEED)
            np.random.seed(_NUMPY_SEED)
        else:
            random.setstate(self._generators[0])
            np.random.set_state(self._generators[1])
        try:
            with quiet():
                yield
        except HarnessError:
            raise
        except Exception as error:
            raise InputError(self._fault(error, aim)) from error
        finally:
            self._generators = random.getstate(), np.random.get_state()
            random.setstate(outside[0])
            np.random.set_state(outside[1])

    def _fault(self, error: Exception, aim: str) -> str:
        said = f"{type(error).__name__}: {_first_line(error)}"
        if aim == LOADING and (isinstance(error, ConnectionError) or type(error).__name__ == "DatasetNotFoundError"):
            return (
                f"Task '{self.name}' ({self.info.source}) could not fetch its data from the hub ({said})."
                " Without the hub, write a YAML that includes the task's own with `dataset_path: json` and"
                " `dataset_kwargs: {data_files: ...}`, and give its folder: --tasks-path DIR."
            )
        if isinstance(error, ImportError):
            return f"Task '{self.name}' ({self.info.path}) needs a package or helper that is missing ({said})."
        return f"Task '{self.name}' ({self.info.path}) cannot {aim} by lm-eval ({said})."


def leaves(info: TaskInfo, data_dir: Path | None) -> list[Leaf]:
    """Return the leaves of a task, without their data.

    Raises:
        InputError: a task that needs what is not supported; says what.
    """
    index = catalog.index(info)
    for name, settings in declarations.leaves(info.name, index):
        for reason in _refused(settings):
            raise InputError(f"Task '{name}' {reason}")
    metadata = {"data_dir": str(data_dir) if data_dir else None} if info.origin == "shipped" or data_dir else {}
    _compile_templates_once()
    with quiet():
        found = _Factory.of(metadata, info).leaves(declarations.members(info.name, index))
    unusual = [leaf.name for leaf in found if "/" in leaf.name]
    if unusual:
        raise InputError(f"Task '{unusual[0]}' has a slash in its name, which separates task and item. Rename it.")
    return found


def _refused(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a leaf cannot be asked or scored, as far as its YAML says."""
    kind = settings.get("output_type", "generate_until")
    if "class" not in settings and kind not in _KINDS:
        yield f"has the output type '{kind}', which is not supported: {', '.join(_KINDS)} are."
    for key in ("doc_to_image", "doc_to_audio"):
        if settings.get(key):
            yield f"shows images or sounds ('{key}'), which is not supported: models are asked in text."
    if settings.get("unsafe_code") and not any(name.startswith("harness.") for name in _named(settings)):
        yield (
            "executes what a model writes, outside of the sandbox, which is not supported. Ask a task whose metric is"
            " harness.evaluate.programs.pass_at_1 (see tasks/humaneval/humaneval.yaml) instead."
        )
    metrics = [one.get("metric") for one in declarations.listed(settings.get("metric_list")) if isinstance(one, dict)]
    if metrics and not settings.get("process_results") and all(metric in _TEXT_METRICS for metric in metrics):
        yield (
            f"is scored by {', '.join(map(str, metrics))} alone, which no single item has: arms cannot be compared"
            " item by item. Give it a metric of items through a YAML under --tasks-path."
        )


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, Function):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _named(inner)


def _unsupported(task: Any) -> Iterator[str]:
    """Yield why a built task cannot be asked; for tasks that are Python classes, whose YAML says little."""
    if task.OUTPUT_TYPE not in _KINDS:
        yield f"has the output type '{task.OUTPUT_TYPE}'"
    if getattr(task, "MULTIMODAL", False):
        yield "shows images or sounds"
    if not (task.has_test_docs() or task.has_validation_docs()):
        yield "has neither test nor validation documents"


class _Factory:
    """lm-eval's factory, made to put off the building of leaves: 57 subjects at once do not fit the memory."""

    def __init__(self, inner: Any, info: TaskInfo) -> None:
        self._inner, self._info = inner, info

    @classmethod
    def of(cls, metadata: Mapping[str, Any], info: TaskInfo) -> _Factory:
        return cls(_deferring()(meta=dict(metadata)), info)

    def leaves(self, entries: Iterable[Entry]) -> list[Leaf]:
        from lm_eval.tasks._index import Entry as Known
        from lm_eval.tasks._index import Kind as Shape

        shapes = {Kind.TASK: Shape.TASK, Kind.CLASS: Shape.PY_TASK, Kind.GROUP: Shape.GROUP, Kind.TAG: Shape.TAG}
        registry = {
            entry.name: Known(name=entry.name, kind=shapes[entry.kind], yaml_path=entry.path, tags=set(entry.members))
            for entry in entries
        }
        try:
            built = self._inner.build(registry[self._info.name], overrides=None, registry=registry)
        except (KeyError, TypeError, ValueError, ImportError, AttributeError, OSError) as error:
            raise InputError(
                f"Task '{self._info.name}' ({self._info.path}) cannot be read by lm-eval"
                f" ({type(error).__name__}: {_first_line(error)})."
            ) from error
        found = {one.task_name: Leaf(one, self._info) for one in _flat(built)}
        return list(found.values())


def _flat(built: Any) -> Iterator[Any]:
    if hasattr(built, "task_name"):
        yield built
    else:
        for one in built:
            yield from _flat(one)


class _Deferred:
    """A leaf that its group may hold in place of the task itself."""

    def __init__(self, task_name: str, build: Callable[[], Any], settings: Callable[[], Mapping[str, Any]]) -> None:
        self.task_name, self.build, self.settings = task_name, build, settings


@functools.cache
def _deferring() -> Any:
    """Return a subclass of lm-eval's factory; a function, because the base class is imported here alone."""
    with quiet():
        from lm_eval.tasks._factory import TaskFactory
        from lm_eval.tasks._index import Entry, Kind

    class Deferring(TaskFactory):  # type: ignore[misc]  # lm-eval has no types
        def _build_task(self, entry: Any, overrides: dict[str, Any] | None) -> _Deferred:
            return _Deferred(
                (overrides or {}).get("task", entry.name),
                lambda: super(Deferring, self)._build_task(entry, overrides),
                lambda: self._load_full_config(entry, overrides),
            )

        def _build_group_members(
            self, member_list: list[Any], group_name: str, overrides: Any, registry: dict[str, Any]
        ) -> Any:
            """Give leaves that are written into the group a name first: lm-eval builds nameless ones at once."""
            named = []
            for member in member_list:
                one = {"task": member} if isinstance(member, str) else member
                if "group" not in one and one["task"] not in registry:
                    name = f"{group_name}::{one['task']}"
                    registry[name] = Entry(name=name, kind=Kind.TASK, yaml_path=None, cfg={"task": name})
                    member = {**one, "task": name}
                named.append(member)
            return super()._build_group_members(named, group_name, overrides, registry)

        def _load_full_config(self, entry: Any, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
            settings: dict[str, Any] = super()._load_full_config(entry, overrides)
            if entry.yaml_path is None:
                del settings["metadata"]["config_source"]
            return settings

    return Deferring


def aggregations(leaf: Leaf) -> Mapping[str, Callable[[list[Any]], float]]:
    """Return lm-eval's aggregation of every metric of a leaf, from its settings alone where they tell.

    As `ConfigurableTask.__init__`: the YAML's own, else that of the metric's registration.
    """
    with quiet():
        from lm_eval.api import metrics as _registered  # noqa: F401  # registers what is looked up below
        from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY, get_aggregation, get_metric_aggregation

    settings = leaf.settings()
    if "class" in settings:
        return dict(leaf.load().aggregation())
    listed = settings.get("metric_list")
    if listed is None:
        return {name: get_metric_aggregation(name) for name in DEFAULT_METRIC_REGISTRY[kind_of(settings)]}
    found = {}
    for one in listed:
        metric, how = one["metric"], one.get("aggregation")
        name = metric.__name__ if callable(metric) else metric
        found[name] = get_metric_aggregation(name) if how is None else how if callable(how) else get_aggregation(how)
    return found


def kind_of(settings: Mapping[str, Any]) -> str:
    """Return the output type of a leaf's settings, lm-eval's default where they do not say."""
    return str(settings.get("output_type") or "generate_until")


def instance(**given: Any) -> Any:
    """Return lm-eval's Instance: one request of an item, which carries its responses through the filters."""
    from lm_eval.api.instance import Instance

    return Instance(**given)


def generation(settings: Mapping[str, Any], default_tokens: int) -> dict[str, Any]:
    """Return generation settings as lm-eval's models see them: until, max_gen_toks, do_sample, temperature, ..."""
    from lm_eval.models.utils import normalize_gen_kwargs

    with quiet():
        return dict(normalize_gen_kwargs(dict(settings), default_tokens))


@functools.cache
def _compile_templates_once() -> None:
    """Keep compiled templates: lm-eval compiles each one anew for every use, 97 % of the time that prompts take."""
    with quiet():
        from lm_eval import utils

    utils.env.from_string = functools.lru_cache(maxsize=1024)(utils.env.from_string)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence lm-eval's and datasets' own progress bars and log lines; errors still come through."""
    for name in ("lm_eval", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with open(os.devnull, "w") as sink, contextlib.redirect_stderr(sink):
        yield


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else ""
