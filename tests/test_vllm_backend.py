"""What the vLLM backend makes of vLLM's outputs and of folders, without starting vLLM."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_tokens import Bytes

from harness.evaluate.engines.vllm_backend import Vllm, _Job
from harness.evaluate.engines.worker import CannotSwap
from harness.evaluate.requests import Answer, Ask, Request

FREE = Request(item="free", kind=Ask.GENERATE, contexts=("Q",), until=("\n",), max_tokens=8)


@pytest.fixture
def backend() -> Vllm:
    one = Vllm(dtype="float32", max_length=64)
    one._tokenizer = Bytes()
    return one


def generated(backend: Vllm, ids: list[int], finish: str, reason: Any, **job: Any) -> Answer:
    made = SimpleNamespace(token_ids=ids, finish_reason=finish, stop_reason=reason)
    return backend._generated(_Job(request=FREE, stops=("\n", "</s>"), **job), made)


@pytest.mark.parametrize(
    ("ids", "finish", "reason", "stop_ids", "expected"),
    [
        ([97, 98], "length", None, set(), Answer(text="ab", tokens=(97, 98), finish="length")),
        ([97, 257], "stop", None, set(), Answer(text="a", tokens=(97,), finish="end")),
        ([97, 250], "stop", 250, set(), Answer(text="a", tokens=(97,), finish="end")),
        ([97, 10], "stop", "\n", set(), Answer(text="a", tokens=(97, 10), finish="stop", stop="\n")),
        ([97, 256], "stop", 256, {256}, Answer(text="a", tokens=(97, 256), finish="stop", hidden=True)),
        ([97, 257, 98], "length", None, set(), Answer(text="ab", tokens=(97, 257, 98), finish="length", hidden=True)),
    ],
    ids=["limit", "end", "another end of generation_config.json", "string", "token of a stop string", "hidden"],
)
def test_how_a_text_ended_is_what_vllm_says(
    backend: Vllm, ids: list[int], finish: str, reason: Any, stop_ids: set[int], expected: Answer
) -> None:
    """A text that ended at a special token of its `until` did not end by itself: without that stop it would go on."""
    assert generated(backend, ids, finish, reason, stop_ids=frozenset(stop_ids)) == expected


def test_a_text_of_no_tokens_is_answered_and_leaves_nothing_in_work(backend: Vllm) -> None:
    """A job that never ends would keep the worker turning."""
    backend.submit("k", Request(item="none", kind=Ask.GENERATE, contexts=("Q",), max_tokens=0))
    assert backend.step() == [("k", Answer(finish="length"))]
    assert backend.pending == 0


class Swapped:
    """An engine that takes any weights."""

    def __init__(self) -> None:
        self.reloaded: list[str] = []

    def collective_rpc(self, name: str, kwargs: dict[str, str]) -> None:
        self.reloaded.append(kwargs["weights_path"])

    def apply_model(self, what: Any) -> list[int]:
        return [3]

    def reset_prefix_cache(self) -> None: ...


def folder(path: Path, **files: str) -> str:
    path.mkdir(exist_ok=True)
    for name, text in ({"model_safetensors": "w", "tokenizer_json": "{}"} | files).items():
        (path / name.replace("_", ".")).write_text(text)
    return str(path)


@pytest.fixture
def started(backend: Vllm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vllm:
    def start(model: str) -> None:
        backend._llm, backend._proof = Swapped(), "compared: 3 parameters"
        backend._took(model)

    monkeypatch.setattr(backend, "_start", start)
    backend.use(folder(tmp_path / "a"))
    return backend


def test_other_weights_in_the_same_folder_are_taken_in(started: Vllm, tmp_path: Path) -> None:
    started.use(folder(tmp_path / "a"))  # written again: its time is another one
    assert started._llm.reloaded == [str(tmp_path / "a")]
    started.use(str(tmp_path / "a"))
    assert started._llm.reloaded == [str(tmp_path / "a")]


@pytest.mark.parametrize("file", ["tokenizer_json", "generation__config_json"])
def test_a_checkpoint_that_splits_or_ends_texts_otherwise_gets_an_engine_of_its_own(
    started: Vllm, tmp_path: Path, file: str
) -> None:
    """A swap replaces weights alone; the engine keeps the tokenizer and the end tokens that it started with."""
    other = tmp_path / "other"
    folder(other)
    (other / file.replace("__", "@").replace("_", ".").replace("@", "_")).write_text(json.dumps({"eos_token_id": 7}))
    with pytest.raises(CannotSwap, match="other"):
        started.use(str(other))
    same = folder(tmp_path / "same")
    started.use(same)
    assert started._llm.reloaded == [same]
