"""An answer that comes from the store is the one that the engine would give now, whatever was asked before."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_predictions import MODEL, Clerk, choice, generation

from harness.evaluate import answering
from harness.evaluate.predictions import Predictions, Shelf
from harness.evaluate.requests import Answer, Ask, Request

TEXT = Request(item="text", kind=Ask.TEXT, contexts=("a long text",))


def shelf(root: Path, room: int = 2048) -> Shelf:
    return Predictions(root).shelf({"checkpoint": "c"}, room=room)


# --- room ------------------------------------------------------------------------------------------------


def test_an_answer_to_a_prompt_that_may_not_fit_any_more_is_asked_again(tmp_path: Path) -> None:
    """Else the number of dropped shots would depend on what was asked before."""
    shelf(tmp_path, 4096).put([(generation(1), Answer(text="x", tokens=(1,), finish="end"))])
    shelf(tmp_path, 4096).put([(choice(1), Answer(logprobs=(-1.0, -2.0), greedy=(True, False), counts=(1, 1)))])
    assert shelf(tmp_path, 1024).find([generation(1), choice(1)]) == {}
    assert len(shelf(tmp_path, 4096).find([generation(1), choice(1)])) == 2
    assert len(shelf(tmp_path, 8192).find([generation(1), choice(1)])) == 2


def test_the_same_question_asked_with_less_room_is_found_with_less_room(tmp_path: Path) -> None:
    for room in (4096, 1024, 2048):
        shelf(tmp_path, room).put([(generation(1), Answer(text=str(room), tokens=(1,), finish="end"))])
    assert [len(shelf(tmp_path, room).find([generation(1)])) for room in (1023, 1024, 4096)] == [0, 1, 1]


def test_an_answer_to_few_tokens_says_nothing_of_a_prompt_that_has_to_leave_room_for_many(tmp_path: Path) -> None:
    shelf(tmp_path).put([(generation(1, max_tokens=8), Answer(text="x", tokens=(1,), finish="end"))])
    wanted = generation(1, max_tokens=64)
    assert shelf(tmp_path).find([wanted]) == {}
    assert shelf(tmp_path, 2048 + 56).find([wanted]).keys() == {wanted.key}


def test_a_text_read_in_other_windows_is_another_question(tmp_path: Path) -> None:
    """Perplexity in windows of 512 tokens is not that in windows of 2048."""
    shelf(tmp_path, 512).put([(TEXT, Answer(logprobs=(-9.0,), counts=(700,)))])
    assert shelf(tmp_path, 2048).find([TEXT]) == {}
    shelf(tmp_path, 2048).put([(TEXT, Answer(logprobs=(-8.0,), counts=(700,)))])
    assert shelf(tmp_path, 512).find([TEXT])[TEXT.key].logprobs == (-9.0,)
    assert shelf(tmp_path, 2048).find([TEXT])[TEXT.key].logprobs == (-8.0,)


# --- what follows from a longer answer -------------------------------------------------------------------


def test_an_end_that_comes_after_the_last_token_allowed_is_not_seen(tmp_path: Path) -> None:
    """The engine stops at the limit before the model can end the text."""
    own = shelf(tmp_path)
    own.put([(generation(1, until=(), max_tokens=16), Answer(text="abc", tokens=(1,) * 8, finish="end"))])
    exact, roomy = generation(1, until=("Q",), max_tokens=8), generation(1, until=("Q",), max_tokens=9)
    found = shelf(tmp_path).find([exact, roomy])
    assert (found[exact.key].finish, found[roomy.key].finish) == ("length", "end")


def test_a_text_that_hides_tokens_stands_for_no_other_question(tmp_path: Path) -> None:
    """A stop string may be one of the special tokens that a text does not show."""
    answer = Answer(text="abc", tokens=(1, 2, 3), finish="end", hidden=True)
    shelf(tmp_path).put([(generation(1, until=(), max_tokens=16), answer)])
    assert shelf(tmp_path).find([generation(1, until=("<|im_start|>",), max_tokens=16)]) == {}
    assert shelf(tmp_path).find([generation(1, until=(), max_tokens=16)])


def test_where_a_server_tells_no_tokens_a_shorter_answer_is_asked_for(tmp_path: Path) -> None:
    shelf(tmp_path).put([(generation(1, until=(), max_tokens=64), Answer(text="a long answer. b", finish="end"))])
    assert shelf(tmp_path).find([generation(1, until=("Q",), max_tokens=4)]) == {}
    assert shelf(tmp_path).find([generation(1, until=(".",), max_tokens=4)]) == {}
    wanted = generation(1, until=(".",), max_tokens=64)
    assert shelf(tmp_path).find([wanted])[wanted.key].text == "a long answer"


def test_of_questions_that_follow_from_one_another_one_is_asked(tmp_path: Path) -> None:
    """Two profiles with one prompt: the answer with the looser stops is the other's too."""

    class Says(Clerk):
        def answers(self, model: Path, blocks: Iterator[Sequence[Request]]) -> Iterator[tuple[Request, Answer]]:
            for request, _ in super().answers(model, blocks):
                yield request, Answer(text="a. b", tokens=(1,) * 4, finish="end")

    loose, strict, shorter = (
        generation(1, until=("\n\n", "\nQ:")),
        generation(1, until=(".", "Q", "\n\n")),
        generation(1, until=(".",), max_tokens=2),
    )
    clerk = Says()
    told = answering.ask([strict, loose, shorter], model=MODEL, shelf=shelf(tmp_path), engine=clerk)
    assert set(clerk.asked) == {loose.key, shorter.key}, "four tokens say nothing of an answer of two"
    assert told.answers[strict.key].text == "a"
    assert told.answers.keys() == {loose.key, strict.key, shorter.key}


def test_questions_whose_stops_say_the_same_do_not_wait_for_one_another(tmp_path: Path) -> None:
    alike = [generation(1, until=until) for until in (("\n",), ("\n", "\n\n"), ("\n\n", "\n"))]
    clerk = Clerk()
    told = answering.ask(alike, model=MODEL, shelf=shelf(tmp_path), engine=clerk)
    assert len(clerk.asked) == 1
    assert {told.answers[one.key].text for one in alike} == {"PROMPT 1"}


# --- speed -----------------------------------------------------------------------------------------------


def test_the_time_to_take_a_block_does_not_grow_with_all_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MMLU with several samples is hundreds of thousands of questions."""
    looked = 0
    own = shelf(tmp_path)
    known = Shelf.known

    def counted(self: Shelf, requests: Iterable[Request]) -> dict[str, Answer]:
        nonlocal looked
        found = list(requests)
        looked += len(found)
        return known(self, found)

    monkeypatch.setattr(Shelf, "known", counted)
    requests = [choice(number) for number in range(4000)]
    began = time.monotonic()
    answering.ask(requests, model=MODEL, shelf=own, engine=Clerk())
    assert looked <= 4 * len(requests)
    assert time.monotonic() - began < 60


def test_what_another_process_asks_is_left_to_it_wherever_it_stands(tmp_path: Path) -> None:
    requests = [generation(number) for number in range(600)]
    ordered = answering.ordered(requests)
    own, other = shelf(tmp_path), shelf(tmp_path)
    with other.claims() as claims:
        with claims.deciding():
            claims.hold(one.key for one in ordered[100:400])
        seen: list[str] = []
        round_ = answering._Round(requests, own.claims().__enter__(), own, answering.Told(), lambda: None, lambda: None)
        for block in round_._blocks():
            seen += [one.key for one in block]
    assert seen == [one.key for one in (*ordered[:100], *ordered[400:])]


def test_equal_settings_beside_the_room_are_one_shelf(tmp_path: Path) -> None:
    assert shelf(tmp_path, 1).folder == shelf(tmp_path, 2).folder
    assert replace(generation(1), item="x").key == generation(1).key
