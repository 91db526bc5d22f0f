"""Metrics of items from their answers, and their averages, by lm-eval's filters, metrics and aggregations.

Owns how a metric that is no single number is kept, and the counting of answers from which nothing could be extracted.
Does not render prompts: lm-eval's filters and metrics see a document and its responses alone. Invariant: an item's
metrics depend on its document and its answers only, so a part of a task scores as the whole does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.evaluate.catalog import TaskInfo
from harness.evaluate.requests import Answer
from harness.evaluate.tasks.items import by_leaf, documents_of, require_unchanged
from harness.evaluate.tasks.loading import Leaf, aggregations, instance, leaves

UNEXTRACTED = "unextracted"
_WEIGHT = ".weight"


def scores(
    info: TaskInfo,
    *,
    data_dir: Path | None,
    rows: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Sequence[Answer]],
    pass_at: Sequence[int] = (),
    on_filtered: Callable[[tuple[str, str], str], object] = lambda place, text: None,
) -> dict[str, dict[str, float]]:
    """Return every item's metrics from its stored answers, by lm-eval's filters and metrics.

    Of several filters the first one that has a metric gives it its plain name; of the others it is called
    "metric,filter", as lm-eval does. A weighted value (perplexity) is `metric` and `metric.weight`; a metric whose
    items are tuples (f1 of a corpus: gold and prediction) is `metric.0`, `metric.1`, ...; see `aggregate`. A value that
    is no finite number for an item is absent there. Where a filter extracts by a pattern, `unextracted` is the share of
    the item's responses that it found nothing in.

    Args:
        rows: the items as stored: item, doc_id, and doc, the digest of the whole document.
        answers: by item, one per sample.
        pass_at: values of k in place of those that a metric of the task names under `k`; empty = the task's own.
        on_filtered: called with ((item, filter), text) for every text that a filter left of an answer.

    Raises:
        InputError: a document changed, or lm-eval's code fails on an answer; names the item.
    """
    results: dict[str, dict[str, float]] = {}
    asked = by_leaf(rows)
    for leaf in leaves(info, data_dir):
        if leaf.name in asked:
            results.update(_leaf_scores(leaf, asked[leaf.name], answers, pass_at, on_filtered))
    return results


def _leaf_scores(
    leaf: Leaf,
    rows: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Sequence[Answer]],
    pass_at: Sequence[int],
    on_filtered: Callable[[tuple[str, str], str], object],
) -> dict[str, dict[str, float]]:
    task = leaf.load()
    for options in getattr(task, "_metric_fn_kwargs", {}).values() if pass_at else ():
        if "k" in options:
            options["k"] = list(pass_at)
    documents = documents_of(leaf, task)
    by_item: dict[str, list[Any]] = {}
    for row in rows:
        document = documents[row["doc_id"]]
        require_unchanged(leaf.info, row, document)
        by_item[row["item"]] = _answered(task, document, row, answers[row["item"]])
    task._instances = [one for instances in by_item.values() for one in instances]
    with leaf.steady("be filtered"):
        task.apply_filters()
    hows = task.aggregation()
    fallbacks = dict(_fallbacks(task))
    results: dict[str, dict[str, float]] = {item: {} for item in by_item}
    taken: set[str] = set()
    for name in task._instances[0].filtered_resps:
        found: dict[str, dict[str, float]] = {}
        for item, instances in by_item.items():
            given = [one.filtered_resps[name] for one in instances]
            if len(given) == 1 and isinstance(given[0], str):
                on_filtered((item, name), given[0])
            with leaf.steady(f"score the answer to '{item}'"):
                metrics = task.process_results(instances[0].doc, given)
            own: dict[str, float] = {}
            for metric, value in metrics.items():
                own |= _kept(leaf, str(metric), value, hows.get(metric))
            if name in fallbacks:
                own.setdefault(UNEXTRACTED, _share(given[0], fallbacks[name]))
            found[item] = own
        for item, own in found.items():
            results[item] |= {f"{metric},{name}" if metric in taken else metric: own[metric] for metric in own}
        taken |= {metric for own in found.values() for metric in own}
    return results


def _answered(task: Any, document: Any, row: Mapping[str, Any], answers: Sequence[Answer]) -> list[Any]:
    """Return lm-eval's instances of one item, with the responses of all its samples."""
    if not answers or any(answer.too_long for answer in answers):
        raise InputError(f"Item '{row['item']}' has no answer that could be scored.")
    kind = task.OUTPUT_TYPE
    return [
        instance(
            request_type="loglikelihood" if kind == "multiple_choice" else kind,
            doc=document,
            arguments=(),
            idx=place,
            metadata=(task.config.task, row["doc_id"], len(answers)),
            resps=[_response(kind, answer, place) for answer in answers],
        )
        for place in range(len(answers[0].logprobs) if kind in ("multiple_choice", "loglikelihood") else 1)
    ]


def _response(kind: str, answer: Answer, place: int) -> Any:
    if kind == "generate_until":
        return answer.text
    if kind == "loglikelihood_rolling":
        return answer.logprobs[0]
    return answer.logprobs[place], answer.greedy[place]


def _fallbacks(task: Any) -> Iterator[tuple[str, Any]]:
    """Yield (filter, what it gives where its pattern is not found)."""
    for ensemble in getattr(task, "_filters", ()):
        for build in ensemble.filters:
            one = build()
            if hasattr(one, "regex_pattern") and hasattr(one, "fallback"):
                yield ensemble.name, one.fallback


def _share(response: Any, fallback: Any) -> float:
    if isinstance(response, (list, tuple)) and response != fallback:
        return sum(one == fallback for one in response) / len(response) if response else 1.0
    return float(response == fallback)


def _kept(leaf: Leaf, metric: str, value: Any, how: Callable[[list[Any]], Any] | None) -> dict[str, float]:
    """Return how one metric of an item is stored."""
    if _number(value):
        return {metric: float(value)} if math.isfinite(value) else {}
    named = getattr(how, "__name__", "")
    if isinstance(value, (tuple, list)) and all(_number(part) for part in value):
        if not all(math.isfinite(part) for part in value):
            return {}
        if named in ("weighted_perplexity", "bits_per_byte"):
            return {metric: float(value[0]), metric + _WEIGHT: float(value[1])}
        return {f"{metric}.{place}": float(part) for place, part in enumerate(value)}
    if how is not None and named == "brier_score":
        return {metric: float(how([value]))}
    if isinstance(value, (tuple, list)) and named in ("bleu", "chrf", "chrfpp", "ter"):
        return {}
    raise InputError(
        f"Task '{leaf.name}' gives '{metric}' of an item as a {type(value).__name__}, which is not supported: a metric"
        " is a number, or a tuple of numbers. Score it with a process_results of your own (--tasks-path)."
    )


def _number(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) or (hasattr(value, "dtype") and getattr(value, "shape", None) == ())


def aggregate(
    info: TaskInfo, rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Return the metrics of the whole task: lm-eval's aggregation in every subtask, then their mean by `info.average`.

    A micro average weighs a subtask by its scored items, as lm-eval's groups do. A subtask without a metric takes no
    part in it, nor has the task a metric whose value is no finite number. Corpus metrics of texts (bleu, chrf, ter) are
    not among them: no item has them.

    Args:
        rows: the items as stored.
        scores: as `scores` gave them.
    """
    totals: dict[str, list[tuple[int, float]]] = {}
    asked = by_leaf(rows)
    for leaf in leaves(info, None):
        own = [scores[row["item"]] for row in asked.get(leaf.name, [])]
        if not own:
            continue
        hows = aggregations(leaf)
        for metric, values in _columns(own).items():
            how = hows.get(metric.partition(",")[0], _mean)
            how = _mean if getattr(how, "__name__", "") == "brier_score" else how
            with leaf.steady(f"average '{metric}'"):
                totals.setdefault(metric, []).append((len(own), float(how(values))))
    whole = {metric: _averaged(found, info.average) for metric, found in totals.items()}
    return {metric: value for metric, value in whole.items() if math.isfinite(value)}


def _columns(items: Sequence[Mapping[str, float]]) -> dict[str, list[Any]]:
    """Return each metric's values over the items that have it, in lm-eval's own form: weights and tuples rejoined."""
    found: dict[str, list[Any]] = {}
    for item in items:
        for metric, value in item.items():
            base, _, part = metric.partition(",")[0].rpartition(".")
            after = metric[len(f"{base}.{part}") :] if base else ""
            if base and part.isdigit():
                if part == "0":
                    parts = [item[f"{base}.{k}{after}"] for k in range(len(item)) if f"{base}.{k}{after}" in item]
                    found.setdefault(base + after, []).append(tuple(int(x) if x.is_integer() else x for x in parts))
            elif not metric.partition(",")[0].endswith(_WEIGHT):
                name, comma, by = metric.partition(",")
                weight = item.get(f"{name}{_WEIGHT}{comma}{by}")
                found.setdefault(metric, []).append(value if weight is None else (value, weight))
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _averaged(found: Sequence[tuple[int, float]], average: str) -> float:
    if average == "macro":
        return _mean([value for _, value in found])
    return sum(size * value for size, value in found) / sum(size for size, _ in found)
