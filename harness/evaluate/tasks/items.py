"""Items of a task with their prompts, and the texts of their documents.

Owns the selection of items, their ids and clusters, and the shots of prompts that do not fit. Does not score.
Invariant: an item and its prompt do not depend on the limit: a larger one only adds items.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.canonical import digest
from harness.errors import InputError
from harness.evaluate.catalog import TaskInfo
from harness.evaluate.requests import Request
from harness.evaluate.tasks.asking import Asking, requests_of
from harness.evaluate.tasks.loading import Leaf, leaves

_ID_COLUMNS = ("item_id", "task_id", "query_id", "id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question: where it stands, who it is, and what an engine is asked.

    Attributes:
        item: its name: leaf and own id, independent of the limit.
        task: name of the definition.
        subtask: its leaf, without the name of the group.
        cluster: what items share beyond chance: their passage, else their subtask (Miller, arXiv 2411.00640).
        doc_id: place among the leaf's documents.
        doc: digest of the whole document, gold answer included.
        requests: one per sample.
        prompt: digest of the texts that the model reads, equal for all samples.
        shots: examples in the prompt.
    """

    item: str
    task: str
    subtask: str
    cluster: str
    doc_id: int
    doc: str
    requests: tuple[Request, ...]
    prompt: str
    shots: int

    def to_row(self) -> dict[str, Any]:
        """Return what is stored of an item: all but its requests."""
        names = ("item", "task", "subtask", "cluster", "doc_id", "doc", "prompt", "shots")
        return {name: getattr(self, name) for name in names}


def items(
    info: TaskInfo,
    *,
    data_dir: Path | None,
    limit: int,
    max_new_tokens: int,
    samples: int = 1,
    temperature: float | None = None,
    sampling_seed: int = 0,
) -> Iterator[Item]:
    """Yield the items of a task, in order of subtask and document; one subtask is in memory at a time.

    Args:
        data_dir: folder with benchmark files; None = the hub.
        limit: items over all subtasks, spread evenly; the first documents of each; 0 = all.
        max_new_tokens: cap below the task's own maximum; 0 = none.
        samples: answers per item where texts are generated; 1 = as many as the task's own `repeats`.
        temperature: of generated texts in place of the task's own; None = the task's own.
        sampling_seed: of sampled answers; an answer's seed comes from it, the task, the item and the sample.

    Raises:
        InputError: lm-eval cannot load the task, or it needs something unsupported; names it.
    """
    asking = Asking(
        max_new_tokens=max_new_tokens, samples=samples, temperature=temperature, sampling_seed=sampling_seed
    )
    found = leaves(info, data_dir)
    alone = len(found) == 1 or info.clusters == "item"
    for leaf, task, count in _chosen(found, limit):
        seen: dict[str, int] = {}
        for doc_id, instances in _built(leaf, task, count).items():
            identity = _identity(instances[0].doc)
            seen[identity] = seen.get(identity, 0) + 1
            suffix = f"#{seen[identity]}" if seen[identity] > 1 else ""
            yield _item(leaf, task, f"{leaf.name}/{identity}{suffix}", doc_id, instances, asking, alone=alone)


def rendered(
    info: TaskInfo,
    rows: Sequence[Mapping[str, Any]],
    *,
    data_dir: Path | None,
    max_new_tokens: int,
    shots: Sequence[int],
    samples: int = 1,
    temperature: float | None = None,
    sampling_seed: int = 0,
) -> Iterator[Item]:
    """Yield items with fewer shots, by subtask, for prompts that do not fit a model; a subtask is loaded once.

    The last shots go first, as in InstructEval (`mmlu.py:147-150` lowers k): the k shots that stay are the first k of
    the whole prompt, whatever drew them.

    Args:
        rows: the items as stored: item, doc_id, and doc, the digest of the whole document.
        shots: how many stay, one number per row.
    """
    asking = Asking(
        max_new_tokens=max_new_tokens, samples=samples, temperature=temperature, sampling_seed=sampling_seed
    )
    found = leaves(info, data_dir)
    alone = len(found) == 1 or info.clusters == "item"
    wanted, kept = by_leaf(rows), {str(row["item"]): count for row, count in zip(rows, shots, strict=True)}
    for leaf in found:
        task: Any = None
        for row in wanted.get(leaf.name, ()):
            name, doc_id = str(row["item"]), int(row["doc_id"])
            # Shots that are drawn depend on all draws before: such a task is built from its start every time.
            if task is None or not _forgets(task):
                task = leaf.load()
                sampler = getattr(task, "sampler", None)
            leaf.rewind()
            own = task.config.num_fewshot or 0
            if not 0 <= kept[name] <= own:
                raise InputError(f"Item '{name}' has {own} shots; it cannot be asked with {kept[name]}.")
            if own:
                task.sampler = _Fewer(sampler, kept[name])
            instances = _built(leaf, task, doc_id + 1, only=doc_id)[doc_id]
            require_unchanged(info, row, instances[0].doc)
            yield _item(leaf, task, name, doc_id, instances, asking, alone=alone, shots=kept[name])


class _Fewer:
    """A sampler of shots that draws as before and gives the first of them."""

    def __init__(self, inner: Any, shots: int) -> None:
        self._inner, self._shots = inner, shots

    def sample(self, n: int, **options: Any) -> Sequence[Any]:
        drawn: Sequence[Any] = self._inner.sample(n=n, **options)
        return drawn[: self._shots]


def texts(info: TaskInfo, *, data_dir: Path | None, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (item, text) for every string of the items' documents: question, options, passage, answer.

    Without the shots of the prompt, and without columns in which all documents of a subtask are equal: the description
    of a subtask (11 of BBH's 27 have 13 words or more) is no item's own.

    Args:
        rows: the items as stored: item, doc_id, and doc, the digest of the whole document.
    """
    asked = by_leaf(rows)
    for leaf in leaves(info, data_dir):
        if leaf.name not in asked:
            continue
        documents = list(documents_of(leaf, leaf.load()))
        shared = {key for key in documents[0] if _equal(key, documents)}
        for row in asked[leaf.name]:
            document = documents[row["doc_id"]]
            require_unchanged(info, row, document)
            for text in _strings({key: value for key, value in document.items() if key not in shared}):
                yield row["item"], text


def by_leaf(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return stored items by the name of their leaf."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(str(row["item"]).partition("/")[0], []).append(row)
    return found


def documents_of(leaf: Leaf, task: Any) -> Any:
    """Return the documents that lm-eval would ask, as it reads them for prompts: once more after loading."""
    with leaf.steady("read its documents"):
        return task.eval_docs


def require_unchanged(info: TaskInfo, row: Mapping[str, Any], document: Any) -> None:
    """Refuse a document that is not the one whose prompt was rendered."""
    if _digest(document) != row["doc"]:
        raise InputError(
            f"Item '{row['item']}' of task '{info.name}' is not what it was when its prompt was rendered: the"
            " benchmark changed underneath. Run the command again."
        )


def shares(sizes: Sequence[int], limit: int) -> list[int]:
    """Return how many items of each subtask are used: as even as the sizes allow, earlier ones first."""
    if limit == 0 or limit >= sum(sizes):
        return list(sizes)
    taken = [0] * len(sizes)
    left = limit
    while left:
        for place, size in enumerate(sizes):
            if left and taken[place] < size:
                taken[place] += 1
                left -= 1
    return taken


def _chosen(found: Sequence[Leaf], limit: int) -> Iterator[tuple[Leaf, Any, int]]:
    """Yield each leaf that is asked, its task and the number of its items; all at once only where a limit is shared."""
    if limit == 0:
        for leaf in found:
            task = leaf.load()
            yield leaf, task, len(task.task_docs)
        return
    loaded = [leaf.load() for leaf in found]
    for leaf, task, count in zip(found, loaded, shares([len(task.task_docs) for task in loaded], limit), strict=True):
        if count:
            yield leaf, task, count


def _built(leaf: Leaf, task: Any, count: int, *, only: int | None = None) -> dict[int, list[Any]]:
    """Return lm-eval's requests of the first documents by document; `only` one, with the shots that it would have."""
    with leaf.steady("be rendered"):
        chosen = None
        if only is not None and _forgets(task):
            chosen = [only]
        task.build_all_requests(samples=chosen, limit=None if chosen else count, rank=0, world_size=1)
    found: dict[int, list[Any]] = {}
    for instance in task.instances:
        found.setdefault(only if chosen and only is not None else instance.doc_id, []).append(instance)
    task._instances = None
    return found


def _forgets(task: Any) -> bool:
    """Whether the shots of a document do not depend on those of earlier ones: there are none, or always the first."""
    sampler = getattr(task, "sampler", None)
    inner = getattr(sampler, "_inner", sampler)
    return not task.config.num_fewshot or type(inner).__name__ == "FirstNSampler"


def _item(
    leaf: Leaf,
    task: Any,
    name: str,
    doc_id: int,
    instances: Sequence[Any],
    asking: Asking,
    *,
    alone: bool,
    shots: int | None = None,
) -> Item:
    requests = requests_of(leaf, task, name, instances, asking)
    own = 0 if task.OUTPUT_TYPE == "loglikelihood_rolling" else task.config.num_fewshot or 0
    doc = instances[0].doc
    return Item(
        item=name,
        task=leaf.info.name,
        subtask=leaf.subtask,
        cluster=_cluster(doc, leaf, alone=alone, item=name),
        doc_id=doc_id,
        doc=_digest(doc),
        requests=requests,
        prompt=requests[0].prompt,
        shots=own if shots is None else shots,
    )


def _identity(doc: Any) -> str:
    if isinstance(doc, Mapping):
        for column in _ID_COLUMNS:
            if isinstance(doc.get(column), str):
                return str(doc[column])
    return _digest(doc)[:16]


def _digest(doc: Any) -> str:
    """Return the digest of a document, gold answer included."""
    return digest("item", _plain(doc))


def _cluster(doc: Any, leaf: Leaf, *, alone: bool, item: str) -> str:
    if isinstance(doc, Mapping) and isinstance(doc.get("passage"), str):
        return digest("passage", doc["passage"])[:16]
    return item if alone else leaf.subtask


def _plain(value: Any) -> Any:
    """Return a document's value in forms that have a digest."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return {"float": repr(value)}
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal)):
        return {type(value).__name__: str(value)}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value


def _equal(column: str, documents: Sequence[Mapping[str, Any]]) -> bool:
    """Whether several documents have one value."""
    return len(documents) > 1 and all(document[column] == documents[0][column] for document in documents[1:])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(inner)
