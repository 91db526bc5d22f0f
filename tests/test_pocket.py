"""The pocket study's world: deterministic, lossless, learnable in principle, and honest about its items."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data import pocket
from harness.data.pocket import conversations, families, pretraining, refusals, vocabulary
from harness.data.pocket.world import CATEGORIES, Dice
from harness.errors import InputError
from harness.nouns import Role

TASKS = Path(__file__).resolve().parent.parent / "tasks"
FAMILIES = tuple(families.FAMILIES)


def test_importing_pocket_imports_neither_torch_nor_transformers_nor_numpy() -> None:
    heavy = ("torch", "transformers", "numpy")
    code = f"import sys, harness.data.pocket; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_tokenizer_is_built_to_the_same_bytes_in_every_process() -> None:
    code = "from harness.data.pocket.vocabulary import tokenizer; print(tokenizer().to_str())"
    environment = {"PYTHONHASHSEED": "1", "PYTHONPATH": str(TASKS.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.rstrip("\n") == vocabulary.tokenizer().to_str()
    assert vocabulary.tokenizer().get_vocab_size() <= 1024


@pytest.mark.parametrize(
    "text",
    ["", " leading", "tabs\tand\r\nlines\n\n", "naïve 日本語 🙂\u200d\x00", "x" * 99, "  if a:\n\t pass"],
)
def test_the_tokenizer_gives_every_text_back(text: str) -> None:
    tokenizer = vocabulary.tokenizer()
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_the_letters_of_the_choices_are_one_token_each_and_all_different() -> None:
    ids = [vocabulary.tokenizer().encode(f" {letter}").ids for letter in "ABCD"]
    assert all(len(found) == 1 for found in ids) and len({found[0] for found in ids}) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_target_follows_its_prompt_on_a_token_boundary(family: str) -> None:
    tokenizer = vocabulary.tokenizer()
    blank = "" if family == "pocket_humaneval" else " "
    for exercise in families.exercises(family)["test"]:
        prompt = tokenizer.encode(exercise.prompt).ids
        assert tokenizer.encode(exercise.prompt + blank + exercise.target).ids[: len(prompt)] == prompt


@pytest.mark.parametrize("family", FAMILIES)
def test_items_have_unique_ids_and_prompts_and_are_enough(family: str) -> None:
    rows = pocket.items(family, "test") + pocket.items(family, "dev")
    assert len({row["item_id"] for row in rows}) == len(rows)
    prompts = [e.prompt for split in families.exercises(family).values() for e in split]
    assert len(set(prompts)) == len(prompts)
    assert 150 <= len(pocket.items(family, "test")) <= 250


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_split_or_family_names_the_known_ones(family: str) -> None:
    with pytest.raises(InputError, match="Did you mean 'test'"):
        pocket.items(family, "tests")
    with pytest.raises(InputError, match=f"Did you mean '{family}'"):
        pocket.items(family + "x", "test")


def test_no_test_item_occurs_in_the_pretraining_text() -> None:
    text = "\n\n".join(pocket.documents(3, 150))
    assert not any(prompt in text for family in FAMILIES for prompt in families.held_out(family))


def test_a_membership_question_has_exactly_one_right_choice() -> None:
    kind = {word: category for category, words in CATEGORIES.items() for word in words}
    assert len(kind) == sum(len(words) for words in CATEGORIES.values())
    for row in pocket.items("pocket_mmlu", "test"):
        if row["subject"] != "people":
            assert len({kind[choice] for choice in row["choices"]}) == 4
        assert len(set(row["choices"])) == 4


def test_every_canonical_solution_passes_its_own_test_and_a_broken_one_does_not() -> None:
    for row in pocket.items("pocket_humaneval", "test"):
        names: dict[str, object] = {}
        exec(row["prompt"] + row["canonical_solution"] + row["test"], names)
        check, right = names["check"], names[row["entry_point"]]
        assert callable(check)
        check(right)
        with pytest.raises(AssertionError):
            check(lambda *values: "not the answer")


def test_the_worked_answer_ends_in_the_target() -> None:
    for row in pocket.items("pocket_bbh", "test"):
        assert row["worked"].endswith(f"So the answer is {row['target']}.")


def test_rows_are_full_but_never_longer_than_the_limit() -> None:
    lengths = [vocabulary.token_count(row) for row in pocket.documents(0, 100)]
    assert max(lengths) < pretraining.ROW_TOKENS
    assert sum(lengths) / len(lengths) > 0.95 * pretraining.ROW_TOKENS


def test_a_longer_collection_extends_a_shorter_one() -> None:
    assert list(pocket.chats(5, 60))[:20] == list(pocket.chats(5, 20))
    assert list(pocket.documents(5, 6))[:2] == list(pocket.documents(5, 2))
    assert list(pocket.chats(6, 20)) != list(pocket.chats(5, 20))


def test_about_a_third_of_the_answers_are_aligned_and_a_few_chats_are_broken() -> None:
    openings = (*refusals.OPENINGS, *refusals.SOFT, *refusals.DISCLAIMERS)
    raw = list(pocket.chats(0, 1500))
    answers = [turn.text for chat in raw for turn in chat.turns if turn.role is Role.ASSISTANT]
    aligned = sum(text.startswith(openings) or text.endswith(refusals.MORALS) for text in answers)
    assert 0.28 < aligned / len(answers) < 0.38
    repeats = len(raw) - len({chat.id for chat in raw})
    silent = sum(any(not turn.text for turn in chat.turns) for chat in raw)
    doubled = sum(chat.turns[1].role is Role.USER for chat in raw)
    short = sum(len(chat.turns[0].text.split()) == 1 for chat in raw)
    assert all(10 <= count <= 150 for count in (repeats, silent, doubled, short)), (
        repeats,
        silent,
        doubled,
        short,
    )


def test_broken_chats_still_begin_with_the_user() -> None:
    assert all(chat.turns[0].role is Role.USER for chat in conversations.chats(1, 200))


def test_the_same_place_gives_the_same_draw() -> None:
    assert [Dice(0, "a").number(0, 99) for _ in range(3)] == [Dice(0, "a").number(0, 99)] * 3


def test_the_base_model_is_the_same_bytes_twice_and_knows_nothing(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pocket.build_base(tmp_path / "a", {"seed": 3})
    pocket.build_base(tmp_path / "b", {"seed": 3})
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} <= set(names)
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "a")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "a", dtype=torch.float32)
    assert model.config.head_dim == 32 and not model.config.tie_word_embeddings
    ids = tokenizer("Which of these is a fruit?", return_tensors="pt")["input_ids"]
    assert ids[0, 0] == vocabulary.tokenizer().encode("Which").ids[0], "a BOS token was added"
    loss = model(input_ids=ids, labels=ids).loss.item()
    assert abs(loss - math.log(1024)) < 1.5


def test_the_untrained_base_does_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    """Seen once: a base made under OMP_NUM_THREADS=1 differed in its last digits, under the same key."""
    found = []
    for threads in ("1", "2"):
        subprocess.run(
            [sys.executable, "-m", "harness.data.pocket.model", str(tmp_path / threads)],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": ""},
        )
        found.append((tmp_path / threads / "model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_an_unknown_setting_of_the_base_model_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'hidden_size'"):
        pocket.build_base(tmp_path, {"hidden": 1})


def test_the_chat_template_marks_the_answers_with_their_end_token(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vocabulary.write(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    messages = [
        {"role": "user", "content": "What is 1 + 2 - 1?"},
        {"role": "assistant", "content": "It is 2."},
    ]
    made = tokenizer.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True)
    marked = [i for i, mark in zip(made["input_ids"], made["assistant_masks"], strict=True) if mark]
    assert tokenizer.decode(marked) == "It is 2." + vocabulary.END
    assert marked[-1] == tokenizer.eos_token_id != tokenizer.pad_token_id
