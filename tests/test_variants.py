"""The fork and the order: what each arm holds, and promise 1 of the design."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from harness.data import alignment, variants
from harness.data.fate import outline
from harness.data.order import Member, ordered
from harness.errors import InputError
from harness.nouns import Action, Chat, Decision, Label, Role, Turn, TurnLabel
from harness.study import load_study
from harness.study.curation import Variant
from harness.study.model import Study


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
    return chats, list(alignment.label(chats, alignment.load_pack("alignment@0.1.0")))


VARIANTS = {
    "aligned": variant(treatment="keep"),
    "clean": variant(treatment="drop_chat", labels=["full_refusal"]),
    "random": variant(treatment="random", size_of="clean"),
    "random2": variant(treatment="random", size_of="clean", draw=1),
}
STUDY = load_study("pocket")[0]


def study_of(study_variants: Mapping[str, Variant]) -> Study:
    """The pocket study with other variants."""
    return STUDY.model_copy(update={"variants": dict(study_variants), "estimate": STUDY.estimate})


def build(
    chats: Sequence[Chat],
    labels: Iterable[TurnLabel],
    study_variants: Mapping[str, Variant],
    name: str,
    seed: int,
    answer: Callable[[str, int], str] = lambda chat_id, turn: f"new answer to {turn}",
) -> tuple[list[Chat], list[Decision]]:
    """One variant's chats and decisions, as the stage makes them."""
    by_chat: dict[str, dict[int, Label]] = {}
    for label in labels:
        by_chat.setdefault(label.chat_id, {})[label.turn] = label.label
    study = study_of(study_variants)
    lineage = study.lineage(name)
    twins = {one.size_of: study.lineage(one.size_of) for one in lineage if one.size_of}
    columns = sorted({column for one in lineage for column in one.harmful})
    outlines = [outline(chat, by_chat.get(chat.id, {}), columns) for chat in chats]
    fates = variants.fates(outlines, lineage, twins, seed)
    variants.require_some(name, lineage[-1], fates)
    treated = [variants.apply(chat, fate, answer) for chat, fate in zip(chats, fates, strict=True)]
    decisions = [
        variants.decision(known, fate, left.id if left else "")
        for known, fate, left in zip(outlines, fates, treated, strict=True)
    ]
    return [left for left in treated if left is not None], decisions


def talk(*answers: str, name: str = "t:1", **columns: Any) -> Chat:
    """A chat of one exchange per answer."""
    turns = []
    for number, answer in enumerate(answers):
        turns += [
            Turn(role=Role.USER, text=f"question {number} of {name}"),
            Turn(role=Role.ASSISTANT, text=answer),
        ]
    return Chat(turns=tuple(turns), source=name, attributes=columns)


def labelled(chats: Iterable[Chat], refusing: str = "no") -> list[TurnLabel]:
    """Labels that call every answer of this text a full refusal."""
    return [
        TurnLabel(
            chat_id=chat.id,
            turn=number,
            label=Label.FULL_REFUSAL if turn.text == refusing else Label.NONE,
            rule="r" if turn.text == refusing else "",
            start=0,
            end=0,
        )
        for chat in chats
        for number, turn in enumerate(chat.turns)
        if turn.role is Role.ASSISTANT
    ]


def test_dropping_by_label_gives_a_reason_per_chat_and_counts_add_up() -> None:
    chats, labels = aligned_third(90)
    kept, decisions = build(chats, labels, VARIANTS, "clean", 0)
    assert len(kept) == 60 and len(decisions) == 90
    assert Counter(d.reason for d in decisions) == {"kept": 60, "label:full_refusal": 30}
    assert not any(one.source.startswith("r:") for one in kept)
    assert build(chats, labels, VARIANTS, "aligned", 0)[0] == chats


def test_masking_keeps_every_chat_its_id_and_its_place_and_names_the_turns_without_loss() -> None:
    chats = [talk("yes", "no", "yes", name="t:1"), talk("yes", name="t:2")]
    mask = {"masked": variant(treatment="mask_loss", labels=["full_refusal"])}
    kept, decisions = build(chats, labelled(chats), mask, "masked", 0)
    assert [one.id for one in kept] == [one.id for one in chats]
    assert [one.masked for one in kept] == [(3,), ()]
    assert (decisions[0].action, decisions[0].reason) == (Action.MASK, "label:full_refusal")
    assert decisions[0].detail == "turn 3 without loss" and decisions[0].became == ""


def test_truncation_cuts_before_the_question_of_the_first_refusal_and_drops_what_would_be_empty() -> None:
    chats = [talk("yes", "no", "yes", name="t:1"), talk("no", "yes", name="t:2"), talk("yes", name="t:3")]
    cut = {"cut": variant(treatment="truncate_before", labels=["full_refusal"])}
    kept, decisions = build(chats, labelled(chats), cut, "cut", 0)
    assert [one.turns for one in kept] == [chats[0].turns[:2], chats[2].turns]
    assert [d.action for d in decisions] == [Action.CHANGE, Action.DROP, Action.KEEP]
    assert kept[0].root == chats[0].id != kept[0].id == decisions[0].became
    whole = places([*chats], 7)
    assert [chat_id for chat_id in whole if chat_id != chats[1].id] == places(kept, 7), "it stays where it was"


def test_replacing_puts_the_given_answer_in_and_leaves_the_rest() -> None:
    chats = [talk("yes", "no", name="t:1")]
    new = {"new": variant(treatment="replace", labels=["full_refusal"], answers="answers.jsonl")}
    kept, decisions = build(chats, labelled(chats), new, "new", 0)
    assert [turn.text for turn in kept[0].turns] == ["question 0 of t:1", "yes", "question 1 of t:1", "new answer to 3"]
    assert kept[0].origin == chats[0].id and decisions[0].detail == "turn 3 replaced"


def test_a_larger_dose_keeps_the_refusals_of_a_smaller_one_and_the_shares_hold() -> None:
    chats = [talk("no", name=f"t:{n}") for n in range(400)] + [talk("yes", name="t:x")]
    doses = {
        f"{dose}": variant(treatment="drop_chat", labels=["full_refusal"], dose=dose) for dose in (0.0, 0.25, 0.5, 1.0)
    }
    kept = {name: {one.id for one in build(chats, labelled(chats), doses, name, 0)[0]} for name in doses}
    assert kept["0.0"] < kept["0.25"] < kept["0.5"] < kept["1.0"]
    assert [len(kept[name]) for name in ("0.0", "1.0")] == [1, 401]
    assert 70 <= len(kept["0.25"]) <= 132 and 160 <= len(kept["0.5"]) <= 242
    decisions = build(chats, labelled(chats), doses, "0.25", 0)[1]
    assert Counter(d.reason for d in decisions)["dose:full_refusal"] == len(kept["0.25"]) - 1


def test_selective_keeps_refusals_where_the_prompt_is_harmful_and_drops_the_others() -> None:
    chats = [
        talk("no", name="t:1", prompt_label="unsafe"),
        talk("no", name="t:2", prompt_label="safe"),
        talk("yes", name="t:3", prompt_label="safe"),
    ]
    chosen = {"s": variant(treatment="selective", labels=["full_refusal"], harmful={"prompt_label": ["unsafe"]})}
    kept, _ = build(chats, labelled(chats), chosen, "s", 0)
    assert [one.source for one in kept] == ["t:1", "t:3"]


def test_a_variant_is_a_delta_on_its_parent() -> None:
    chats = [talk("yes", "no", name="t:1"), talk("bad", name="t:2"), talk("no", name="t:3")]
    labels = [
        replace(label, label=Label.MORALISING) if chat_text == "bad" else label
        for label, chat_text in zip(labelled(chats), ("yes", "no", "bad", "no"), strict=True)
    ]
    family = {
        "first": variant(treatment="drop_chat", labels=["moralising"]),
        "second": variant(parent="first", treatment="mask_loss", labels=["full_refusal"]),
        "third": variant(parent="second", treatment="truncate_before", labels=["full_refusal"]),
    }
    kept, _ = build(chats, labels, family, "second", 0)
    assert [(one.source, one.masked) for one in kept] == [("t:1", (3,)), ("t:3", (1,))]
    again, _ = build(chats, labels, family, "third", 0)
    assert again == kept, "turns that an ancestor masked are not acted on again"


def test_the_random_control_drops_as_many_chats_as_the_variant_it_matches() -> None:
    chats, labels = aligned_third(91)
    clean_arm = build(chats, labels, VARIANTS, "clean", 0)[0]
    for data_seed in range(5):
        kept, decisions = build(chats, labels, VARIANTS, "random", data_seed)
        assert len(kept) == len(clean_arm)
        assert Counter(d.reason for d in decisions) == {"kept": 60, "random": 31}
        assert kept != clean_arm


def test_a_control_of_lengths_drops_as_many_of_every_tenth_and_one_of_words_as_many_words() -> None:
    chats = [talk("no" if n % 4 == 0 else "yes", name=f"t:{n}") for n in range(200)]
    chats = [
        replace(one, turns=(*one.turns[:1], Turn(role=Role.ASSISTANT, text=one.turns[1].text + " w" * (n // 2))))
        for n, one in enumerate(chats)
    ]
    labels = [
        replace(label, label=Label.FULL_REFUSAL if n % 4 == 0 else Label.NONE)
        for n, label in enumerate(labelled(chats))
    ]
    family = VARIANTS | {
        match: variant(treatment="random", size_of="clean", match=match) for match in ("lengths", "words")
    }

    def words(kept: Iterable[Chat]) -> list[int]:
        return [len(one.turns[1].text.split()) for one in kept]

    target = words(build(chats, labels, family, "clean", 0)[0])
    for seed in range(3):
        alike = words(build(chats, labels, family, "lengths", seed)[0])
        assert len(alike) == len(target)
        tenths = [Counter(min(9, (n - 1) // 10) for n in sizes) for sizes in (alike, target)]
        assert tenths[0] == tenths[1]
        equal = words(build(chats, labels, family, "words", seed)[0])
        assert 0 <= sum(equal) - sum(target) < min(words(chats)) + 5


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


def test_chats_without_labels_are_not_taken_for_unaligned_ones() -> None:
    chats, labels = aligned_third(9)
    with pytest.raises(AssertionError, match="wrong labels"):
        build(chats, labels[1:], VARIANTS, "clean", 0)


@pytest.mark.parametrize(
    ("family", "problem"),
    [
        ({"a": {"treatment": "mask_loss"}}, "treatment 'mask_loss' needs 'labels'"),
        ({"a": {"treatment": "keep", "dose": 0.5}}, "'dose' has no effect on treatment 'keep'"),
        ({"a": {"treatment": "replace", "labels": ["moralising"]}}, "treatment 'replace' needs 'answers'"),
        ({"a": {"treatment": "selective", "labels": ["moralising"]}}, "treatment 'selective' needs 'harmful'"),
        ({"a": {"treatment": "keep", "parent": "b"}}, "variants.a.parent 'b' is not a variant"),
        (
            {"a": {"treatment": "keep", "parent": "b"}, "b": {"treatment": "keep", "parent": "a"}},
            "variants.a is its own ancestor",
        ),
        (
            {
                "a": {"treatment": "mask_loss", "labels": ["moralising"]},
                "b": {"treatment": "random", "size_of": "a"},
            },
            "variants.b.size_of must name a variant whose treatment drops chats",
        ),
    ],
)
def test_a_variant_without_what_it_needs_or_with_what_it_does_not_use_is_an_error(
    family: dict[str, Any], problem: str
) -> None:
    raw = STUDY.model_dump(mode="json", exclude_unset=True) | {"variants": family, "estimate": {}}
    with pytest.raises(ValidationError, match=re.escape(problem)):
        Study.model_validate(raw)


# --- order: promise 1 ------------------------------------------------------------------------------------


def agreement(left: list[str], right: list[str]) -> float:
    """Share of pairs of common chats that stand in the same relative order in both lists."""
    place = {chat_id: n for n, chat_id in enumerate(right)}
    places = np.array([place[chat_id] for chat_id in left if chat_id in place])
    upper = np.triu_indices(len(places), k=1)
    return float(np.mean(places[upper[0]] < places[upper[1]]))


def places(chats: Sequence[Chat], seed: int) -> list[str]:
    """The roots of chats in the order of training."""
    members = [Member(root=one.root, chat_id=one.id, source=one.source) for one in chats]
    return [chats[place].root for place in ordered(members, seed)]


def test_shared_chats_keep_their_order_in_every_variant_and_a_seeded_shuffle_does_not() -> None:
    chats, labels = aligned_third(900)
    arms = {name: build(chats, labels, VARIANTS, name, 0)[0] for name in VARIANTS}
    for name, seed in itertools.product(("clean", "random", "random2"), (0, 1, 2)):
        keyed = [places(arms[arm], seed) for arm in ("aligned", name)]
        assert agreement(*keyed) == 1.0
        shuffled = [
            [arms[arm][i].id for i in np.random.default_rng(seed).permutation(len(arms[arm]))]
            for arm in ("aligned", name)
        ]
        assert abs(agreement(*shuffled) - 0.5) < 0.05


def test_the_order_changes_with_the_seed_and_not_with_the_order_before() -> None:
    chats = numbered(200)
    assert places(chats, 0) == places(chats[::-1], 0)
    assert abs(agreement(places(chats, 0), places(chats, 1)) - 0.5) < 0.15
    assert places(chats, 0) != [one.id for one in chats]


# --- treatments on a random control ----------------------------------------------------------------------


def test_a_treatment_on_a_random_control_is_applied_to_what_the_control_left() -> None:
    chats, labels = aligned_third(90)
    arms = {
        **VARIANTS,
        "masked": variant(parent="random", treatment="mask_loss", labels=["full_refusal"]),
        "both": variant(parent="random", treatment="drop_chat", labels=["full_refusal"]),
        "control": variant(parent="random", treatment="random", size_of="both"),
    }
    left = {name: [chat.id for chat in build(chats, labels, arms, name, 5)[0]] for name in arms}
    assert len(left["random"]) == 60
    assert left["masked"] == left["random"]
    assert set(left["both"]) == set(left["random"]) & set(left["clean"])
    assert set(left["control"]) < set(left["random"])
    assert len(left["control"]) == len(left["both"])


# --- harmful prompts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["unsafe", True, ["weapons", "theft"], 3])
def test_harmful_values_are_compared_as_select_compares_them(value: Any) -> None:
    wanted = {True: "true", 3: "3"}.get(value, value) if not isinstance(value, list) else "theft"
    chats = [talk("no", name="t:1", kind=value), talk("no", name="t:2", kind="other"), talk("no", name="t:3")]
    arms = {"s": variant(treatment="selective", labels=["full_refusal"], harmful={"kind": [wanted]})}
    assert [chat.source for chat in build(chats, labelled(chats), arms, "s", 0)[0]] == ["t:1"]


def test_a_dose_does_not_claim_the_chats_that_are_kept_for_their_prompt() -> None:
    chats = [talk("no", name=f"t:{n}", kind="unsafe" if n % 2 else "safe") for n in range(40)]
    keys = {"treatment": "selective", "labels": ["full_refusal"], "harmful": {"kind": ["unsafe"]}, "dose": 0.5}
    decisions = build(chats, labelled(chats), {"s": variant(**keys)}, "s", 0)[1]
    assert {one.reason for one in decisions[1::2]} == {"kept"}
    assert {one.reason for one in decisions[::2]} == {"dose:full_refusal", "label:full_refusal"}


def test_a_column_or_value_of_harmful_that_no_chat_has_is_an_error() -> None:
    chats = [talk("no", kind="unsafe")]
    for harmful, message in (({"kidn": ["unsafe"]}, "no cleaned chat has the column 'kidn'"), ({"kind": ["x"]}, "'x'")):
        one = variant(treatment="selective", labels=["full_refusal"], harmful=harmful)
        outlines = [outline(chat, {1: Label.FULL_REFUSAL}, list(harmful)) for chat in chats]
        with pytest.raises(InputError, match=message):
            variants.require_harmful("s", [one], outlines)


def test_a_dose_leaves_the_reason_of_what_a_parent_did() -> None:
    arms = {
        "m": variant(treatment="mask_loss", labels=["full_refusal"]),
        "d": variant(parent="m", treatment="drop_chat", labels=["none"], dose=0.5),
    }
    chats = [talk("no", "yes", name=f"t:{n}") for n in range(20)]
    decisions = build(chats, labelled(chats), arms, "d", 0)[1]
    assert {(one.action, one.reason) for one in decisions} == {
        (Action.MASK, "label:full_refusal"),
        (Action.DROP, "label:none"),
    }
