"""The parts of a training that need no training: which tokens bear loss, how many steps, how much memory."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.data.pocket import vocabulary
from harness.errors import InputError
from harness.study import Base, BaseKind, Machine, Recipe
from harness.train import budget, launch
from harness.train.examples import IGNORED, Example, from_chat, from_document
from harness.train.launch import rank_environments
from harness.train.worker import COMPLETE

TURNS = [
    {"role": "system", "text": "Be brief."},
    {"role": "user", "text": "Is the apple red?"},
    {"role": "assistant", "text": "Yes, it is."},
    {"role": "user", "text": "And the plum?\n"},
    {"role": "assistant", "text": " It is blue.\n"},
]
ANSWERS = ["Yes, it is.<|im_end|>", " It is blue.\n<|im_end|>"]

# The pocket's template without its {% generation %} marks, as most published ChatML templates are.
PLAIN = vocabulary.CHAT_TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
# Drops the thoughts of earlier answers, as templates of reasoning models do.
REWRITES = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{{ message['content'] if loop.last else message['content'][:3] }}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tokenizer")
    vocabulary.write(place)
    return place


@pytest.fixture(scope="module")
def load(folder: Path) -> Any:
    """Return a function that gives a fresh pocket tokenizer with this chat template."""
    from transformers import PreTrainedTokenizerFast

    def fresh(template: str | None) -> Any:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder))
        tokenizer.chat_template = template
        return tokenizer

    return fresh


def learnt(tokenizer: Any, example: Example) -> list[str]:
    """Return the texts of the stretches that bear loss."""
    texts, run = [], []
    for token, label in [*zip(example.ids, example.labels, strict=True), (0, IGNORED)]:
        if label != IGNORED:
            assert label == token
            run.append(token)
        elif run:
            texts.append(tokenizer.decode(run))
            run = []
    return texts


# --- which tokens bear loss ------------------------------------------------------------------------------


def test_the_two_templates_under_test_render_alike_and_only_one_has_marks(load: Any) -> None:
    assert "generation %}" in vocabulary.CHAT_TEMPLATE
    assert "generation %}" not in PLAIN
    messages = [{"role": turn["role"], "content": turn["text"]} for turn in TURNS]
    marked, plain = (
        load(one).apply_chat_template(messages, tokenize=False) for one in (vocabulary.CHAT_TEMPLATE, PLAIN)
    )
    assert marked == plain


@pytest.mark.parametrize("template", [vocabulary.CHAT_TEMPLATE, PLAIN], ids=["marked", "by prefixes"])
def test_exactly_the_assistants_turns_with_their_end_token_bear_loss(load: Any, template: str) -> None:
    tokenizer = load(template)
    example = from_chat(tokenizer, TURNS, max_length=1000)
    assert learnt(tokenizer, example) == ANSWERS
    assert tokenizer.decode(example.ids).count("<|im_start|>") == len(TURNS)
    assert example.supervised == sum(len(tokenizer(text)["input_ids"]) for text in ANSWERS)
    assert not example.cut


def test_both_ways_of_masking_give_the_same_example(load: Any) -> None:
    assert from_chat(load(vocabulary.CHAT_TEMPLATE), TURNS, max_length=1000) == from_chat(
        load(PLAIN), TURNS, max_length=1000
    )


@pytest.mark.parametrize("template", [vocabulary.CHAT_TEMPLATE, PLAIN], ids=["marked", "by prefixes"])
def test_an_answer_that_repeats_the_question_is_masked_in_its_own_place(load: Any, template: str) -> None:
    tokenizer = load(template)
    turns = [{"role": "user", "text": "red red"}, {"role": "assistant", "text": "red red"}]
    example = from_chat(tokenizer, turns, max_length=1000)
    assert learnt(tokenizer, example) == ["red red<|im_end|>"]
    first = next(place for place, label in enumerate(example.labels) if label != IGNORED)
    assert tokenizer.decode(example.ids[:first]).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("template", [vocabulary.CHAT_TEMPLATE, PLAIN], ids=["marked", "by prefixes"])
def test_a_chat_beyond_the_limit_is_cut_at_its_end_and_flagged(load: Any, template: str) -> None:
    tokenizer = load(template)
    whole = from_chat(tokenizer, TURNS, max_length=1000)
    length = len(whole.ids)
    assert from_chat(tokenizer, TURNS, max_length=length) == whole, "the limit itself is no cut"
    short = from_chat(tokenizer, TURNS, max_length=length - 10)
    assert short.cut
    assert short.ids == whole.ids[:-10]
    assert short.labels == whole.labels[:-10]
    assert 0 < short.supervised < whole.supervised


def test_a_template_that_rewrites_earlier_turns_is_refused(load: Any) -> None:
    with pytest.raises(InputError, match=r"rewrites earlier turns.*\{% generation %\}"):
        from_chat(load(REWRITES), TURNS, max_length=1000)


@pytest.mark.parametrize("template", [None, ""])
def test_a_tokenizer_without_a_template_is_refused_and_named(load: Any, folder: Path, template: str | None) -> None:
    with pytest.raises(InputError) as caught:
        from_chat(load(template), TURNS, max_length=1000)
    assert str(folder) in str(caught.value)
    assert "chat_template.jinja" in str(caught.value)


def test_every_token_of_a_document_and_its_end_bear_loss(load: Any) -> None:
    tokenizer = load(None)
    example = from_document(tokenizer, "The apple is red.", max_length=1000)
    assert learnt(tokenizer, example) == ["The apple is red.<|im_end|>"]
    assert example.supervised == len(example.ids) - 1, "the first token is never predicted"
    cut = from_document(tokenizer, "The apple is red.", max_length=3)
    assert (cut.ids, cut.labels, cut.cut) == (example.ids[:3], example.ids[:3], True)


def test_the_first_token_of_a_row_is_never_counted_as_supervised() -> None:
    assert Example(ids=[5, 6, 7], labels=[5, IGNORED, 7], cut=False).supervised == 1
    assert Example(ids=[5], labels=[5], cut=False).supervised == 0


# --- steps -----------------------------------------------------------------------------------------------


def recipe(**changed: Any) -> Recipe:
    """Return a small recipe."""
    return Recipe(**{"name": "toy", "global_batch": 16, "max_length": 256, **changed})


@pytest.mark.parametrize(
    ("rows", "epochs", "batch", "steps"),
    [
        (16, 1, 16, 1),
        (17, 1, 16, 2),
        (1, 1, 16, 1),
        (950, 1, 16, 60),
        (1400, 1, 16, 88),
        (100, 3, 16, 21),
        (512, 2, 512, 2),
    ],
)
def test_the_last_batch_of_an_epoch_counts_whole(rows: int, epochs: int, batch: int, steps: int) -> None:
    assert budget.total_steps(rows=rows, epochs=epochs, global_batch=batch) == steps


@pytest.mark.parametrize(
    ("rows", "epochs", "parts", "saves"),
    [
        (160, 1, 2, [5, 10]),
        (176, 1, 2, [6, 11]),
        (160, 2, 2, [5, 10, 15, 20]),
        (176, 2, 2, [6, 11, 17, 22]),
        (160, 1, 1, [10]),
        (160, 1, 3, [4, 7, 10]),
        (16, 1, 2, [1]),
        (32, 1, 4, [1, 2]),
        (16, 3, 2, [1, 2, 3]),
    ],
)
def test_a_checkpoint_is_saved_at_every_part_of_an_epoch(rows: int, epochs: int, parts: int, saves: list[int]) -> None:
    settings = recipe(epochs=epochs, checkpoints_per_epoch=parts).identity()
    assert budget.checkpoint_steps(settings, rows=rows) == saves


def test_the_last_step_is_always_a_checkpoint() -> None:
    for rows in range(1, 200, 7):
        for epochs in (1, 2, 3):
            for parts in (1, 2, 3, 7):
                settings = recipe(epochs=epochs, checkpoints_per_epoch=parts).identity()
                last = budget.total_steps(rows=rows, epochs=epochs, global_batch=16)
                assert budget.checkpoint_steps(settings, rows=rows)[-1] == last


@pytest.mark.parametrize(("ranks", "micro", "steps"), [(1, 1, 16), (2, 4, 2), (4, 4, 1), (1, 16, 1)])
def test_accumulation_keeps_the_batch_at_any_width(ranks: int, micro: int, steps: int) -> None:
    machine = Machine(ranks=ranks, micro_batch=micro)
    assert budget.accumulation(recipe(), machine) == steps
    assert ranks * micro * steps == 16


@pytest.mark.parametrize(("ranks", "micro"), [(3, 1), (1, 5), (2, 16), (32, 1)])
def test_a_width_that_does_not_divide_the_batch_is_refused_with_the_numbers(ranks: int, micro: int) -> None:
    with pytest.raises(InputError) as caught:
        budget.accumulation(recipe(), Machine(ranks=ranks, micro_batch=micro))
    message = str(caught.value)
    assert f"Recipe 'toy': global_batch 16 is not a multiple of ranks x micro_batch = {ranks} x {micro}" in message
    assert "--ranks" in message
    assert "[machine]" in message


@pytest.mark.parametrize(
    ("ranks", "micro"), [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1), (3, 1), (32, 1)], ids=lambda value: str(value)
)
def test_more_ranks_take_the_largest_micro_batch_that_still_divides_the_batch(ranks: int, micro: int) -> None:
    own = recipe(machine=Machine(ranks=1, threads=3, micro_batch=16, parallel=2))
    assert budget.widen(own, ranks) == Machine(ranks=ranks, threads=3, micro_batch=micro, parallel=2)
    small = recipe(machine=Machine(micro_batch=4))
    assert budget.widen(small, 2).micro_batch == 4, "never more than the recipe's own"


def test_every_rank_gets_its_own_number_and_they_share_one_meeting_point() -> None:
    environments = rank_environments(Machine(ranks=3, threads=2))
    assert [one["RANK"] for one in environments] == ["0", "1", "2"]
    assert [one["LOCAL_RANK"] for one in environments] == ["0", "1", "2"]
    assert {one["WORLD_SIZE"] for one in environments} == {"3"}
    assert {one["OMP_NUM_THREADS"] for one in environments} == {"2"}
    assert len({(one["MASTER_ADDR"], one["MASTER_PORT"]) for one in environments}) == 1


# --- memory and disk -------------------------------------------------------------------------------------


def base(**changed: Any) -> Base:
    """Return a base with a size and, unless given, no activations."""
    return Base(**{"kind": BaseKind.HUB, "name": "a/b", "parameters": 1000, **changed})


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120.0), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_states_are_those_of_the_zero_paper_for_7_5_billion_parameters_on_64_devices(
    stage: int, gigabytes: float
) -> None:
    """Figure 1 of arXiv 1910.02054: K = 12, N_d = 64; its GB are 10^9 bytes."""
    # The paper's bf16 at stage 0 is refused for training, not for arithmetic: build it past the check.
    own = recipe().model_copy(update={"zero_stage": stage})
    size = budget.footprint(base=base(parameters=7_500_000_000), recipe=own, machine=Machine(ranks=64))
    # Cut after the first decimal: 31.41, 16.64 and 1.875 are printed as 31.4, 16.6 and 1.9.
    assert size.states_per_rank / 1e9 == pytest.approx(gigabytes, abs=0.05)


@pytest.mark.parametrize(
    ("stage", "bytes_per_parameter"), [(0, 16), (1, 4 + 4 + 8 / 4), (2, 4 + 4 / 4 + 8 / 4), (3, 16 / 4)]
)
def test_states_in_fp32_have_no_master_copy(stage: int, bytes_per_parameter: float) -> None:
    own = recipe(precision="fp32", zero_stage=stage)
    size = budget.footprint(base=base(), recipe=own, machine=Machine(ranks=4))
    assert size.states_per_rank == 1000 * bytes_per_parameter


def test_one_rank_holds_the_same_at_every_stage() -> None:
    sizes = [budget.footprint(base=base(), recipe=recipe(zero_stage=stage), machine=Machine()) for stage in (1, 2, 3)]
    assert {size.states_per_rank for size in sizes} == {16_000}


def test_activations_are_counted_by_hand_for_a_small_model() -> None:
    own = recipe(max_length=10)
    shape = base(layers=3, hidden=8, vocabulary=5)
    tokens = 2 * 10
    size = budget.footprint(base=shape, recipe=own, machine=Machine(micro_batch=2))
    assert size.activations_per_rank == tokens * (8 * (3 * 2 + 34) + 5 * (2 + 4 + 4))
    everything = budget.footprint(
        base=shape, recipe=own.model_copy(update={"gradient_checkpointing": False}), machine=Machine(micro_batch=2)
    )
    assert everything.activations_per_rank > size.activations_per_rank
    assert size.memory_per_rank == size.states_per_rank + size.activations_per_rank


def test_disk_counts_what_every_training_leaves_and_what_running_ones_need() -> None:
    own = recipe(epochs=1, checkpoints_per_epoch=2)
    size = budget.footprint(base=base(), recipe=own, machine=Machine())
    assert (size.checkpoint, size.resumable) == (2_000, 12_000)
    assert budget.disk_needed(base=base(), recipe=own, machine=Machine(), runs=0, at_once=2) == 0
    one = budget.disk_needed(base=base(), recipe=own, machine=Machine(), runs=1, at_once=2)
    assert one == 2 * 2_000 + (12_000 + 2 * 2_000)
    four = budget.disk_needed(base=base(), recipe=own, machine=Machine(), runs=4, at_once=2)
    assert four == 4 * 2 * 2_000 + 2 * (12_000 + 2 * 2_000)
    assert math.isclose(four / one, 2.4)


def test_a_kill_while_checkpoints_of_another_width_are_removed_leaves_none_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next command may ask for the old width again, and would resume from what is left."""
    work, checkpoint = tmp_path / "work", tmp_path / "work" / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / COMPLETE).touch()
    (work / "job.json").write_text(json.dumps({"machine": Machine(ranks=2, micro_batch=1).model_dump()}))

    def killed(folder: Path) -> None:
        raise SystemExit("killed")

    monkeypatch.setattr(shutil, "rmtree", killed)
    settings: dict[str, Any] = {"on_message": print, "base": tmp_path, "rows": [], "seed": 0}
    with pytest.raises(SystemExit):
        launch.run(recipe=recipe(), machine=Machine(ranks=1, micro_batch=1), work=work, **settings)
    assert checkpoint.is_dir()
    assert not (checkpoint / COMPLETE).exists()
