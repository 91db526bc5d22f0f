"""The transformers engine computes what lm-eval's hf model computes, whatever else is asked beside it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data import pocket
from harness.errors import InputError, WorkerError
from harness.evaluate.engines import forest
from harness.evaluate.engines.transformers_backend import TransformersBackend, draw
from harness.evaluate.requests import Answer, Ask, Request

SHOTS = "The following are questions.\n\n" + "".join(
    f"Question: what is {n} and {n + 1}?\nAnswer: {2 * n + 1}\n\n" for n in range(12)
)
LIMIT = 256


def choices(item: str, context: str, *texts: str) -> Request:
    return Request(item=item, kind=Ask.CHOICES, contexts=(context,), continuations=texts)


def generation(item: str, context: str, **fields: Any) -> Request:
    return Request(item=item, kind=Ask.GENERATE, contexts=(context,), **{"max_tokens": 10, **fields})


def questions() -> list[Request]:
    words = ["Anna", "apple", "river", "seven", "blue", "the cat", "Zoe", "music"]
    draws = random.Random(7)
    letters = [
        choices(
            f"letters-{n}", f"{SHOTS}Question: {' '.join(draws.sample(words, 3))}?\nAnswer:", " A", " B", " C", " D"
        )
        for n in range(6)
    ]
    longer = [
        choices(
            f"longer-{n}", f"{SHOTS}Then {' '.join(draws.sample(words, 2))} was", " very blue", " not", " at home, it"
        )
        for n in range(4)
    ]
    other = [
        choices("short", "Two of them.\nAnswer: ", "A", "B"),
        choices("empty", "", "The sky", " is blue"),
        choices("beginning", "Two", " of", " of them.\nAnswer: not here"),
        Request(item="contexts", kind=Ask.CHOICES, contexts=("He is", "She is"), continuations=(" blue", " blue")),
    ]
    texts = [
        Request(item="text", kind=Ask.TEXT, contexts=("The sky over it is very blue. " * 3,)),
        Request(item="long text", kind=Ask.TEXT, contexts=(SHOTS * 3,)),
    ]
    return letters + longer + other + texts


def texts() -> list[Request]:
    return [
        generation("greedy", "Q: Anna has 3 apples."),
        generation("stopped", "Q: Anna has 3 apples.", until=("o",), max_tokens=20),
        generation("shots", SHOTS + "Question: what is 5?", until=("\n\n",)),
        generation("other shots", SHOTS + "Question: who is Zoe?", max_tokens=33),
        generation("sampled", "Q: Anna", temperature=1.0, seed=3, max_tokens=20),
        generation("again", "Q: Anna", temperature=1.0, seed=4, max_tokens=20, top_p=0.9),
        generation("top", "Q: Anna", temperature=0.7, seed=4, max_tokens=20, top_k=40),
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    pocket.build_base(folder, {"seed": 5})
    return folder


@pytest.fixture(scope="module")
def backend(model: Path) -> TransformersBackend:
    one = TransformersBackend(dtype="float32", max_length=LIMIT, device="cpu")
    one.use(str(model))
    return one


def ask(backend: TransformersBackend, requests: Iterable[Request]) -> dict[str, Answer]:
    for one in requests:
        backend.submit(one.item, one)
    answers: dict[str, Answer] = {}
    while backend.pending:
        for key, answer in backend.step():
            assert key not in answers
            answers[key] = answer
    return answers


def assert_close(one: Answer, other: Answer, within: float = 1e-5) -> None:
    assert one.logprobs == pytest.approx(other.logprobs, abs=within * max(1, sum(one.counts)) ** 0.5)
    for name in ("greedy", "counts", "text", "tokens", "finish", "too_long"):
        assert getattr(one, name) == getattr(other, name), name


@pytest.fixture(scope="module")
def lm_eval_hf(model: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=3, max_length=LIMIT)


def test_log_probabilities_are_those_of_lm_eval_hf_item_by_item(backend: TransformersBackend, lm_eval_hf: Any) -> None:
    from lm_eval.api.instance import Instance

    asked = questions()
    answers = ask(backend, asked)
    for one in asked:
        kind = "loglikelihood_rolling" if one.kind is Ask.TEXT else "loglikelihood"
        arguments: list[Any] = [(one.context,)] if one.kind is Ask.TEXT else one.pairs
        instances = [Instance(kind, {}, argument, place) for place, argument in enumerate(arguments)]
        theirs = getattr(lm_eval_hf, kind)(instances, disable_tqdm=True)
        if one.kind is Ask.TEXT:
            assert answers[one.item].logprobs[0] == pytest.approx(theirs[0], rel=1e-6, abs=1e-4)
            continue
        assert answers[one.item].logprobs == pytest.approx([score for score, _ in theirs], abs=1e-4), one.item
        assert list(answers[one.item].greedy) == [greedy for _, greedy in theirs]


def test_greedy_texts_are_those_of_lm_eval_hf(backend: TransformersBackend, lm_eval_hf: Any) -> None:
    from lm_eval.api.instance import Instance

    asked = [one for one in texts() if not one.temperature]
    answers = ask(backend, asked)
    for one in asked:
        how = {"until": list(one.until), "max_gen_toks": one.max_tokens, "do_sample": False}
        [theirs] = lm_eval_hf.generate_until([Instance("generate_until", {}, (one.context, how), 0)], disable_tqdm=True)
        assert answers[one.item].text == theirs, one.item


def test_an_answer_does_not_depend_on_what_else_is_asked(backend: TransformersBackend) -> None:
    asked = questions() + texts()
    together = ask(backend, asked)
    random.Random(1).shuffle(asked)
    for one in asked:
        assert_close(ask(backend, [one])[one.item], together[one.item])


@pytest.mark.parametrize(("stride", "room", "wide"), [(32, 1 << 30, 32), (1024, 1 << 20, 3), (100, 1 << 30, 1)])
def test_an_answer_does_not_depend_on_how_much_is_computed_at_once(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch, stride: int, room: int, wide: int
) -> None:
    asked = questions() + texts()
    wanted = ask(backend, asked)
    monkeypatch.setattr(backend, "_stride", stride)
    monkeypatch.setattr(backend, "_room", room)
    monkeypatch.setattr(backend, "_texts", wide)
    for item, answer in ask(backend, asked).items():
        assert_close(answer, wanted[item])


def test_a_model_whose_sequences_cannot_be_packed_gives_the_same_answers_one_by_one(
    backend: TransformersBackend, model: Path
) -> None:
    asked = questions() + texts()
    alone = TransformersBackend(dtype="float32", max_length=LIMIT, device="cpu")
    alone.use(str(model))
    assert alone._model is not None
    alone._model.shares = False
    wanted = ask(backend, asked)
    for item, answer in ask(alone, asked).items():
        assert_close(answer, wanted[item])


@pytest.mark.parametrize(
    ("name", "shares", "settings"),
    [
        ("GPT2", True, {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 1200}),
        ("Qwen3", True, {}),
        ("Gemma3Text", False, {"sliding_window": 16}),
        ("Mistral", False, {"sliding_window": 16}),
    ],
)
def test_other_architectures_answer_as_their_own_plain_forward_pass(
    model: Path, tmp_path: Path, name: str, shares: bool, settings: dict[str, Any]
) -> None:
    import shutil

    import torch
    import transformers

    library: Any = transformers
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 7, "num_attention_heads": 2}
    more = {"num_key_value_heads": 1, "head_dim": 16, "vocab_size": 1200, "max_position_embeddings": 512}
    config = getattr(library, f"{name}Config")(**(settings if name == "GPT2" else sizes | more | settings))
    torch.manual_seed(1)
    names = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}
    one = getattr(library, names.get(name, f"{name}ForCausalLM"))(config).eval()
    one.save_pretrained(tmp_path)
    for path in model.glob("token*"):
        shutil.copy(path, tmp_path)
    backend = TransformersBackend(dtype="float32", max_length=LIMIT, device="cpu")
    assert backend.use(str(tmp_path))["shares_prefixes"] is shares
    asked = [request for request in questions() if request.item.startswith(("longer", "letters-1"))]
    answers = ask(backend, [*asked, generation("made", SHOTS, max_tokens=8), generation("beside", "Zoe", max_tokens=8)])
    tokenizer = library.AutoTokenizer.from_pretrained(model)
    with torch.inference_mode():
        for request in asked:
            context = tokenizer.encode(request.context)
            for text, given in zip(request.continuations, answers[request.item].logprobs, strict=True):
                whole = tokenizer.encode(request.context + text)
                table = torch.log_softmax(one(torch.tensor([whole])).logits[0], -1)
                places = range(len(context), len(whole))
                assert given == pytest.approx(sum(table[p - 1, whole[p]].item() for p in places), abs=1e-4)
        ids, made = tokenizer.encode(SHOTS), []
        for _ in range(8):
            made.append(int(one(torch.tensor([ids + made])).logits[0, -1].argmax()))
    assert list(answers["made"].tokens) == made[: len(answers["made"].tokens)]


def test_after_other_weights_the_answers_are_the_new_ones_and_nothing_cached_is_left(
    backend: TransformersBackend, model: Path, tmp_path: Path
) -> None:
    pocket.build_base(tmp_path, {"seed": 6})
    asked = questions()[:4]
    first = ask(backend, asked)
    backend.use(str(tmp_path))
    second = ask(backend, asked)
    fresh = TransformersBackend(dtype="float32", max_length=LIMIT, device="cpu")
    fresh.use(str(tmp_path))
    assert ask(fresh, asked) == second
    assert second["letters-0"].logprobs != first["letters-0"].logprobs
    backend.use(str(model))
    assert ask(backend, asked) == first


def test_a_beginning_that_requests_share_is_computed_once(
    backend: TransformersBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend._model is not None
    fed: list[int] = []
    forward = backend._model.model.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        fed.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(backend._model.model, "forward", counted)
    shots = len(backend._model.tokenizer.encode(SHOTS))
    asked = [one for one in questions() if one.item.startswith("letters")]
    ask(backend, asked)
    assert sum(fed) < shots + len(asked) * 20
    fed.clear()
    monkeypatch.setattr(backend, "_stride", 8)
    ask(backend, asked)
    assert sum(fed) < shots + len(asked) * 20, "also across batches"


def test_a_prompt_that_is_too_long_is_answered_so_and_not_cut(backend: TransformersBackend) -> None:
    answers = ask(backend, [choices("long", SHOTS * 3, " A", " B"), generation("text", SHOTS * 3)])
    assert answers["long"].too_long > LIMIT
    assert answers["long"].logprobs == ()
    assert answers["text"].too_long > LIMIT


def test_a_sampled_request_without_a_seed_is_refused(backend: TransformersBackend) -> None:
    with pytest.raises(InputError, match="seed"):
        backend.submit("one", generation("one", "Q:", temperature=1.0))


def test_an_end_token_ends_a_text_and_is_no_part_of_it(backend: TransformersBackend, monkeypatch: Any) -> None:
    made = ask(backend, [generation("one", "Q: Anna has", max_tokens=6)])["one"]
    assert backend._model is not None
    monkeypatch.setattr(backend._model.model.generation_config, "eos_token_id", [made.tokens[0]])
    ended = ask(backend, [generation("one", "Q: Anna has", max_tokens=6)])["one"]
    assert (ended.tokens, ended.text, ended.finish) == ((), "", "end")


def test_a_model_that_computes_no_numbers_gives_no_answers(model: Path) -> None:
    backend = TransformersBackend(dtype="float32", max_length=LIMIT, device="cpu")
    backend.use(str(model))
    assert backend._model is not None
    backend._model.model.model.norm.weight.data[3] = float("nan")
    for one in (questions()[0], texts()[0]):
        backend.submit(one.item, one)
        with pytest.raises(WorkerError, match="not numbers"):
            backend.step()
        backend._forget()


def test_a_folder_without_some_of_its_weights_is_refused(model: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(model, tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights.pop("model.layers.1.self_attn.q_proj.weight")
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    backend = TransformersBackend(dtype="float32", max_length=LIMIT, device="cpu")
    with pytest.raises(InputError, match="q_proj"):
        backend.use(str(tmp_path / "model"))


def test_draws_follow_temperature_top_k_and_top_p() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05]))

    def share(**fields: Any) -> list[float]:
        generator = np.random.Generator(np.random.PCG64(1))
        one = generation("one", "", **{"temperature": 1.0, "seed": 1, **fields})
        drawn = np.bincount([draw(logits, one, generator) for _ in range(4000)], minlength=4)
        return list(drawn / 4000)

    assert share() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert share(top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert share(top_p=0.79) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert share(top_p=0.81) == pytest.approx([0.526, 0.316, 0.158, 0], abs=0.03)
    flat = np.array([0.5, 0.3, 0.15, 0.05]) ** 0.5
    assert share(temperature=2.0) == pytest.approx(list(flat / flat.sum()), abs=0.03)


def test_packed_tokens_see_their_own_sequence_and_nothing_else() -> None:
    rows = [[1, 2, 3, 4], [1, 2, 3, 5, 6], [1, 2, 3, 5, 6], [1, 2, 7], [8]]
    sequences = sorted((np.array(row, np.int64) for row in rows), key=lambda ids: forest.order(ids))
    packed = forest.pack(np.array([1, 2], np.int64), sequences[:-1])
    everything = np.concatenate([[1, 2], packed.ids])
    for begin, end in [(0, len(packed.ids)), (1, 3), (2, 4)]:
        mask = packed.mask(begin, end)
        for sequence, path in zip(sequences, packed.paths, strict=False):
            assert everything[path].tolist() == sequence.tolist()
            for place in path:
                if begin <= place - 2 < end:
                    seen = np.flatnonzero(mask[place - 2 - begin])
                    assert seen.tolist() == path[: list(path).index(place) + 1].tolist()
