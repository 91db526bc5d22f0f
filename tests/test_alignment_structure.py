"""The measures of structure: what sentences do, what is left that answers, and what a weights file makes of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from harness.data import alignment
from harness.data.alignment import classifier
from harness.data.alignment.structure import Structure
from harness.errors import InputError
from harness.nouns import Label

STRUCTURE = Structure(
    acts={"declines": re.compile("i cannot"), "preaches": re.compile("important")},
    marks={"lists": re.compile(r"^\*")},
    asked={"howto": re.compile("how do")},
)
LISTED = "I cannot do all of it.\n* Take four eggs and a pan.\n* Heat the butter in it slowly.\n* Stir."
PACK = """
[classifier]
weights = "w.tsv"
[acts]
declines = "i cannot"
[[rule]]
id = "weak"
label = "full_refusal"
pattern = "no"
score = 0.7
"""


def test_acts_are_measured_by_place_and_share_and_crossed_with_what_was_asked() -> None:
    found = STRUCTURE.measures(LISTED, "How do I bake it?")
    assert (found["#declines.1"], found["#declines.share"], found["#?howto*declines"]) == (1.0, 0.25, 1.0)
    assert "#declines.2" not in found and "#preaches.any" not in found
    assert (found["#lists.2"], found["#lists.share"]) == (1.0, 0.75)


def test_what_no_act_takes_up_counts_as_an_answer_and_marks_do_not_take_up_anything() -> None:
    found = STRUCTURE.measures(LISTED, "")
    # By hand: 6 words decline; 7, 7 and 2 are left, with their stars.
    assert found["#content"] == pytest.approx(16 / 22)
    assert found["#plain.at"] == 0.25 and found["#plain.run"] == 2 / 8 and "#plain.none" not in found
    assert STRUCTURE.measures("I cannot. It is important.", "")["#plain.none"] == 1.0


@pytest.mark.parametrize("text", ["", "\n", "...", "\ud800", "a" * 100_000, "I cannot. " * 5000, "é" * 3000])
def test_every_turn_can_be_measured_and_no_measure_is_large(text: str) -> None:
    for answer, user in ((text, ""), ("", text), (text, text)):
        assert all(0 < value <= 1.5 for value in STRUCTURE.measures(answer, user).values())


def test_weights_of_measures_add_to_those_of_ngrams(tmp_path: Path) -> None:
    labels = (Label.FULL_REFUSAL, Label.NONE)
    rows = {"cannot": [1.0, 0.0], "#declines.1": [2.0, 0.0], "#declines.share": [0.0, 4.0]}
    classifier.Weights.save(tmp_path / "w.tsv", labels, [0.0, 0.5], rows)
    read = classifier.Weights.load(tmp_path / "w.tsv", STRUCTURE)
    scores = read.scores([LISTED.lower(), "well"], ["", ""])
    # By hand: 1 + 2 against 0.25 * 4 + 0.5, and nothing against 0.5.
    assert np.log(scores[:, 0] / scores[:, 1]) == pytest.approx([1.5, -0.5])


def test_weights_of_measures_without_patterns_to_measure_by_are_an_error(tmp_path: Path) -> None:
    classifier.Weights.save(tmp_path / "w.tsv", (Label.NONE,), [0.0], {"#declines.1": [1.0]})
    with pytest.raises(InputError, match=r"weighs structure; its pack needs \[acts\]"):
        classifier.Weights.load(tmp_path / "w.tsv")


def test_patterns_of_measures_are_checked_with_the_pack_and_in_its_digest(tmp_path: Path) -> None:
    classifier.Weights.save(tmp_path / "w.tsv", (Label.FULL_REFUSAL,), [0.0], {"#declines.1": [1.0]})
    digests = set()
    for pattern in ("i cannot", "i will not"):
        (tmp_path / "mine@1.toml").write_text(f'name = "mine"\nversion = "1"\n{PACK.replace("i cannot", pattern)}')
        digests.add(alignment.load_pack(str(tmp_path / "mine@1.toml")).digest)
    assert len(digests) == 2
    (tmp_path / "mine@1.toml").write_text(f'name = "mine"\nversion = "1"\n{PACK.replace("i cannot", "(")}')
    with pytest.raises(InputError, match=r"\[acts\] declines: missing \)"):
        alignment.load_pack(str(tmp_path / "mine@1.toml"))
