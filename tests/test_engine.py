"""The inference worker: swapped weights are really the new ones, and scores are what transformers computes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from harness import layout
from harness.data import pocket
from harness.evaluate.engine import Engine
from harness.store.files import read_jsonl, write_jsonl

REQUESTS = [
    {"item": "one-token", "kind": "choices", "context": "Two of them.\nAnswer:", "continuations": [" A", " B", " C"]},
    {"item": "longer", "kind": "choices", "context": "The sky over it is", "continuations": [" very blue", " not"]},
    {
        "item": "free",
        "kind": "generate",
        "context": "Q: Anna has 3 apples.",
        "until": ["\n"],
        "max_tokens": 12,
        "temperature": 0.0,
        "seed": None,
    },
]


def ask(engine: Engine, model: Path, folder: Path, requests: list[dict[str, Any]] = REQUESTS) -> list[dict[str, Any]]:
    write_jsonl(folder / "requests.jsonl", requests)
    engine.answer(
        model=model,
        requests=folder / "requests.jsonl",
        output=folder / "answers.jsonl",
        dtype="float32",
        max_length=512,
        shape=(),
        on_items=lambda done, total: None,
    )
    return list(read_jsonl(folder / "answers.jsonl"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    one = Engine(log=tmp_path / "engine.log")
    yield one
    one.stop()


def test_after_a_swap_the_engine_answers_with_the_new_weights_bit_for_bit_like_a_fresh_one(
    engine: Engine, tmp_path: Path
) -> None:
    models = [tmp_path / "a", tmp_path / "b"]
    for seed, model in enumerate(models):
        pocket.build_base(model, {"seed": seed})
    first = ask(engine, models[0], tmp_path)
    second = ask(engine, models[1], tmp_path)
    again = ask(engine, models[0], tmp_path)
    assert again == first
    assert second[0]["logprobs"] != first[0]["logprobs"]
    fresh = Engine(log=tmp_path / "fresh.log")
    try:
        assert ask(fresh, models[1], tmp_path) == second
    finally:
        fresh.stop()


def test_choice_scores_are_those_of_transformers_for_one_token_and_for_several(engine: Engine, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = tmp_path / "model"
    pocket.build_base(model, {"seed": 5})
    answers = ask(engine, model, tmp_path)
    reference, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    for request, answer in zip(REQUESTS[:2], answers[:2], strict=True):
        for text, given, greedy in zip(request["continuations"], answer["logprobs"], answer["greedy"], strict=True):
            context = tokenizer.encode(request["context"])
            whole = tokenizer.encode(request["context"] + text)
            with torch.inference_mode():
                table = torch.log_softmax(reference(torch.tensor([whole])).logits[0].float(), -1)
            places = range(len(context), len(whole))
            assert given == pytest.approx(sum(table[p - 1, whole[p]].item() for p in places), abs=1e-4)
            assert greedy == all(table[p - 1].argmax().item() == whole[p] for p in places)


def test_a_prompt_that_is_too_long_loses_its_start_and_is_counted(engine: Engine, tmp_path: Path) -> None:
    model = tmp_path / "model"
    pocket.build_base(model, {})
    long = REQUESTS[0] | {"context": "word " * 2000 + REQUESTS[0]["context"]}
    write_jsonl(tmp_path / "requests.jsonl", [long])
    facts = engine.answer(
        model=model,
        requests=tmp_path / "requests.jsonl",
        output=tmp_path / "answers.jsonl",
        dtype="float32",
        max_length=512,
        shape=(),
        on_items=lambda done, total: None,
    )
    assert facts["truncated_prompts"] == 1


def equality() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "lm_eval_equality.py"
    spec = importlib.util.spec_from_file_location("lm_eval_equality", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("task", "limit"),
    [("mmlu", 4), ("bbh", 2), ("humaneval", 2), ("drop", 3)]
    + [pytest.param(name, 200, marks=pytest.mark.slow) for name in ("mmlu", "bbh", "humaneval", "drop")],
)
def test_our_scores_of_smollm2_in_float32_are_those_of_lm_eval_item_by_item(
    task: str, limit: int, smollm2: Path, shared_data: Path, engine: Engine, tmp_path: Path
) -> None:
    one = equality().compare(
        task,
        model=smollm2,
        data=shared_data,
        limit=limit,
        max_new_tokens=24 if limit < 10 else 128,
        engine=engine,
        work=tmp_path,
        batch=2 if limit < 10 else 8,
    )
    assert one.items == min(limit, 164 if task == "humaneval" else limit)
    assert one.differing == []
    assert one.equal == one.items
    assert one.worst_logprob < 1e-3


STOCK = {
    "mmlu": ("mmlu/default/_default_template_yaml", "mmlu/mmlu.yaml"),
    "bbh": ("bbh/cot_fewshot/_cot_fewshot_template_yaml", "bbh/bbh.yaml"),
    "humaneval": ("humaneval/humaneval.yaml", "humaneval/humaneval.yaml"),
    "drop": ("drop/default.yaml", "drop/drop.yaml"),
}


@pytest.mark.parametrize("task", sorted(STOCK))
def test_prompts_stops_and_filters_are_those_that_lm_eval_ships(task: str) -> None:
    import lm_eval.tasks

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: "function")
    theirs_path = Path(lm_eval.tasks.__file__).parent / STOCK[task][0]
    theirs = yaml.load(theirs_path.read_text(), Loader=Loader)
    ours = yaml.load((layout.shipped("tasks") / STOCK[task][1]).read_text(), Loader=Loader)
    if task == "bbh":
        leaf = yaml.load((theirs_path.parent / "snarks.yaml").read_text(), Loader=Loader)
        theirs |= {"doc_to_text": leaf["doc_to_text"]}
    for key in (
        "doc_to_text",
        "doc_to_target",
        "doc_to_choice",
        "target_delimiter",
        "generation_kwargs",
        "output_type",
    ):
        assert ours.get(key) == theirs.get(key), key
    if task == "bbh":
        assert ours["filter_list"] == theirs["filter_list"]
