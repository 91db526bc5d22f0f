"""Records depend on the question alone: whatever was asked before, in which order, with how much room."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.commands.evaluate import Evaluation, Scores
from harness.commands.evaluate import Request as Wanted
from harness.data import pocket
from harness.errors import InputError
from harness.evaluate.requests import Answer, Ask, Request
from harness.evaluate.texts import cut
from harness.progress import Silent
from harness.study.model import Evaluation as Asked

LETTERS = "ab .\nQ"


class Typist:
    """A model of letters, one token each, that says the same after the same prompt; stops as the engines do."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.room, self.starts = 0, 0

    def bound(self, setting: Any, shape: Any) -> Typist:
        self.room = setting.max_length
        return self

    def stop(self) -> None: ...

    def answers(self, model: Path, blocks: Iterator[Sequence[Request]]) -> Iterator[tuple[Request, Answer]]:
        for block in blocks:
            for request in block:
                self.asked.append(request)
                yield request, self.answer(request)

    def answer(self, request: Request) -> Answer:
        length = max(map(len, request.contexts))
        if length + max(request.max_tokens, 1) > self.room:
            return Answer(too_long=length)
        if request.kind is Ask.CHOICES:
            count = len(request.continuations)
            return Answer(logprobs=(-2.0,) * count, greedy=(False,) * count, counts=(1,) * count)
        said = [LETTERS[byte % len(LETTERS)] for byte in hashlib.sha256(request.context.encode()).digest()]
        said = said[: said[0].encode()[0] % 24 + 3]
        text = ""
        for letter in said:
            if len(text) == request.max_tokens:
                return Answer(text=text, tokens=tuple(range(len(text))), finish="length")
            text += letter
            before, stop = cut(text, request.until)
            if stop:
                return Answer(text=before, tokens=tuple(range(len(text))), finish="stop", stop=stop)
        finish = "length" if len(text) == request.max_tokens else "end"
        return Answer(text=text, tokens=tuple(range(len(text))), finish=finish)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    pocket.build_base(folder, {"seed": 5})
    return folder


def evaluated(
    model: Path, results: Path, *, task: str = "pocket_drop", profiles: Sequence[str], room: int = 4096, **asked: Any
) -> tuple[Scores, Typist]:
    typist = Typist()
    request = Wanted(
        model=str(model),
        tasks=(task,),
        profiles=tuple(profiles),
        asked=Asked(**{"limit": 40, "max_length": room} | asked),
        results=results,
    )
    return Evaluation(request, Silent(), engine=typist).run(), typist  # type: ignore[arg-type]


def records(results: Path) -> dict[str, Any]:
    found = {}
    for path in (results / "ledger").glob("*/*.json"):
        record = json.loads(path.read_text())
        found[f"{path.parent.name}/{path.name}"] = {name: record[name] for name in ("key", "output", "facts")}
    return found


@pytest.mark.parametrize("task", ["pocket_drop", "pocket_bbh"])
def test_records_are_equal_whichever_profile_was_asked_first(model: Path, tmp_path: Path, task: str) -> None:
    orders = [["lm-eval", "strict", "instructeval"], ["instructeval", "strict", "lm-eval"]]
    for number, order in enumerate(orders):
        for profile in order:
            evaluated(model, tmp_path / str(number), task=task, profiles=[profile])
    evaluated(model, tmp_path / "2", task=task, profiles=orders[0])
    assert records(tmp_path / "0") == records(tmp_path / "1") == records(tmp_path / "2")


def test_a_cap_on_the_tokens_gives_the_same_records_after_a_run_without(model: Path, tmp_path: Path) -> None:
    evaluated(model, tmp_path / "before", profiles=["strict"])
    for name in ("before", "fresh"):
        for cap in range(1, 8):
            evaluated(model, tmp_path / name, profiles=["strict"], max_new_tokens=cap)
    before, fresh = records(tmp_path / "before"), records(tmp_path / "fresh")
    assert fresh.items() <= before.items()


def test_prompts_lose_the_same_shots_whatever_room_there_was_before(model: Path, tmp_path: Path) -> None:
    whole, typist = evaluated(model, tmp_path / "before", task="pocket_mmlu", profiles=["lm-eval"])
    assert whole.tasks[0].facts["shortened_prompts"] == 0
    lengths = sorted(len(one.context) for one in typist.asked)
    counts = []
    for room in (lengths[-4], lengths[10]):
        for name in ("before", "fresh"):
            scores, _ = evaluated(model, tmp_path / name, task="pocket_mmlu", profiles=["lm-eval"], room=room)
            counts.append(scores.tasks[0].facts["shortened_prompts"])
    assert 0 < counts[0] == counts[1] < counts[2] == counts[3]
    assert records(tmp_path / "fresh").items() <= records(tmp_path / "before").items()


def test_an_answer_that_leaves_no_room_for_any_prompt_is_refused_before_a_shot_is_dropped(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"may have 8 tokens, and prompt and answer together 8 .*max_new_tokens"):
        evaluated(model, tmp_path, profiles=["strict"], room=8)
    assert not (tmp_path / "predictions").exists()


def test_a_damaged_chunk_is_told_of_once_also_where_several_tasks_are_asked_together(
    model: Path, tmp_path: Path
) -> None:
    evaluated(model, tmp_path, profiles=["lm-eval"])
    [chunk] = (tmp_path / "predictions").glob("*/*.parquet")
    chunk.write_bytes(b"damaged")
    for record in (tmp_path / "ledger" / "predict").iterdir():
        record.unlink()
    scores, _ = evaluated(model, tmp_path, profiles=["lm-eval", "instructeval"])
    assert scores.damaged_chunks == 1
    again, _ = evaluated(model, tmp_path, profiles=["lm-eval", "instructeval"])
    assert again.damaged_chunks == 0
