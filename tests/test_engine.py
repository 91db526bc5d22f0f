"""The engines: swapped weights are really the new ones, and scores are what transformers computes."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from harness import layout
from harness.data import pocket
from harness.errors import InputError, WorkerError
from harness.evaluate import answering
from harness.evaluate.engines import Engine, EngineName, Setting
from harness.evaluate.predictions import Predictions
from harness.evaluate.requests import Answer, Ask, Request

ONE_TOKEN = Request(item="one", kind=Ask.CHOICES, contexts=("Two of them.\nAnswer:",), continuations=(" A", " B", " C"))
LONGER = Request(
    item="longer", kind=Ask.CHOICES, contexts=("The sky over it is",), continuations=(" very blue", " not", " a b c")
)
CONTEXTS = Request(
    item="contexts", kind=Ask.CHOICES, contexts=("Anna has", "They have"), continuations=(" 3 apples.", " 3 apples.")
)
TEXT = Request(item="text", kind=Ask.TEXT, contexts=("The sky over it is blue and green.",))
FREE = Request(item="free", kind=Ask.GENERATE, contexts=("Q: Anna has 3 apples.",), until=("\n",), max_tokens=12)
DRAWN = Request(
    item="drawn", kind=Ask.GENERATE, contexts=("Q: Anna has",), max_tokens=12, temperature=1.0, top_p=0.9, seed=7
)
REQUESTS = [ONE_TOKEN, LONGER, CONTEXTS, TEXT, FREE, DRAWN]


def setting(name: EngineName = EngineName.VLLM, dtype: str = "float32") -> Setting:
    return Setting(name=name, dtype=dtype, max_length=512)


def ask(engine: Engine, model: Path, how: Setting | None = None, requests: list[Request] = REQUESTS) -> list[Answer]:
    """Ask without a store between: every call is answered by the engine."""
    bound = engine.bound(how or setting(), shape={})
    told = {request.key: answer for request, answer in bound.answers(model, iter([requests]))}
    return [told[request.key] for request in requests]


def base(folder: Path, seed: int, *, tied: bool = False) -> Path:
    """Return a small model with random weights, other ones for every seed."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    pocket.build_base(folder, {"seed": seed})
    if tied:
        torch.manual_seed(seed)
        config = AutoConfig.from_pretrained(folder)
        config.tie_word_embeddings = True
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    one = Engine(log=tmp_path / "engine.log")
    yield one
    one.stop()


@pytest.mark.parametrize(("dtype", "tied"), [("float32", False), ("bfloat16", True)])
def test_after_a_swap_the_engine_answers_with_the_new_weights_bit_for_bit_like_a_fresh_one(
    dtype: str, tied: bool, engine: Engine, tmp_path: Path
) -> None:
    models = [base(tmp_path / name, seed, tied=tied) for seed, name in enumerate("ab")]
    how = setting(dtype=dtype)
    first, second, again = (ask(engine, model, how) for model in (*models, models[0]))
    assert again == first
    assert second[0].logprobs != first[0].logprobs
    assert engine.starts == 1
    assert engine.facts["proof"].startswith("compared: ")
    fresh = Engine(log=tmp_path / "fresh.log")
    try:
        assert ask(fresh, models[1], how) == second
    finally:
        fresh.stop()


NAIVE = """
    import sys
    from pathlib import Path
    from harness.evaluate.engines import proof
    from harness.evaluate.engines.vllm_backend import Vllm, _Comparison, _repack_head

    old, new = sys.argv[1:]
    backend = Vllm(dtype="bfloat16", max_length=256)
    backend.use(old)
    backend._llm.collective_rpc("reload_weights", kwargs={"weights_path": new})
    try:
        backend._llm.apply_model(_Comparison(new))
    except proof.Unproved as reason:
        print("naive:", reason)
    backend._llm.apply_model(_repack_head)
    print("mended:", backend._llm.apply_model(_Comparison(new)))
    try:
        backend._llm.apply_model(_Comparison(old))
    except proof.Unproved as reason:
        print("other folder:", reason)
"""


def test_the_proof_finds_the_old_weights_that_a_plain_reload_leaves_in_a_tied_output_head(tmp_path: Path) -> None:
    from harness.evaluate import engines

    models = [str(base(tmp_path / name, seed, tied=True)) for seed, name in enumerate("ab")]
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(NAIVE), *models],
        capture_output=True,
        text=True,
        env={**os.environ, **engines._ENVIRONMENT, **engines._CPU},
        check=False,
    )
    said = dict(line.split(": ", 1) for line in ran.stdout.splitlines() if ": " in line)
    assert said["naive"] == "lm_head.weight, as the layer computes with it, differs from the folder's", ran.stderr[
        -2000:
    ]
    assert said["mended"].strip("[]").isdigit()
    assert "differs" in said["other folder"]


@pytest.mark.parametrize("name", [EngineName.VLLM, EngineName.TRANSFORMERS])
def test_scores_are_those_of_a_plain_forward_pass(name: EngineName, engine: Engine, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = base(tmp_path / "model", 5)
    answers = ask(engine, model, setting(name))
    reference, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)

    def logprobs(ids: list[int], begin: int) -> tuple[float, bool]:
        with torch.inference_mode():
            table = torch.log_softmax(reference(torch.tensor([ids])).logits[0].float(), -1)
        places = range(begin, len(ids))
        return (
            sum(table[place - 1, ids[place]].item() for place in places),
            all(table[place - 1].argmax().item() == ids[place] for place in places),
        )

    for request, answer in zip(REQUESTS[:3], answers[:3], strict=True):
        for (context, text), given, greedy in zip(request.pairs, answer.logprobs, answer.greedy, strict=True):
            expected, likeliest = logprobs(tokenizer.encode(context + text), len(tokenizer.encode(context)))
            assert given == pytest.approx(expected, abs=1e-4)
            assert greedy == likeliest
    ids = [tokenizer.eos_token_id, *tokenizer.encode(TEXT.context)]
    assert answers[3].logprobs[0] == pytest.approx(logprobs(ids, 1)[0], abs=1e-4)
    assert answers[3].counts == (len(ids) - 1,)
    made = tokenizer.encode(FREE.context)
    for token in answers[4].tokens:
        with torch.inference_mode():
            assert reference(torch.tensor([made])).logits[0, -1].argmax().item() == token
        made.append(token)


@pytest.mark.parametrize("name", [EngineName.VLLM, EngineName.TRANSFORMERS])
def test_a_drawn_answer_depends_on_its_seed_and_not_on_its_company(
    name: EngineName, engine: Engine, tmp_path: Path
) -> None:
    model = base(tmp_path / "model", 5)
    alone = ask(engine, model, setting(name), [DRAWN])[0]
    among = ask(engine, model, setting(name), [*REQUESTS])[-1]
    other = ask(engine, model, setting(name), [replace(DRAWN, seed=8)])[0]
    assert alone == among
    assert other.tokens != alone.tokens


def test_a_prompt_that_is_too_long_is_not_asked_and_not_cut(engine: Engine, tmp_path: Path) -> None:
    model = base(tmp_path / "model", 0)
    long = Request(item="long", kind=Ask.CHOICES, contexts=("word " * 2000,), continuations=(" A", " B"))
    told = answering.ask(
        [long, ONE_TOKEN],
        model=model,
        shelf=Predictions(tmp_path / "p").shelf({}, room=512),
        engine=engine.bound(setting(EngineName.TRANSFORMERS), shape={}),
    )
    assert told.answers[long.key].too_long > 2000
    assert told.answers[long.key].logprobs == ()
    assert Predictions(tmp_path / "p").shelf({}, room=512).find([long, ONE_TOKEN]).keys() == {ONE_TOKEN.key}


def many(count: int) -> list[Request]:
    return [
        Request(item=str(n), kind=Ask.GENERATE, contexts=(f"Q: {n}",), max_tokens=40, temperature=1.0, seed=n)
        for n in range(count)
    ]


def kill(engine: Engine) -> None:
    assert engine._worker is not None
    os.kill(engine._worker._processes[0].pid, signal.SIGKILL)


def test_an_engine_that_dies_in_the_middle_is_started_again_once_and_no_answer_is_missing_or_double(
    engine: Engine, tmp_path: Path
) -> None:
    model, requests = base(tmp_path / "model", 0), many(80)
    bound = engine.bound(setting(EngineName.TRANSFORMERS), shape={})
    heard: list[tuple[Request, Answer]] = []
    for pair in bound.answers(model, iter([requests[:40], requests[40:]])):
        heard.append(pair)
        if len(heard) == 5:
            kill(engine)
    assert engine.starts == 2
    assert sorted(request.key for request, _ in heard) == sorted(request.key for request in requests)
    undisturbed = dict(zip((r.key for r in requests), ask(engine, model, bound.setting, requests), strict=True))
    assert {request.key: answer for request, answer in heard} == undisturbed


def test_an_engine_that_dies_twice_is_an_error_that_quotes_its_log(engine: Engine, tmp_path: Path) -> None:
    bound = engine.bound(setting(EngineName.TRANSFORMERS), shape={})
    with pytest.raises(WorkerError, match=r"engine\.log"):
        any(kill(engine) for _ in bound.answers(base(tmp_path / "model", 0), iter([many(80)])))


def test_what_is_wrong_with_a_request_is_said_as_an_error_of_input(engine: Engine, tmp_path: Path) -> None:
    empty = Request(item="task/7", kind=Ask.CHOICES, contexts=("A",), continuations=("",))
    with pytest.raises(InputError, match="task/7"):
        ask(engine, base(tmp_path / "model", 0), setting(EngineName.TRANSFORMERS), [empty])


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


def test_answers_that_nobody_waits_for_are_not_given_to_the_next_who_asks(engine: Engine, tmp_path: Path) -> None:
    """Such as after Ctrl-C or a full disk, in a program that goes on."""
    model = base(tmp_path / "model", 0)
    bound = engine.bound(setting(EngineName.TRANSFORMERS), shape={})
    given = bound.answers(model, iter([many(64)]))
    next(given)
    given.close()  # type: ignore[attr-defined]
    assert [request for request, _ in bound.answers(model, iter([[ONE_TOKEN]]))] == [ONE_TOKEN]
