"""Cleaning, mixing and the normal form."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import normal
from harness.data.clean import clean
from harness.data.mixing import mix
from harness.errors import HarnessError, InputError
from harness.nouns import Action, Chat, Decision, Label, Role, Turn, TurnLabel
from harness.study.model import Clean, Mix

ROLES = {"s": Role.SYSTEM, "u": Role.USER, "a": Role.ASSISTANT}


def chat(roles: str, *texts: str, source: str = "t:1") -> Chat:
    """A chat with these roles (s, u, a) and texts; missing texts are filled in."""
    filled = itertools.chain(texts, (f"some plain words number {n}" for n in itertools.count()))
    turns = tuple(Turn(role=ROLES[role], text=text) for role, text in zip(roles, filled, strict=False))
    return Chat(turns=turns, source=source)


def numbered(count: int, answer: str = "It is {n}.") -> list[Chat]:
    """Different chats of two turns."""
    return [chat("ua", f"What is number {n}?", answer.format(n=n), source=f"t:{n}") for n in range(count)]


# --- cleaning --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "thresholds", "reason", "detail"),
    [
        (chat("uua"), {}, "not_alternating", "turn 2 is user, expected assistant"),
        (chat("au"), {}, "not_alternating", "turn 1 is assistant, expected user"),
        (chat("uau"), {}, "not_alternating", "the last turn is user"),
        (chat("usa"), {}, "not_alternating", "turn 2 is system, expected assistant"),
        (chat(""), {}, "not_alternating", "there are no turns"),
        (chat("s"), {}, "not_alternating", "there are no turns"),
        (chat("ua", "hello there", " \n"), {}, "empty_turn", "turn 2"),
        (chat("ua", "  hm  ", "a good answer"), {"min_user_chars": 3}, "short_user_input", "2 characters"),
        (
            chat("sua", "long " * 99, "one", "two"),
            {"min_mean_words": 1.5},
            "few_words_per_message",
            "1.00 words",
        ),
        (chat("ua", "a " * 6, "b " * 5), {"max_words": 10}, "too_long", "11 words"),
    ],
)
def test_the_first_failing_filter_names_the_reason(
    broken: Chat, thresholds: dict[str, Any], reason: str, detail: str
) -> None:
    kept, decisions = clean([broken], Clean(**thresholds))
    assert kept == []
    assert (decisions[0].action, decisions[0].reason) == (Action.DROP, reason)
    assert detail in decisions[0].detail and decisions[0].source == "t:1"


def test_chats_at_the_thresholds_stay() -> None:
    chats = [chat("sua"), chat("uaua", *"abcd"), chat("ua", "abc", "b " * 9)]
    kept, _ = clean(chats, Clean(min_user_chars=1, min_mean_words=1, max_words=10_000))
    assert kept == chats
    assert clean(chats[2:], Clean(min_user_chars=3, min_mean_words=5, max_words=10))[0] == chats[2:]


def test_later_repeats_of_a_query_leave_and_spacing_and_case_do_not_hide_them() -> None:
    asked = ["Hi you", "hi  YOU ", "Hi you", "Other"]
    chats = [chat("ua", text, f"answer {n}", source=f"t:{n}") for n, text in enumerate(asked)]
    kept, decisions = clean(chats, Clean(max_repeats=2))
    assert [one.source for one in kept] == ["t:0", "t:1", "t:3"]
    assert decisions[2].reason == "repeated_query"


def test_exact_duplicates_leave_unless_told_otherwise() -> None:
    twice = [chat("ua", source="t:1"), chat("ua", source="t:2")]
    kept, decisions = clean(twice, Clean())
    assert [one.source for one in kept] == ["t:1"]
    assert (decisions[1].reason, decisions[1].source) == ("exact_duplicate", "t:2")
    assert len(clean(twice, Clean(deduplicate=False))[0]) == 2


@given(st.lists(st.tuples(st.text("sua", max_size=4), st.sampled_from(["", "x", "one two three"])), max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_chat_has_one_decision_and_kept_and_dropped_add_up(specs: list[tuple[str, str]]) -> None:
    chats = [chat(roles, *[text] * 4, source=f"t:{n}") for n, (roles, text) in enumerate(specs)]
    kept, decisions = clean(chats, Clean(min_user_chars=2, min_mean_words=2, max_repeats=1))
    assert [one.source for one in decisions] == [one.source for one in chats]
    assert [d.source for d in decisions if d.action is Action.KEEP] == [one.source for one in kept]
    assert all((d.reason == "kept") == (d.action is Action.KEEP) for d in decisions)


# --- mixing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "others", "expected"), [(300, 100, (25, 100)), (10, 400, (10, 40)), (20, 80, (20, 80))]
)
def test_a_fixed_share_holds_and_leaves_out_as_little_as_it_can(
    ours: int, others: int, expected: tuple[int, int]
) -> None:
    by_source = {"a": numbered(ours), "b": numbered(others, "other {n}")}
    kept, decisions = mix(by_source, Mix(source="a", share=0.2), 0)
    assert len(kept) == sum(expected) and len(decisions) == ours + others
    assert sum(one in by_source["a"] for one in kept) == expected[0]
    left_out = ours + others - sum(expected)
    assert Counter(d.reason for d in decisions) == Counter({"kept": sum(expected), "mix": left_out})


def test_what_is_left_out_of_a_mix_depends_on_the_seed_and_not_on_the_order() -> None:
    ours, others = numbered(60), numbered(20, "other {n}")

    def kept(seed: int, first: list[Chat]) -> set[str]:
        return {one.id for one in mix({"a": first, "b": others}, Mix(source="a", share=0.5), seed)[0]}

    assert kept(0, ours) == kept(0, ours[::-1]) != kept(1, ours)
    assert kept(0, ours[:59]) >= kept(0, ours) - {ours[59].id}


def test_a_mix_without_one_side_is_an_error_and_without_a_share_it_keeps_all() -> None:
    with pytest.raises(InputError, match="the other sources have no chats"):
        mix({"a": numbered(3), "b": []}, Mix(source="a", share=0.5), 0)
    kept, decisions = mix({"a": numbered(3), "b": numbered(2, "x {n}")}, None, 0)
    assert (len(kept), len(decisions)) == (5, 5)


# --- the normal form -------------------------------------------------------------------------------------


TEXT = st.text(st.characters(), max_size=40).filter(lambda text: not normal._SPLIT_PAIR.search(text))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
CHATS = st.lists(
    st.builds(
        Chat,
        turns=st.lists(st.builds(Turn, role=st.sampled_from(Role), text=TEXT), max_size=4).map(tuple),
        source=st.text(max_size=10),
        attributes=st.dictionaries(st.text(max_size=4), JSON, max_size=3),
    ),
    max_size=5,
)


@given(chats=CHATS)
@settings(max_examples=100, deadline=None)
def test_chats_come_back_as_written(chats: list[Chat], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("normal")
    assert normal.write_chats(folder, chats) == len(chats)
    found = normal.read_chats(folder)
    assert found == chats
    assert [one.attributes for one in found] == [one.attributes for one in chats]


def test_surrogates_nul_and_emoji_come_back_as_written_in_ascii(tmp_path: Path) -> None:
    one = chat("ua", "\ud83d lone \udc00", "NUL \0, emoji 😀, separator \u2028, newline \n")
    normal.write_chats(tmp_path, [one])
    assert normal.read_chats(tmp_path) == [one]
    raw = (tmp_path / normal.CHATS).read_bytes()
    assert raw.isascii() and raw.count(b"\n") == 1


def test_decisions_and_labels_come_back_as_written_and_bytes_are_pinned(tmp_path: Path) -> None:
    decision = Decision(chat_id="c", step="clean", action=Action.DROP, reason="too_long", detail="é", source="s:1")
    label = TurnLabel(chat_id="c", turn=1, label=Label.MORALISING, rule="r", start=2, end=9)
    normal.write_decisions(tmp_path, [decision])
    normal.write_labels(tmp_path, [label])
    assert (normal.read_decisions(tmp_path), normal.read_labels(tmp_path)) == ([decision], [label])
    assert (tmp_path / normal.LABELS).read_text() == (
        '{"chat_id": "c", "end": 9, "label": "moralising", "rule": "r", "start": 2, "turn": 1}\n'
    )
    assert '"detail": "\\u00e9"' in (tmp_path / normal.DECISIONS).read_text()


def test_a_damaged_chat_is_not_read_as_another_one(tmp_path: Path) -> None:
    normal.write_chats(tmp_path, numbered(2))
    path = tmp_path / normal.CHATS
    path.write_text(path.read_text().replace("It is 1.", "It is 7."))
    with pytest.raises(HarnessError, match=r"chats.jsonl is damaged: chat .* \(t:1\) does not fit its id"):
        normal.read_chats(tmp_path)
