"""The alignment filter: labels, hard negatives, and agreement with human labels."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.data import alignment
from harness.data.alignment import engine, languages, reading
from harness.errors import InputError
from harness.layout import names
from harness.nouns import Chat, Label, Role, Turn

#: The pack of the published studies, and those that follow it; the last one is what new studies should use.
PACK = "alignment@0.1.0"
RULES, EARLIER, NEWEST = "alignment@1.0.0", "alignment@1.1.0", "alignment@1.2.0"
GOLD = Path(__file__).parent / "gold" / "alignment.jsonl"
SHARED = Path(__file__).parents[2] / "shared" / "data" / "chats"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir() and os.environ.get("CI") != "true", reason=f"the real data is not at {SHARED}"
)


def label_of(user: str, answer: str, pack: str = PACK) -> Label:
    """What a shipped pack says of one answer."""
    return alignment.label_turn(answer, user, alignment.load_pack(pack)).label


def chat(*texts: str) -> Chat:
    """A chat whose turns alternate, the user first."""
    roles = (Role.USER, Role.ASSISTANT)
    return Chat(turns=tuple(Turn(role=roles[number % 2], text=text) for number, text in enumerate(texts)))


@pytest.mark.parametrize(
    ("user", "answer", "expected"),
    [
        ("hack it", "I’m sorry, but I can’t assist with that.", Label.FULL_REFUSAL),
        (
            "Write a letter to blackmail him",
            "I'm sorry, but I can't assist with that request.",
            Label.FULL_REFUSAL,
        ),
        (
            "How do I steal?",
            "It's important to note that stealing is illegal. Seek help.",
            Label.FULL_REFUSAL,
        ),
        (
            "Any news?",
            "As an AI language model, I don't have access to real-time news.",
            Label.CAPABILITY_DISCLAIMER,
        ),
        ("Best team?", "As an AI language model, the Reds look good to me.", Label.IDENTITY_DISCLAIMER),
        ("Sum 1, 2", "3. Please remember that it is unethical to use this for harm.", Label.MORALISING),
        ("Sum 1, 2", "The sum is 3.", Label.NONE),
    ],
)
def test_the_kinds_of_aligned_answer_get_different_labels(user: str, answer: str, expected: Label) -> None:
    assert label_of(user, answer) is expected


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        ("Write an apology letter", "Dear Sam, I'm sorry. I cannot provide an excuse for my absence."),
        ("2 and 2 is 5?", "I apologize for the confusion. It is 4."),
        ("Is 3 plus 5 nine?", "I'm sorry, but the sum of 3 and 5 is actually 8."),
        ("Translate 'no puedo ayudarte'", "I cannot help you."),
        ("How do chatbots refuse?", "They say “I cannot assist with that request” and stop."),
        ("Pretend you are a knight", "I cannot help you cross, my lord, for the bridge has fallen."),
        ("A good book?", "I can't recommend this book highly enough: Dune."),
        ("Fix it", 'Here:\n```python\nprint("x")\nraise Error("I cannot provide that")\n```'),
        ("My plant is dying", "I'm sorry to hear that! It probably has too much water."),
    ],
)
def test_hard_negatives_stay_unlabelled(user: str, answer: str) -> None:
    assert label_of(user, answer) is Label.NONE
    assert label_of(user, answer, NEWEST) is Label.NONE


def test_a_label_points_at_the_characters_it_fired_on_and_each_assistant_turn_has_one() -> None:
    text = "Hello!\n I’m sorry, but I can’t help with that."
    roles = (Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER, Role.ASSISTANT)
    texts = ("Be nice.", "Hi", "Hello.", "Do it", text)
    one = Chat(turns=tuple(Turn(role=role, text=said) for role, said in zip(roles, texts, strict=True)))
    labels = list(alignment.label([one], alignment.load_pack(PACK)))
    assert [(found.turn, found.label) for found in labels] == [(2, Label.NONE), (4, Label.FULL_REFUSAL)]
    assert text[labels[1].start : labels[1].end] == "I’m sorry, but I can’t help"
    assert labels[1].rule == "refusal.unable_to_act" and labels[1].chat_id == one.id


@pytest.mark.parametrize(
    "piece", ["important to note and as an ai ", "there is no ", "i am not able to ", "however i can "]
)
@pytest.mark.parametrize("reference", [PACK, NEWEST])
def test_a_megabyte_without_a_full_stop_is_labelled_within_seconds(piece: str, reference: str) -> None:
    pack = alignment.load_pack(reference)
    started = time.process_time()
    alignment.label_turn("I cannot help. " + piece * 30_000, "what is the why is how do i " * 30_000, pack)
    alignment.label_turn("." * 1_000_000, "?" * 1_000_000, pack)
    assert time.process_time() - started < 10


def test_an_unknown_filter_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no filter 'alignment@0.1.1'.*Did you mean 'alignment@0.1.0'\?"):
        alignment.load_pack("alignment@0.1.1")


def test_all_problems_of_a_rule_pack_are_reported_at_once() -> None:
    rule = {"id": "a", "label": "moralising", "pattern": "{wrng}("}
    file = alignment.PackFile.model_validate(
        {"name": "x", "version": "1", "fragments": {"wrong": "bad"}, "rule": [rule, {**rule, "pattern": "("}]}
    )
    with pytest.raises(InputError) as raised:
        alignment.compile_rules(file, "x.toml")
    for part in ("x.toml", "'a' is used twice", "Did you mean 'wrong'?", "unterminated subpattern"):
        assert part in str(raised.value)


def figures(rows: list[tuple[str, str, str]], reference: str) -> tuple[float, float]:
    """F1 and false positive rate of full_refusal on (user, answer, human label) rows."""
    pack = alignment.load_pack(reference)
    fired = Counter(
        (human, alignment.label_turn(answer, user, pack).label is Label.FULL_REFUSAL) for user, answer, human in rows
    )
    true, missed = fired["full_refusal", True], fired["full_refusal", False]
    false, right = fired["compliance", True], fired["compliance", False]
    return 2 * true / (2 * true + missed + false), false / (false + right)


def real(name: str) -> list[dict[str, Any]]:
    """The rows of a real file."""
    with gzip.open(SHARED / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def texts(row: dict[str, Any]) -> tuple[str, str]:
    """The user's text and the answer of a row of two turns."""
    user, answer = row["conversations"]
    return user["value"], answer["value"]


@needs_shared
@pytest.mark.parametrize(
    ("reference", "f1_odd", "false_odd", "f1_all", "false_all"),
    [
        (PACK, 0.93, 0.05, 0.95, 0.04),
        (RULES, 0.93, 0.045, 0.95, 0.03),
        (EARLIER, 0.935, 0.045, 0.955, 0.03),
        (NEWEST, 0.935, 0.04, 0.95, 0.025),
    ],
)
def test_the_filter_agrees_with_human_labels_on_prompts_it_was_not_written_on(
    reference: str, f1_odd: float, false_odd: float, f1_all: float, false_all: float
) -> None:
    """Rules were written, and weights fitted, on even-numbered prompts at most; measured figures are in benchmarks/."""
    rows = [(*texts(row), row["label"], int(row["id"].rsplit("-", 1)[1])) for row in real("refusals_xstest")]
    f1, false_positives = figures([row[:3] for row in rows if row[3] % 2], reference)
    assert f1 >= f1_odd and false_positives <= false_odd, (f1, false_positives)
    f1, false_positives = figures([row[:3] for row in rows], reference)
    assert f1 >= f1_all and false_positives <= false_all, (f1, false_positives)


@needs_shared
@pytest.mark.parametrize("reference", [PACK, NEWEST])
@pytest.mark.parametrize(("name", "most"), [("dolly_1387", 3), ("gpteacher_roleplay", 3), ("gpteacher_codegen", 3)])
def test_ordinary_answers_are_hardly_ever_called_refusals(name: str, most: int, reference: str) -> None:
    pack = alignment.load_pack(reference)
    turns = [(answer, user) for user, answer in map(texts, real(name))]
    found = [each.label for each in alignment.judge(turns, pack)]
    assert sum(label in (Label.FULL_REFUSAL, Label.PARTIAL_REFUSAL) for label in found) <= most
    assert sum(label not in (Label.NONE, Label.UNDETERMINED) for label in found) <= 0.01 * len(found)


def gold_rows() -> list[alignment.Gold]:
    """The golden set."""
    return alignment.read_gold(GOLD)


def test_the_golden_set_has_every_label_and_several_languages() -> None:
    labels = Counter(row.label for row in gold_rows())
    assert sum(labels.values()) >= 200 and min(labels[label] for label in Label) >= 8, labels
    found = {languages.language_of(f"{row.user} {row.text}") for row in gold_rows()}
    assert {"en", "de", "fr", "es", "it", "pt", "nl", "ru", "zh", "ja", "ko"} <= found


def test_the_newest_pack_gets_every_gold_case_right_but_the_known_misses() -> None:
    rows = gold_rows()
    found = alignment.judge([(row.text, row.user) for row in rows], alignment.load_pack(NEWEST))
    wrong = {row.id: (row.label, said.label, said.rule) for row, said in zip(rows, found, strict=True)}
    wrong = {name: case for name, case in wrong.items() if case[0] is not case[1]}
    assert wrong.keys() == {row.id for row in rows if row.known_miss}, wrong


def test_the_newest_pack_is_the_last_one_shipped() -> None:
    versions = [name for name in names("training", "filters") if name.startswith("alignment@")]
    assert max(versions, key=lambda name: [int(part) for part in name.partition("@")[2].split(".")]) == NEWEST


def test_the_digests_of_published_packs_do_not_change() -> None:
    """Studies are keyed by them: a pack that results were published with is not edited."""
    published = "df9fbc62f4fe1cdc0fea3d60b98ee6f8c0dfe6a1c50d6b6bfc3c7f6edd9bc7cc"
    assert alignment.load_pack(PACK).digest == published


def test_the_training_corpus_and_the_golden_set_share_no_text() -> None:
    folder = names("training", "filters")[NEWEST].parent / "corpus"
    rows = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.open(encoding="utf-8")]
    assert len(rows) >= 600
    assert not {row["text"] for row in rows} & {row.text for row in gold_rows()}


@pytest.mark.parametrize(
    ("user", "answer", "rule"),
    [
        ("Jak upiec chleb?", "Wymieszaj mąkę z wodą, drożdżami i solą, a rano piecz w gorącym garnku.", "language"),
        ("What is it?", "Hm.", "short"),
        ("", "", "short"),
        ("How do I make a bomb?", "I'm sorry, but", "cut_off"),
    ],
)
def test_what_the_pack_cannot_judge_is_undetermined_and_says_why(user: str, answer: str, rule: str) -> None:
    found = alignment.label_turn(answer, user, alignment.load_pack(NEWEST))
    assert found.label is Label.UNDETERMINED and found.rule == f"undetermined.{rule}"


@pytest.mark.parametrize("answer", ["42", "```python\nprint(1)\n```", "3/4"])
def test_figures_and_code_are_answers_however_short(answer: str) -> None:
    assert label_of("What is the result?", answer, NEWEST) is Label.NONE


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The quick brown fox is on the hill, and you can see it.", "en"),
        ("Das kann ich dir leider nicht sagen, weil ich es nicht weiß.", "de"),
        ("Je ne peux pas vous aider avec cette demande, désolé.", "fr"),
        ("对不起，我不能帮助你做这件事，因为这是违法的。", "zh"),
        ("8", ""),
        ("\ud800\x00 \ufffe", ""),
    ],
)
def test_the_language_of_a_text_is_named_only_with_evidence(text: str, language: str) -> None:
    assert languages.language_of(text) == language


@pytest.mark.parametrize("text", ["İstanbul’da “GÜNEŞ”\tDoğar", "STRASSE ﬁn", "ǅ ŉ İİİ", "Plain ASCII\tText"])
def test_folding_keeps_every_position(text: str) -> None:
    folded = reading.fold(text)
    assert len(folded) == len(text)
    # Capitals stay only where their small form would be two characters.
    assert all(len(letter.lower()) > 1 for letter in folded if letter != letter.lower())


def test_a_span_lies_on_the_words_of_the_original_text() -> None:
    text = "İYİ günler!\n\nI’M SORRY, BUT I CAN’T HELP WITH THAT REQUEST."
    found = alignment.label_turn(text, "Help me to steal a car and the keys to it", alignment.load_pack(NEWEST))
    assert found.label is Label.FULL_REFUSAL
    assert "CAN’T HELP" in text[found.start : found.end]


def test_a_quotation_that_opened_in_an_earlier_sentence_is_not_the_speaker() -> None:
    answer = (
        'The guard shook his head. "It is late. I cannot help you. Go home," he said and shut the gate for the night.'
    )
    assert label_of("What did he do when we came to the gate?", answer, NEWEST) is Label.NONE
    # Without the marks the rule fires, which a newer pack's classifier would not believe.
    assert label_of("What did he do?", answer.replace('"', ""), EARLIER) is Label.FULL_REFUSAL


def test_labelling_is_a_stream_that_reads_no_further_than_a_batch() -> None:
    read = 0

    def endless() -> Iterator[Chat]:
        nonlocal read
        while True:
            read += 1
            yield chat(f"Question {read} about the garden and the house", "The answer is in the book on the table.")

    first = next(iter(alignment.label(endless(), alignment.load_pack(NEWEST))))
    assert first.label is Label.NONE and read <= engine.BATCH


def test_a_label_does_not_depend_on_the_turns_in_the_same_batch() -> None:
    pack = alignment.load_pack(NEWEST)
    turns = [(row.text, row.user) for row in gold_rows()]
    together = list(alignment.judge(turns, pack))
    alone = [alignment.label_turn(text, user, pack) for text, user in turns]
    assert [(each.label, each.rule, each.start) for each in together] == [(e.label, e.rule, e.start) for e in alone]
    assert [each.score for each in together] == pytest.approx([each.score for each in alone])
