"""Item by item equal to lm-eval's own `simple_evaluate`: requests, scores and averages, for every kind of output."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lm_eval_tasks
import pytest

from harness.data import pocket
from harness.evaluate import answering, catalog, tasks
from harness.evaluate.engines import Engine, EngineName, Setting
from harness.evaluate.predictions import Predictions
from harness.evaluate.requests import Answer, Ask, Request

# gsm8k's own generation_kwargs, at a length that an untrained model fills in less than 20 s.
STOPS = ["Question:", "</s>", "<|im_end|>"]
SHORT = {"generation_kwargs": {"until": STOPS, "do_sample": False, "temperature": 0.0, "max_gen_toks": 12}}
# An untrained model gets no sum right; the log-likelihood itself differs from item to item.
LIKELIHOOD = {"metric_list": [{"metric": "perplexity"}, {"metric": "acc"}]}
CHANGES: dict[str, dict[str, Any]] = {"sums_in_words": SHORT, "plain_sums": LIKELIHOOD}


class Theirs:
    """lm-eval's hf model in float32 on pocket's untrained base, as `simple_evaluate` gets it and as we ask it.

    An untrained model never writes a number; so three of four answers of a generating task are written here, from the
    question alone, for both sides: right, wrong, or right but not where the strict pattern looks.
    """

    def __init__(self, folder: Path) -> None:
        from lm_eval.models.huggingface import HFLM

        class Scripted(HFLM):  # type: ignore[misc]  # lm-eval has no types
            def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
                return [self._written(one) for one in requests]

            def _written(self, one: Any) -> str:
                question = one.args[0].rpartition("Question:")[2]
                have, more = (int(word) for word in question.split() if word.isdigit())
                if more % 4 == 0:
                    [answer] = super().generate_until([one], disable_tqdm=True)
                    return str(answer)
                forms = (f"\n#### {have + more:,}", f"\n#### {have}", f"so it is {have + more}, I think")
                return forms[more % 3]

        self.model = Scripted(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1, max_length=1024)

    def answer(self, request: Request) -> Answer:
        from lm_eval.api.instance import Instance

        def asked(kind: str, arguments: tuple[Any, ...]) -> Any:
            return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)

        if request.kind is Ask.CHOICES:
            found = self.model.loglikelihood([asked("loglikelihood", pair) for pair in request.pairs])
            return Answer(logprobs=tuple(one[0] for one in found), greedy=tuple(one[1] for one in found))
        if request.kind is Ask.TEXT:
            [value] = self.model.loglikelihood_rolling([asked("loglikelihood_rolling", (request.context,))])
            return Answer(logprobs=(value,))
        how = {"until": list(request.until), "max_gen_toks": request.max_tokens, "do_sample": False, "temperature": 0.0}
        [text] = self.model.generate_until([asked("generate_until", (request.context, how))])
        return Answer(text=text)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    folder = tmp_path_factory.mktemp("base")
    pocket.build_base(folder, {"seed": 5, "layers": 2})
    return Theirs(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tasks")
    for name in lm_eval_tasks.TASKS:
        lm_eval_tasks.declare(found, name, **CHANGES.get(name, {}))
    return found


def evaluated(
    name: str, folder: Path, model: Any, **settings: Any
) -> tuple[dict[str, float], dict[tuple[int, str], dict[str, Any]]]:
    """Return lm-eval's averages, and its samples by document and filter."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    result = lm_eval.simple_evaluate(
        model=model,
        tasks=[name],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        **settings,
    )
    assert result is not None
    return result["results"][name], {(one["doc_id"], one["filter"]): one for one in result["samples"][name]}


def asked(request: Request) -> list[tuple[Any, ...]]:
    """Return a request as lm-eval logs it."""
    if request.kind is Ask.CHOICES:
        return list(request.pairs)
    if request.kind is Ask.TEXT:
        return [(request.context,)]
    return [(request.context, list(request.until), request.max_tokens, request.temperature)]


def logged(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(arguments[-1], dict):
        how = arguments[1]
        return arguments[0], how["until"], how.get("max_gen_toks", 256), how["temperature"]
    return tuple(arguments)


def plain(metrics: Mapping[str, Any], filters: list[str], name: str) -> Iterator[tuple[str, float]]:
    """Yield lm-eval's metrics of one item and filter under our names."""
    for metric in metrics["metrics"]:
        ours = metric if name == filters[0] else f"{metric},{name}"
        value = metrics[metric]
        if isinstance(value, tuple):
            yield from ((ours, float(value[0])), (f"{ours}.weight", float(value[1])))
        else:
            yield ours, float(value)


@pytest.mark.parametrize("name", lm_eval_tasks.TASKS)
def test_requests_scores_and_averages_are_those_of_simple_evaluate(name: str, folder: Path, theirs: Theirs) -> None:
    info = catalog.definition(name, tasks_path=folder)
    assert info.origin == "path"
    items = list(tasks.items(info, data_dir=None, limit=0, max_new_tokens=0))
    averages, samples = evaluated(name, folder, theirs.model)
    filters = list(dict.fromkeys(by for _, by in samples))
    assert len(samples) == len(items) * len(filters)
    answers = {item.item: [theirs.answer(request) for request in item.requests] for item in items}
    rows = [item.to_row() for item in items]
    scored = tasks.scores(info, data_dir=None, rows=rows, answers=answers)
    for item in items:
        expected: dict[str, float] = {}
        for by in filters:
            sample = samples[item.doc_id, by]
            assert asked(item.requests[0]) == [logged(one) for one in sample["arguments"]]
            expected |= dict(plain(sample, filters, by))
        assert {metric: v for metric, v in scored[item.item].items() if "unextracted" not in metric} == expected
    assert len({scored[item.item][info.primary] for item in items}) > 1, "the items must differ, or nothing is shown"
    found = tasks.aggregate(info, rows, scored)
    for by in filters:
        for key, value in averages.items():
            if key.endswith(f",{by}") and "stderr" not in key and isinstance(value, float):
                assert found[key.removesuffix(f",{filters[0]}")] == pytest.approx(value, rel=1e-12)


def test_a_task_that_does_not_say_how_long_its_answers_are_gets_lm_evals_length(
    tmp_path: Path,
) -> None:
    lm_eval_tasks.declare(tmp_path, "sums_in_words")
    [item] = tasks.items(
        catalog.definition("sums_in_words", tasks_path=tmp_path), data_dir=None, limit=1, max_new_tokens=0
    )
    assert item.requests[0].until == tuple(STOPS)
    assert (item.requests[0].max_tokens, item.requests[0].temperature, item.shots) == (256, 0.0, 5)


def test_answers_in_which_a_pattern_finds_nothing_are_counted_for_each_filter(folder: Path) -> None:
    info = catalog.definition("sums_in_words", tasks_path=folder)
    rows = [item.to_row() for item in tasks.items(info, data_dir=None, limit=3, max_new_tokens=0)]
    given = [Answer(text="#### 7"), Answer(text="it is 7 I think"), Answer(text="")]
    answers = {row["item"]: [one] for row, one in zip(rows, given, strict=True)}
    scored = tasks.scores(info, data_dir=None, rows=rows, answers=answers)
    assert [scored[row["item"]]["unextracted"] for row in rows] == [0.0, 1.0, 1.0]
    assert [scored[row["item"]]["unextracted,flexible-extract"] for row in rows] == [0.0, 0.0, 1.0]
    assert tasks.aggregate(info, rows, scored)["unextracted"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["sums_in_words", "gaps"])
def test_an_item_with_fewer_shots_keeps_the_first_ones_of_its_whole_prompt(name: str, tmp_path: Path) -> None:
    """gsm8k's sampler draws anew for every item, so the last one depends on all draws before it."""
    lm_eval_tasks.declare(tmp_path, name, num_fewshot=2 if name == "gaps" else 5)
    info = catalog.definition(name, tasks_path=tmp_path)
    items = list(tasks.items(info, data_dir=None, limit=0, max_new_tokens=9))
    item = items[-1]

    def fewer(shots: int) -> tasks.Item:
        [one] = tasks.rendered(info, [item.to_row()], data_dir=None, max_new_tokens=9, shots=[shots])
        return one

    assert fewer(item.shots) == item
    shorter = fewer(item.shots - 1)
    assert shorter.shots == item.shots - 1
    assert (shorter.item, shorter.doc) == (item.item, item.doc)
    whole, short = item.requests[0].contexts[0], shorter.requests[0].contexts[0]
    *shots, question = whole.split("\n\n")
    assert short == "\n\n".join([*shots[:-1], question])
    assert fewer(0).requests[0].contexts[0] == question


@pytest.mark.parametrize("name", ["sums_in_words", "gaps"])
def test_items_that_lose_shots_together_are_those_that_lose_them_alone(name: str, tmp_path: Path) -> None:
    lm_eval_tasks.declare(tmp_path, name, num_fewshot=2)
    info = catalog.definition(name, tasks_path=tmp_path)
    rows = [item.to_row() for item in tasks.items(info, data_dir=None, limit=0, max_new_tokens=9)]
    shots = [place % 2 for place in range(len(rows))]
    together = list(tasks.rendered(info, rows, data_dir=None, max_new_tokens=9, shots=shots))
    for row, count in zip(rows, shots, strict=True):
        [alone] = tasks.rendered(info, [row], data_dir=None, max_new_tokens=9, shots=[count])
        assert alone in together
    assert len(together) == len(rows) > 2


class Plain(Theirs):
    """The same model without anything written for it: what an engine has to equal."""

    def __init__(self, folder: Path) -> None:
        from lm_eval.models.huggingface import HFLM

        self.folder = folder
        self.model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=1, max_length=1024)


@pytest.fixture(scope="module")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder = tmp_path_factory.mktemp("plain")
    pocket.build_base(folder, {"seed": 5, "layers": 2})
    return Plain(folder)


@pytest.mark.parametrize("engine_name", list(EngineName)[:2])
def test_what_an_engine_answers_scores_as_simple_evaluate_does_on_tasks_of_lm_evals_own(
    engine_name: EngineName, folder: Path, plain_model: Plain, tmp_path: Path
) -> None:
    engine = Engine(log=tmp_path / "log")
    how = Setting(name=engine_name, dtype="float32", max_length=1024)
    try:
        for name in lm_eval_tasks.TASKS:
            info = catalog.definition(name, tasks_path=folder)
            items = list(tasks.items(info, data_dir=None, limit=0, max_new_tokens=0))
            told = answering.ask(
                [request for item in items for request in item.requests],
                model=plain_model.folder,
                shelf=Predictions(tmp_path).shelf({"task": name}, room=how.max_length),
                engine=engine.bound(how, shape=()),
            )
            given = {item.item: [told.answers[request.key] for request in item.requests] for item in items}
            scored = tasks.scores(info, data_dir=None, rows=[item.to_row() for item in items], answers=given)
            _, samples = evaluated(name, folder, plain_model.model)
            filters = list(dict.fromkeys(by for _, by in samples))
            for item in items:
                expected = {
                    metric: value for by in filters for metric, value in plain(samples[item.doc_id, by], filters, by)
                }
                own = {metric: value for metric, value in scored[item.item].items() if "unextracted" not in metric}
                assert own == pytest.approx(expected, rel=1e-5, abs=1e-5), item.item
    finally:
        engine.stop()
    assert engine.starts == 1


@pytest.mark.parametrize("form", ["zeroshot", "cot_zeroshot"])
def test_bbh_without_shots_scores_as_simple_evaluate_does(
    form: str, shared_data: Path, plain_model: Plain, tmp_path: Path
) -> None:
    rows = (shared_data / "bbh" / "boolean_expressions.jsonl").read_text().splitlines()[:6]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    name = f"boolean_expressions_{form}_local"
    lm_eval_folder = Path(importlib.util.find_spec("lm_eval").submodule_search_locations[0])  # type: ignore[union-attr, index]
    (tmp_path / "task.yaml").write_text(
        f"include: {lm_eval_folder}/tasks/bbh/{form}/boolean_expressions.yaml\ntask: {name}\ndataset_path: json\n"
        f"dataset_name: null\ndataset_kwargs: {{data_files: {{test: {tmp_path}/rows.jsonl}}}}\n"
    )
    info = catalog.definition(name, tasks_path=tmp_path)
    items = list(tasks.items(info, data_dir=None, limit=0, max_new_tokens=24))
    assert [item.shots for item in items] == [0] * 6
    _, samples = evaluated(name, tmp_path, plain_model.model, gen_kwargs={"max_gen_toks": 24})
    engine = Engine(log=tmp_path / "log")
    try:
        told = answering.ask(
            [request for item in items for request in item.requests],
            model=plain_model.folder,
            shelf=Predictions(tmp_path).shelf({}, room=1024),
            engine=engine.bound(Setting(name=EngineName.TRANSFORMERS, dtype="float32", max_length=1024), shape=()),
        )
    finally:
        engine.stop()
    given = {item.item: [told.answers[request.key] for request in item.requests] for item in items}
    scored = tasks.scores(info, data_dir=None, rows=[item.to_row() for item in items], answers=given)
    filters = list(dict.fromkeys(by for _, by in samples))
    for item in items:
        [[theirs]] = {tuple(samples[item.doc_id, by]["resps"][0]) for by in filters}
        assert given[item.item][0].text == theirs
        expected = {metric: v for by in filters for metric, v in plain(samples[item.doc_id, by], filters, by)}
        assert {metric: v for metric, v in scored[item.item].items() if "unextracted" not in metric} == expected
