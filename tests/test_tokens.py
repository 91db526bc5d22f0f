"""Splitting into tokens is lm-eval's, item by item; nothing is cut off; invalid bytes do not stop a run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import pocket
from harness.errors import InputError
from harness.evaluate.engines import tokens
from harness.evaluate.requests import Answer, Ask, Request
from harness.evaluate.texts import cut


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("model")
    pocket.build_base(folder, {"seed": 5})
    return AutoTokenizer.from_pretrained(folder)


class Bytes:
    """A tokenizer of bytes with a BOS of its own, as Llama's has: 256 = BOS, 257 = end."""

    bos_token, eos_token, bos_token_id, eos_token_id = "<s>", "</s>", 256, 257
    all_special_tokens = ("<s>", "</s>")

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        begin = [256] if add_special_tokens else []
        while text.startswith("<s>"):
            begin, text = [*begin, 256], text[3:]
        return [*begin, *text.encode("utf-8", "surrogatepass")]

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return bytes(one for one in ids if one < 256).decode("utf-8", "replace")

    def convert_tokens_to_ids(self, token: str) -> int:
        return {"<s>": 256, "</s>": 257}[token]

    def __len__(self) -> int:
        return 258


def lm_eval_model(tokenizer: Any) -> Any:
    """Return lm-eval's own splitting over a tokenizer, without a model."""
    from lm_eval.models.huggingface import HFLM

    class Splitter(HFLM):  # type: ignore[misc]
        def __init__(self) -> None:
            self.tokenizer, self.custom_prefix_token_id, self.add_bos_token = tokenizer, None, None
            self.enable_thinking = False

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> Any:
            return [(context, continuation) for _, context, continuation in requests]

    return Splitter()


@pytest.mark.parametrize(
    ("context", "continuation"),
    [
        ("Two of them.\nAnswer:", " A"),
        ("Two of them.\nAnswer: ", "A"),
        ("The sky over it is", " very blue"),
        ("over", "lap"),
        ("<|endoftext|>Question", " one"),
        ("", "The answer"),
        ("Ein Café,  ", "naïve"),
    ],
)
def test_a_pair_is_split_as_lm_eval_splits_it(tokenizer: Any, context: str, continuation: str) -> None:
    from lm_eval.api.instance import Instance

    instance = Instance("loglikelihood", {}, (context, continuation), 0)
    [wanted] = lm_eval_model(tokenizer).loglikelihood([instance], disable_tqdm=True)
    assert tokens.encode_pair(tokenizer, context, continuation) == tuple(wanted)


@settings(max_examples=60, deadline=None)
@given(context=st.text("ab <>s.\n", max_size=12), continuation=st.text("ab \n", min_size=1, max_size=8))
def test_any_pair_is_split_as_lm_eval_splits_it_also_by_a_tokenizer_with_its_own_bos(
    context: str, continuation: str
) -> None:
    from lm_eval.api.instance import Instance

    class Named(Bytes):
        def decode(self, ids: Any, **_: Any) -> str:  # lm-eval asks what the prefix token looks like
            return "<s>" if ids == 256 else super().decode(ids, skip_special_tokens=True)

    if context and not context.strip():
        return  # lm-eval stops with an assertion
    instance = Instance("loglikelihood", {}, (context, continuation), 0)
    [wanted] = lm_eval_model(Named()).loglikelihood([instance], disable_tqdm=True)
    assert tokens.encode_pair(Named(), context, continuation) == tuple(wanted)


def test_a_prompt_that_brings_its_own_bos_gets_no_second_one() -> None:
    assert tokens.encode(Bytes(), "a") == [256, 97]
    assert tokens.encode(Bytes(), "<s>a") == [256, 97]


@given(length=st.integers(0, 70), size=st.integers(1, 20))
def test_windows_over_a_long_text_are_those_of_lm_eval(length: int, size: int) -> None:
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    ids = list(range(100, 100 + length))
    wanted = [make_disjoint_window(pair) for pair in get_rolling_token_windows(ids, 7, size, 1)]
    assert list(tokens.rolling_windows(ids, 7, size)) == wanted
    assert [one for _, scored in wanted for one in scored] == ids


def request(**fields: Any) -> Request:
    return Request(**{"item": "one", "kind": Ask.CHOICES, "contexts": ("ab",), "continuations": ("c", "d"), **fields})


def test_choices_of_one_token_after_one_context_are_recognised() -> None:
    def one_token(**fields: Any) -> bool:
        encoded = tokens.encode_request(Bytes(), request(**fields), 100)
        assert isinstance(encoded, tokens.Encoded)
        return encoded.one_token

    assert one_token()
    assert not one_token(continuations=("c", "dd"))
    assert not one_token(contexts=("ab", "ac"))
    assert not one_token(contexts=("ab ",)), "the space moves to the choice, which then has two tokens"


def test_what_leaves_no_room_for_its_answer_is_not_asked_and_nothing_is_cut_off() -> None:
    prompt = {"kind": Ask.GENERATE, "continuations": (), "contexts": ("abcd",), "max_tokens": 3}
    assert tokens.encode_request(Bytes(), request(**prompt), 8) == tokens.Encoded(prompt=(256, 97, 98, 99, 100))
    assert tokens.encode_request(Bytes(), request(**prompt), 7) == Answer(too_long=5)
    assert isinstance(tokens.encode_request(Bytes(), request(), 4), tokens.Encoded)
    assert tokens.encode_request(Bytes(), request(), 3) == Answer(too_long=4)
    assert isinstance(tokens.encode_request(Bytes(), request(continuations=("c", "de")), 6), tokens.Encoded)
    assert tokens.encode_request(Bytes(), request(continuations=("c", "de")), 5) == Answer(too_long=5)


def test_a_choice_without_a_token_of_its_own_is_refused_and_not_scored_as_certain() -> None:
    with pytest.raises(InputError, match="Item 'one': the choice ''"):
        tokens.encode_request(Bytes(), request(continuations=("c", "")), 100)


def test_an_empty_prompt_becomes_the_prefix_token() -> None:
    bare = type("Bare", (Bytes,), {"encode": lambda self, text, **_: list(text.encode())})()
    one = request(kind=Ask.GENERATE, contexts=("",), continuations=(), max_tokens=1)
    assert tokens.encode_request(bare, one, 10) == tokens.Encoded(prompt=(256,))


@pytest.mark.parametrize(
    ("text", "until", "wanted"),
    [
        ("a\n\nb", ("\n\n", "b"), "a"),
        ("no stop", ("\n",), "no stop"),
        ("", ("\n",), ""),
        ("\n", ("\n",), ""),
        ("abc", ("", "c"), "ab"),
        ("xQ:y", ("xQ:y", "Q:"), "x"),
        ("a\n\n", ("\n", "\n\n"), "a"),
        ("xab", ("b", "ab"), "x"),
    ],
)
def test_a_text_ends_before_the_stop_string_that_is_complete_first(text: str, until: Any, wanted: str) -> None:
    assert cut(text, until)[0] == wanted


@given(text=st.text("abc", max_size=12), until=st.lists(st.text("abc", max_size=3), max_size=3), more=st.text("abc"))
def test_stopping_early_and_cutting_later_give_the_same_text(text: str, until: list[str], more: str) -> None:
    stops = [stop for stop in until if stop]
    for length in range(1, len(text) + 1):
        if any(stop in text[:length] for stop in stops):
            assert cut(text[:length], until) == cut(text + more, until)
            break


def test_ids_that_are_no_utf8_or_beyond_the_vocabulary_become_a_text_that_can_be_stored(tokenizer: Any) -> None:
    assert tokens.text_of(Bytes(), [0xE2, 0x82]) == "\ufffd"
    assert tokens.text_of(tokenizer, [len(tokenizer) + 5]) == ""
    assert tokens.storable("a\ud83d") == "a\ufffd"
    for first in range(0, len(tokenizer), 7):
        tokens.text_of(tokenizer, [first, first + 1]).encode("utf-8")


def test_a_stop_string_is_seen_when_its_last_token_comes_and_not_earlier() -> None:
    ids = list(b"some words, then\n\nQ")
    seen = [count for count in range(len(ids) + 1) if tokens.stopped(Bytes(), ids[:count], ("\n\n", "zzz"))]
    assert seen[0] == ids.index(10) + 2


def test_stop_strings_that_are_special_tokens_are_stopped_at_by_id(tokenizer: Any) -> None:
    one = request(kind=Ask.GENERATE, continuations=(), until=("\n", "</s>", ""))
    assert tokens.stop_ids(Bytes(), one.until) == {257}
    assert tokens.stop_strings(Bytes(), one) == ("\n", "</s>")


def test_special_tokens_without_a_role_are_stopped_at_and_seen_to_be_hidden_too(tokenizer: Any) -> None:
    """Llama 3's <|eot_id|> and our <|im_start|> have no role such as EOS, and decoding leaves them out all the same."""
    assert "<|im_start|>" not in tokenizer.all_special_tokens
    [number] = tokenizer.encode("<|im_start|>", add_special_tokens=False)
    assert tokens.text_of(tokenizer, [number]) == ""
    assert tokens.stop_ids(tokenizer, ("<|im_start|>", "\n")) == {number}
    assert tokens.hides(tokenizer, [50, number])
    assert not tokens.hides(tokenizer, [50, 51])
