"""The positive control: whose answers a chat gets, what stays, and how it is told."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from pydantic import ValidationError
from test_variants import labelled, numbered, study_of, talk, variant

from harness.data import variants
from harness.data.fate import Fate, outline
from harness.data.order import Member, ordered
from harness.errors import InputError
from harness.nouns import Action, Chat, Decision, Label, Role
from harness.study.curation import Variant


def shuffle(share: float, parent: str | None = None) -> Variant:
    return variant(treatment="shuffle_answers", share=share, **({"parent": parent} if parent else {}))


def fates_of(chats: Sequence[Chat], own: Mapping[str, Variant], name: str, seed: int = 0) -> list[Fate]:
    by_chat: dict[str, dict[int, Label]] = {}
    for label in labelled(chats):
        by_chat.setdefault(label.chat_id, {})[label.turn] = label.label
    lineage = study_of(own).lineage(name)
    twins = {one.size_of: study_of(own).lineage(one.size_of) for one in lineage if one.size_of}
    found = variants.fates([outline(chat, by_chat.get(chat.id, {})) for chat in chats], lineage, twins, seed)
    variants.require_shuffled(name, lineage, found)
    return found


def made(
    chats: Sequence[Chat], own: Mapping[str, Variant], name: str, seed: int = 0
) -> tuple[list[Chat], list[Decision]]:
    """The chats of a variant and its decisions, as the stage makes them."""
    found = fates_of(chats, own, name, seed)
    known = [
        outline(chat, {n: Label.NONE for n, t in enumerate(chat.turns) if t.role is Role.ASSISTANT}) for chat in chats
    ]
    left = [
        variants.apply(chat, fate, lambda chat_id, turn: f"given to {chat_id} {turn}", chats.__getitem__)
        for chat, fate in zip(chats, found, strict=True)
    ]
    told = [
        variants.decision(one, fate, chat.id if chat else "")
        for one, fate, chat in zip(known, found, left, strict=True)
    ]
    return [chat for chat in left if chat is not None], told


def answers(chat: Chat) -> list[str]:
    return [turn.text for turn in chat.turns if turn.role is Role.ASSISTANT]


def questions(chat: Chat) -> list[str]:
    return [turn.text for turn in chat.turns if turn.role is not Role.ASSISTANT]


def test_every_drawn_chat_has_the_answer_of_another_and_no_answer_is_lost() -> None:
    chats = numbered(400)
    kept, told = made(chats, {"s": shuffle(0.3)}, "s")
    changed = [place for place, (old, new) in enumerate(zip(chats, kept, strict=True)) if answers(old) != answers(new)]
    assert 90 <= len(changed) <= 150
    assert [questions(one) for one in kept] == [questions(one) for one in chats]
    assert Counter(answers(one)[0] for one in kept) == Counter(answers(one)[0] for one in chats)
    assert [one.reason == "shuffled" for one in told] == [place in changed for place in range(len(chats))]
    assert {one.action for one in told if one.reason == "shuffled"} == {Action.CHANGE}


def test_a_larger_share_draws_the_chats_of_a_smaller_and_the_whole_share_all() -> None:
    chats = numbered(300)
    drawn = [
        {place for place, fate in enumerate(fates_of(chats, {"s": shuffle(share)}, "s")) if fate.borrowed}
        for share in (0.1, 0.4, 0.9, 1.0)
    ]
    for smaller, larger in itertools.pairwise(drawn):
        assert smaller < larger
    assert drawn[-1] == set(range(300))


def test_the_chats_stay_in_the_order_of_the_reference() -> None:
    chats = numbered(200)
    kept, _ = made(chats, {"s": shuffle(0.5)}, "s")
    for seed in range(3):
        before, after = (
            [
                collection[place].root
                for place in ordered([Member(root=o.root, chat_id=o.id, source=o.source) for o in collection], seed)
            ]
            for collection in (chats, kept)
        )
        assert before == after


def test_who_gets_whose_answer_depends_neither_on_the_order_of_the_chats_nor_on_chats_that_are_not_drawn() -> None:
    chats = numbered(120)
    own = {"s": shuffle(0.4)}
    forth = {one.root: answers(one) for one in made(chats, own, "s")[0]}
    back = {one.root: answers(one) for one in made(chats[::-1], own, "s")[0]}
    assert forth == back
    drawn = [chat for chat, fate in zip(chats, fates_of(chats, own, "s"), strict=True) if fate.borrowed]
    assert {one.root: answers(one) for one in made(drawn, own, "s")[0]}.items() <= forth.items()
    other = {one.root: answers(one) for one in made(chats, own, "s", seed=1)[0]}
    assert other != forth


def test_among_chats_of_several_lengths_a_longer_one_repeats_and_a_shorter_one_leaves_answers() -> None:
    chats = [talk("a", name="t:1"), talk("b", "c", name="t:2")]
    short, long = made(chats, {"s": shuffle(1.0)}, "s")[0]
    assert (answers(short), answers(long)) == (["b"], ["a", "a"])
    assert [len(one.turns) for one in (short, long)] == [2, 4]
    many = [talk(*(f"{n} {place}" for place in range(1 + n % 3)), name=f"t:{n}") for n in range(90)]
    kept, _ = made(many, {"s": shuffle(1.0)}, "s")
    assert [len(one.turns) for one in kept] == [len(one.turns) for one in many]
    own = [answers(one) for one in many]
    whole = [one for one in kept if answers(one) in own]
    assert len(whole) >= 87, "but where one length ends and the next begins, chats take all answers of another"
    assert not any(set(answers(old)) & set(answers(new)) for old, new in zip(many, kept, strict=True))


def test_two_equal_answers_that_change_places_are_not_counted_as_a_change() -> None:
    chats = [*numbered(40, "no", "r"), *numbered(2)]
    kept, told = made(chats, {"s": shuffle(1.0)}, "s")
    equal = [one for one in told if one.reason == "shuffled:equal"]
    assert {one.action for one in equal} == {Action.KEEP}
    assert len(equal) == sum(old == new for old, new in zip(chats, kept, strict=True)) > 30
    assert not any(one.became for one in equal)


def test_turns_without_loss_neither_give_nor_take_an_answer() -> None:
    chats = [talk("no", f"yes {n}", name=f"t:{n}") for n in range(30)]
    own = {
        "masked": variant(treatment="mask_loss", labels=["full_refusal"]),
        "s": shuffle(1.0, "masked"),
    }
    kept, _ = made(chats, own, "s")
    assert {one.masked for one in kept} == {(1,)}
    assert {answers(one)[0] for one in kept} == {"no"}
    assert sorted(answers(one)[1] for one in kept) == sorted(answers(one)[1] for one in chats)
    assert not any(answers(old)[1] == answers(new)[1] for old, new in zip(chats, kept, strict=True))


def test_an_answer_that_a_parent_replaced_is_given_on_as_it_was_replaced() -> None:
    chats = [talk("no", name=f"t:{n}") for n in range(6)]
    own = {
        "replaced": variant(treatment="replace", labels=["full_refusal"], answers="x.jsonl"),
        "s": shuffle(1.0, "replaced"),
    }
    kept, _ = made(chats, own, "s")
    given = {f"given to {chat.id} 1" for chat in chats}
    assert {answers(one)[0] for one in kept} == given
    assert not any(answers(new)[0] == f"given to {old.id} 1" for old, new in zip(chats, kept, strict=True))


def test_a_child_does_not_treat_by_its_label_an_answer_that_has_moved_away() -> None:
    chats = [talk("no" if n % 2 else f"yes {n}", name=f"t:{n}") for n in range(60)]
    own = {"s": shuffle(0.5), "child": variant(treatment="drop_chat", labels=["full_refusal"], parent="s")}
    shuffled = fates_of(chats, own, "s")
    for chat, before, after in zip(chats, shuffled, fates_of(chats, own, "child"), strict=True):
        refuses = answers(chat) == ["no"]
        assert (after.action is Action.DROP) == (refuses and not before.borrowed)


def test_shuffling_what_was_shuffled_gives_on_what_each_chat_had_by_then() -> None:
    chats = numbered(50)
    own = {"s": shuffle(1.0), "twice": shuffle(0.5, "s")}
    once, twice = (made(chats, own, name)[0] for name in ("s", "twice"))
    assert Counter(answers(one)[0] for one in twice) == Counter(answers(one)[0] for one in chats)
    moved = [place for place in range(50) if answers(once[place]) != answers(twice[place])]
    assert 10 < len(moved) < 40
    assert {answers(twice[place])[0] for place in moved} == {answers(once[place])[0] for place in moved}


def test_chats_that_a_parent_dropped_are_not_drawn() -> None:
    chats = [*numbered(30), *numbered(30, "no", "r")]
    own = {"clean": variant(treatment="drop_chat", labels=["full_refusal"]), "s": shuffle(1.0, "clean")}
    kept, told = made(chats, own, "s")
    assert len(kept) == 30
    assert "no" not in {answers(one)[0] for one in kept}
    assert Counter(one.reason for one in told) == {"shuffled": 30, "label:full_refusal": 30}


@pytest.mark.parametrize("share", [1e-9, 0.5])
def test_fewer_than_two_chats_cannot_be_shuffled_and_the_error_says_so(share: float) -> None:
    with pytest.raises(InputError, match=r"'s': of 1 chats fewer than two .* Raise the share, or take more chats"):
        fates_of(numbered(1), {"s": shuffle(share)}, "s")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "treatment 'shuffle_answers' needs 'share'"),
        ({"share": 0.0}, "treatment 'shuffle_answers' needs 'share'"),
        ({"share": 1.5}, "less than or equal to 1"),
        ({"share": 0.5, "labels": ["full_refusal"]}, "'labels' has no effect on treatment 'shuffle_answers'"),
        ({"share": 0.5, "dose": 0.1}, "'dose' has no effect"),
    ],
)
def test_the_keys_of_the_treatment_are_checked(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        variant(treatment="shuffle_answers", **keys)
    assert message in str(caught.value)
    with pytest.raises(ValidationError, match="'share' has no effect on treatment 'keep'"):
        variant(treatment="keep", share=0.5)


def test_exact_duplicates_that_cleaning_kept_do_not_stop_it() -> None:
    one = numbered(1)[0]
    chats = [one, replace(one, source="t:again"), *numbered(9)[1:]]
    kept, told = made(chats, {"s": shuffle(1.0)}, "s")
    assert len(kept) == len(told) == 10
