"""The store of answers: a kill loses a chunk, a flipped bit costs a chunk, two processes share the work."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.evaluate import answering
from harness.evaluate.predictions import Predictions, Shelf
from harness.evaluate.requests import Answer, Ask, Request

MODEL = Path("model")


def generation(number: int, **changes: object) -> Request:
    settings: dict[str, object] = {"until": ("\n",), "max_tokens": 8} | changes
    return Request(item=f"task/{number}", kind=Ask.GENERATE, contexts=(f"prompt {number}",), **settings)  # type: ignore[arg-type]


def choice(number: int) -> Request:
    return Request(item=f"task/{number}", kind=Ask.CHOICES, contexts=(f"prompt {number}",), continuations=(" A", " B"))


class Clerk:
    """Answers every request by its prompt, counts what it was asked, and may die on the way."""

    def __init__(self, *, dies_after: int | None = None) -> None:
        self.asked: list[str] = []
        self._left = dies_after

    def answers(self, model: Path, blocks: Iterator[Sequence[Request]]) -> Iterator[tuple[Request, Answer]]:
        for block in blocks:
            for request in block:
                if self._left is not None and len(self.asked) == self._left:
                    raise RuntimeError("died")
                self.asked.append(request.key)
                if request.kind is Ask.CHOICES:
                    yield request, Answer(logprobs=(-0.5, -1.5), greedy=(True, False), counts=(1, 1))
                else:
                    yield request, Answer(text=request.context.upper(), tokens=(1, 2), finish="stop", stop="\n")


def shelf(root: Path, checkpoint: str = "c") -> Shelf:
    return Predictions(root).shelf({"checkpoint": checkpoint, "engine": "clerk", "dtype": "float32"}, room=512)


def test_what_was_answered_is_not_asked_again_and_comes_back_as_it_was(tmp_path: Path) -> None:
    requests = [*map(generation, range(40)), *map(choice, range(40))]
    first, second = Clerk(), Clerk()
    told = answering.ask(requests, model=MODEL, shelf=shelf(tmp_path), engine=first)
    again = answering.ask(requests, model=MODEL, shelf=shelf(tmp_path), engine=second)
    assert len(first.asked) == 80
    assert second.asked == []
    assert again.answers == told.answers
    assert again.answers[generation(3).key] == Answer(text="PROMPT 3", tokens=(1, 2), finish="stop", stop="\n")


def test_another_checkpoint_with_the_same_questions_gets_none_of_the_answers(tmp_path: Path) -> None:
    answering.ask([generation(1)], model=MODEL, shelf=shelf(tmp_path, "one"), engine=Clerk())
    other = Clerk()
    answering.ask([generation(1)], model=MODEL, shelf=shelf(tmp_path, "other"), engine=other)
    assert len(other.asked) == 1


def test_a_chunk_that_was_copied_from_another_checkpoints_shelf_is_set_aside(tmp_path: Path) -> None:
    """It is whole, and answers the same questions; only the weights that gave the answers are other ones."""
    answering.ask([generation(1)], model=MODEL, shelf=shelf(tmp_path, "one"), engine=Clerk())
    [chunk] = shelf(tmp_path, "one").folder.glob("*.parquet")
    own = shelf(tmp_path, "other").folder
    own.mkdir()
    shutil.copy(chunk, own)
    other = Clerk()
    told = answering.ask([generation(1)], model=MODEL, shelf=shelf(tmp_path, "other"), engine=other)
    assert len(other.asked) == 1
    assert told.damaged == [chunk.name]


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": 0.5, "seed": 1},
        {"max_tokens": 9},
        {"until": ()},
        {"temperature": 0.5, "seed": 1, "top_p": 0.9},
        {"temperature": 0.5, "seed": 1, "sample": 1},
    ],
)
def test_other_settings_of_a_generation_are_another_question(changed: dict[str, object]) -> None:
    base = generation(1, temperature=0.5, seed=1) if "temperature" in changed and len(changed) > 2 else generation(1)
    assert generation(1, **changed).key != base.key
    assert generation(1, **changed).prompt == base.prompt


def test_the_item_and_the_task_are_no_part_of_the_question() -> None:
    one, other = generation(1), generation(1)
    assert Request(**{**other.__dict__, "item": "elsewhere/9"}).key == one.key


def test_an_engine_that_dies_loses_nothing_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "CHUNK", 10)
    requests = [*map(generation, range(50))]
    with pytest.raises(RuntimeError, match="died"):
        answering.ask(requests, model=MODEL, shelf=shelf(tmp_path), engine=Clerk(dies_after=25))
    rest = Clerk()
    answering.ask(requests, model=MODEL, shelf=shelf(tmp_path), engine=rest)
    assert len(rest.asked) == 25


def test_a_flipped_bit_costs_its_chunk_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "CHUNK", 10)
    requests = [*map(generation, range(30))]
    told = answering.ask(requests, model=MODEL, shelf=shelf(tmp_path), engine=Clerk())
    chunks = sorted(shelf(tmp_path).folder.glob("*.parquet"))
    assert len(chunks) == 3
    data = bytearray(chunks[1].read_bytes())
    data[len(data) // 2] ^= 1
    chunks[1].write_bytes(data)
    rest = Clerk()
    again = answering.ask(requests, model=MODEL, shelf=shelf(tmp_path), engine=rest)
    assert len(rest.asked) == 10
    assert again.damaged == [chunks[1].name]
    assert again.answers == told.answers
    assert answering.ask(requests, model=MODEL, shelf=shelf(tmp_path), engine=Clerk()).damaged == []


def test_a_chunk_of_no_bytes_and_one_that_is_no_parquet_are_damaged_and_nothing_else(tmp_path: Path) -> None:
    answering.ask([generation(1)], model=MODEL, shelf=shelf(tmp_path), engine=Clerk())
    folder = shelf(tmp_path).folder
    (folder / f"{'0' * 32}.parquet").write_bytes(b"")
    (folder / f"{'1' * 32}.parquet").write_bytes(b"no parquet")
    told = answering.ask([generation(1)], model=MODEL, shelf=shelf(tmp_path), engine=Clerk(dies_after=0))
    assert len(told.damaged) == 2
    assert told.asked == 0


@pytest.mark.parametrize(
    ("stored", "until", "max_tokens", "expected"),
    [
        (Answer(text="a b. c", tokens=(1,) * 4, finish="stop", stop="\n"), (".",), 8, "a b"),
        (Answer(text="a b. c", tokens=(1,) * 4, finish="stop", stop="\n"), ("\n", "."), 8, "a b"),
        (Answer(text="a b c", tokens=(1,) * 4, finish="stop", stop="\n"), ("\n", "."), 8, "a b c"),
        (Answer(text="a b c", tokens=(1,) * 4, finish="stop", stop="\n"), (".",), 8, None),
        (Answer(text="a b c", tokens=(1,) * 4, finish="stop", stop="\n\nQ"), ("Q",), 8, "a b c\n\n"),
        (Answer(text="a b c", tokens=(1,) * 4, finish="end"), (".",), 8, "a b c"),
        (Answer(text="a b c", tokens=(1,) * 4, finish="end"), (".",), 3, None),
        (Answer(text="a b. c", tokens=(1,) * 16, finish="length"), (".",), 8, None),
        (Answer(text="a b. c", tokens=(1,) * 16, finish="length"), (".",), 16, "a b"),
        (Answer(text="a b c", tokens=(1,) * 16, finish="length"), (".",), 32, None),
    ],
)
def test_a_greedy_answer_follows_from_a_longer_one_where_that_says_enough(
    stored: Answer, until: tuple[str, ...], max_tokens: int, expected: str | None, tmp_path: Path
) -> None:
    own = shelf(tmp_path)
    own.put([(generation(1, until=("\n", "\n\nQ"), max_tokens=16), stored)])
    wanted = generation(1, until=until, max_tokens=max_tokens)
    found = shelf(tmp_path).find([wanted])
    assert (found[wanted.key].text if found else None) == expected


def test_a_sampled_answer_never_stands_for_another_one(tmp_path: Path) -> None:
    own = shelf(tmp_path)
    own.put([(generation(1, temperature=0.7, seed=1), Answer(text="a. b", tokens=(1,), finish="end"))])
    assert own.find([generation(1, temperature=0.7, seed=1, until=(".",))]) == {}


WORKER = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from harness.evaluate import answering
from test_predictions import Clerk, generation, shelf, MODEL
answering.CHUNK, answering.BLOCK = 5, 10
class Slow(Clerk):
    def answers(self, model, blocks):
        for pair in super().answers(model, blocks):
            time.sleep(0.01)
            print(pair[0].key, flush=True)
            yield pair
answering.ask([generation(n) for n in range(120)], model=MODEL, shelf=shelf(Path(sys.argv[1])), engine=Slow())
"""


def start(root: Path) -> subprocess.Popen[str]:
    here = Path(__file__).resolve().parent
    code = WORKER.format(tests=str(here))
    env = {**os.environ, "PYTHONPATH": str(here.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )


def test_two_processes_on_one_shelf_ask_nothing_twice_and_both_get_everything(tmp_path: Path) -> None:
    pair = [start(tmp_path), start(tmp_path)]
    said = [process.communicate(timeout=120) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], [errors for _, errors in said]
    keys = [key for out, _ in said for key in out.split()]
    assert len(keys) == len(set(keys)) == 120
    assert all(out for out, _ in said), "one process did all the work: the test shows nothing"
    rows = [path.stat().st_size for path in shelf(tmp_path).folder.glob("*.parquet")]
    assert len(rows) >= 24


def test_sigkill_loses_no_written_answer_and_frees_what_was_claimed(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    heard = [process.stdout.readline().strip() for _ in range(42)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = {generation(n).key for n in range(120)} & set(shelf(tmp_path).find([generation(n) for n in range(120)]))
    assert len(stored) >= 40 - 5
    rest = Clerk()
    began = time.monotonic()
    answering.ask([generation(n) for n in range(120)], model=MODEL, shelf=shelf(tmp_path), engine=rest)
    assert time.monotonic() - began < 60
    assert not stored & set(rest.asked)
    assert len(rest.asked) == 120 - len(stored)
    assert set(heard) <= {generation(n).key for n in range(120)}


def test_the_shelf_says_in_plain_words_what_it_holds(tmp_path: Path) -> None:
    own = shelf(tmp_path)
    own.put([(generation(1), Answer(text="x", finish="end"))])
    assert json.loads((own.folder / "shelf.json").read_text()) == own.identity


def test_equal_beginnings_of_prompts_follow_one_another() -> None:
    def asked(context: str) -> Request:
        return Request(item=context, kind=Ask.CHOICES, contexts=(context,), continuations=("x",))

    mixed = [asked("shots A, one"), asked("shots B, one"), asked("shots A, two"), generation(1), asked("shots B, two")]
    assert [one.item for one in answering.ordered(mixed)] == [
        *("shots A, one", "shots A, two", "shots B, one", "shots B, two", "task/1")
    ]
