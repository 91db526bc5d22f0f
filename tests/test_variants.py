"""The fork and the order: what each arm holds, and promise 1 of the design."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest

from harness.data import alignment
from harness.data.order import ordered
from harness.data.variants import build
from harness.errors import InputError
from harness.nouns import Chat, Role, Turn, TurnLabel
from harness.study.model import Variant


def numbered(count: int, answer: str = "It is {n}.", source: str = "t") -> list[Chat]:
    """Different chats of two turns."""
    return [
        Chat(
            turns=(
                Turn(role=Role.USER, text=f"What is {source} {n}?"),
                Turn(role=Role.ASSISTANT, text=answer.format(n=n)),
            ),
            source=f"{source}:{n}",
        )
        for n in range(count)
    ]


def variant(**keys: Any) -> Variant:
    """A variant from study-file keys."""
    return Variant.model_validate(keys)


def aligned_third(count: int) -> tuple[list[Chat], list[TurnLabel]]:
    """Chats of which every third is a refusal, and their labels by the shipped pack."""
    chats = numbered(count)
    chats[::3] = numbered(len(chats[::3]), "I'm sorry, but I can't assist with that.", "r")
    return chats, alignment.label(chats, alignment.load_pack("alignment@0.1.0"))


VARIANTS = {
    "aligned": variant(treatment="keep"),
    "clean": variant(treatment="drop_chat", labels=["full_refusal"]),
    "random": variant(treatment="random", size_of="clean"),
    "random2": variant(treatment="random", size_of="clean", draw=1),
}


def test_dropping_by_label_gives_a_reason_per_chat_and_counts_add_up() -> None:
    chats, labels = aligned_third(90)
    kept, decisions = build(chats, labels, VARIANTS, "clean", 0)
    assert len(kept) == 60 and len(decisions) == 90
    assert Counter(d.reason for d in decisions) == {"kept": 60, "label:full_refusal": 30}
    assert not any(one.source.startswith("r:") for one in kept)
    assert build(chats, labels, VARIANTS, "aligned", 0)[0] == chats


def test_the_random_control_drops_as_many_chats_as_the_variant_it_matches() -> None:
    chats, labels = aligned_third(91)
    clean_arm = build(chats, labels, VARIANTS, "clean", 0)[0]
    for data_seed in range(5):
        kept, decisions = build(chats, labels, VARIANTS, "random", data_seed)
        assert len(kept) == len(clean_arm)
        assert Counter(d.reason for d in decisions) == {"kept": 60, "random": 31}
        assert kept != clean_arm


def test_random_removal_depends_on_seed_and_draw_and_on_no_other_chat() -> None:
    chats, labels = aligned_third(90)

    def kept(name: str, seed: int, of: list[Chat]) -> set[str]:
        return {one.id for one in build(of, labels, VARIANTS, name, seed)[0]}

    assert kept("random", 0, chats) == kept("random", 0, chats[::-1])
    assert len({frozenset(kept(*key, chats)) for key in (("random", 0), ("random", 1), ("random2", 0))}) == 3
    survivor = next(one for one in chats if one.id in kept("random", 0, chats) and one.source.startswith("t:"))
    without = kept("random", 0, [one for one in chats if one is not survivor])
    assert without == kept("random", 0, chats) - {survivor.id}


def test_random_removal_matches_the_size_even_among_exact_duplicates() -> None:
    chats, labels = aligned_third(30)
    assert len(build(chats * 3, labels, VARIANTS, "random", 0)[0]) == 60


def test_an_empty_variant_says_what_removed_how_many_chats() -> None:
    chats = numbered(4, "I'm sorry, but I can't help with {n}.")
    labels = alignment.label(chats, alignment.load_pack("alignment@0.1.0"))
    with pytest.raises(
        InputError, match=r"'clean' is empty.*'drop_chat' removed all 4 chats \(label:full_refusal: 4\)"
    ):
        build(chats, labels, VARIANTS, "clean", 0)
    with pytest.raises(InputError, match=r"no variant 'claen'. Did you mean 'clean'\?"):
        build(chats, labels, VARIANTS, "claen", 0)


def test_chats_without_labels_are_not_taken_for_unaligned_ones() -> None:
    chats, labels = aligned_third(9)
    with pytest.raises(AssertionError, match="wrong labels"):
        build(chats, labels[1:], VARIANTS, "clean", 0)


# --- order: promise 1 ------------------------------------------------------------------------------------


def agreement(left: list[str], right: list[str]) -> float:
    """Share of pairs of common chats that stand in the same relative order in both lists."""
    place = {chat_id: n for n, chat_id in enumerate(right)}
    places = np.array([place[chat_id] for chat_id in left if chat_id in place])
    upper = np.triu_indices(len(places), k=1)
    return float(np.mean(places[upper[0]] < places[upper[1]]))


def test_shared_chats_keep_their_order_in_every_variant_and_a_seeded_shuffle_does_not() -> None:
    chats, labels = aligned_third(900)
    arms = {name: build(chats, labels, VARIANTS, name, 0)[0] for name in VARIANTS}
    for name, seed in itertools.product(("clean", "random", "random2"), (0, 1, 2)):
        keyed = [[one.id for one in ordered(arms[arm], seed)] for arm in ("aligned", name)]
        assert agreement(*keyed) == 1.0
        shuffled = [
            [arms[arm][i].id for i in np.random.default_rng(seed).permutation(len(arms[arm]))]
            for arm in ("aligned", name)
        ]
        assert abs(agreement(*shuffled) - 0.5) < 0.05


def test_the_order_changes_with_the_seed_and_not_with_the_order_before() -> None:
    chats = numbered(200)
    assert ordered(chats, 0) == ordered(chats[::-1], 0)
    assert abs(agreement([c.id for c in ordered(chats, 0)], [c.id for c in ordered(chats, 1)]) - 0.5) < 0.15
    assert ordered(chats, 0) != chats
