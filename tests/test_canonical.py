"""Canonical digests: tagged, order-free for mappings, and refused where the meaning is not defined."""

from __future__ import annotations

import enum
import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.canonical import digest, encode
from harness.nouns import Chat, Role, Turn

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
PLAIN = st.recursive(
    SCALARS | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)

# One value a line; all of them differ in type or shape, and all but the last few print or compare alike somewhere.
DIFFERENT: list[Any] = [
    *(1, "1", True, 1.0, b"1", None, "None", "", 0, False, 0.0, -0.0, 10, "10"),
    *([], {}, [[]], [1], [[1]], ["1"], [1, 2], [[1], 2], [1, [2]], [[1, 2]], [12], ["ab"], ["a", "b"], ["b", "a"]),
    *({"a": 1}, {"a": "1"}, {"a": [1]}, {"a": {"b": 1}}, {"a": None}, [["a", 1]], {"": 1}, {"b": 1, "a": 2}),
]


def test_values_that_print_alike_have_different_digests() -> None:
    seen: dict[str, Any] = {}
    for value in DIFFERENT:
        key = digest("kind", value)
        assert key not in seen, f"{value!r} and {seen[key]!r} have one digest"
        seen[key] = value
    assert len(seen) == len(DIFFERENT)


def test_boundaries_between_neighbours_take_part() -> None:
    assert encode(["ab", "c"]) != encode(["a", "bc"])
    assert encode(["S1:a"]) != encode(["a"])
    assert encode([["a"], []]) != encode([[], ["a"]])


def test_the_order_of_keys_is_irrelevant_and_that_of_a_list_is_not() -> None:
    pairs = [("b", 1), ("a", [1, 2]), ("ä", {"y": 1, "x": 2}), ("", None)]
    forms = {digest("kind", dict(order)) for order in itertools.permutations(pairs)}
    assert len(forms) == 1
    assert digest("kind", {"x": {"a": 1, "b": 2}}) == digest("kind", {"x": {"b": 2, "a": 1}})
    assert digest("kind", [1, 2]) != digest("kind", [2, 1])


def test_the_kind_separates_equal_values() -> None:
    assert digest("chat", [1]) != digest("prompt", [1])


def test_tuples_are_lists_and_string_enums_are_their_values() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    assert digest("kind", (1, ("a",))) == digest("kind", [1, ["a"]])
    assert digest("kind", {"role": Role.USER, "colour": Colour.RED}) == digest(
        "kind", {"role": "user", "colour": "red"}
    )


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, {"b": {1, 2}}]}, "value[1].a[1].b"),
        ({"rate": float("nan")}, "value[1].rate"),
        ([1, float("inf")], "value[1][1]"),
        ({"where": Path("x")}, "value[1].where"),
        ({"x": [object()]}, "value[1].x[0]"),
        ({"array": np.zeros(2)}, "value[1].array"),
        ({"number": np.int64(1)}, "value[1].number"),
        ({"chat": Chat(turns=(Turn(role=Role.USER, text="hi"),))}, "value[1].chat"),
        ({"kind": int}, "value[1].kind"),
        (iter([1]), "value[1]"),
        ({"a": {1: "x"}}, "value[1].a"),
        ({None: 1}, "value[1]"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_the_path_to_it(value: Any, path: str) -> None:
    with pytest.raises(TypeError) as caught:
        digest("kind", value)
    assert str(caught.value).startswith(f"{path}: "), caught.value


def test_the_encoding_is_the_documented_one() -> None:
    """Written out by hand, so that digests can be recomputed in another language."""
    raw = b"L2:" + b"S6:golden" + b"M2:" + b"S1:a" + b"L3:N;B1;I-7;" + b"S2:\xc3\xa4" + b"F0x1.8000000000000p+0;"
    assert encode(["golden", {"ä": 1.5, "a": [None, True, -7]}]) == raw
    assert digest("golden", {"ä": 1.5, "a": [None, True, -7]}) == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize(
    ("value", "golden"),
    [
        (1, "427f049b1afee22a99e20db9c4c1afefd519160f9c09db6932b3d9f9f1a323a1"),
        ("1", "9546c80700610ad4735f7e41bee1dae60860813b7896cd3dec94fef56b58b89e"),
        (True, "b2f40fcd631f416a569c2f64642d7febf7f29213e414ec71d96354b651a9f373"),
        (1.0, "1e65e959a3bf44fd75d8370fc66c4e1e2e83f47c3f17f0ad11309373ccbbed3d"),
        (b"1", "2aa19e7c98d3fa22551bdb54aa39818a6e609d4c0d5aa51bc155fc7866a64286"),
        (None, "d763730ceff5a065fce31a6e55fb00565bd2fc2a43c460805c4bbc2e4e21fbe7"),
        ([[1], 2], "5978b76316d490d199ca54a8b5fa8eb7a6c3a41f8a556e2c290c07378f3a2fca"),
        ({"b": 2, "a": 1}, "7754e398d741ae097c5fdf474f32384e6a1bc52aa1276cb5ce98938b540829d2"),
        ("é", "e0efcc6e49443d28671653941f70047205dcb7eb24a0432dc577628683edcc6f"),
    ],
)
def test_golden_digests_stay_what_they_were(value: Any, golden: str) -> None:
    """A change here makes every record of every published study unfindable."""
    assert digest("golden", value) == golden


def test_the_golden_id_of_a_chat_stays_what_it_was() -> None:
    turns = (Turn(role=Role.USER, text="Why?"), Turn(role=Role.ASSISTANT, text="Because."))
    assert Chat(turns=turns).id == "c8e82039566cb8d9d78dea4853377b04"
    assert Chat(turns=turns, source="elsewhere", attributes={"a": 1}).id == Chat(turns=turns).id
    assert Chat(turns=turns[::-1]).id != Chat(turns=turns).id


@settings(max_examples=150, deadline=None)
@given(PLAIN, PLAIN)
def test_two_values_share_an_encoding_exactly_when_they_are_the_same_in_type_and_content(one: Any, two: Any) -> None:
    assert (encode(one) == encode(two)) == (_typed(one) == _typed(two))


def _typed(value: Any) -> Any:
    """A comparable form in which 1, True and 1.0 differ, and 0.0 and -0.0 too."""
    if isinstance(value, dict):
        return ("map", sorted((key, _typed(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", tuple(_typed(item) for item in value))
    return (type(value).__name__, repr(value))
