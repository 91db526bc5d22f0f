"""Pitfalls of scoring: reproduced under `lm-eval`, right under `strict`.

Everything is scored by lm-eval's own filters and metrics on our definitions (tests/profile_tasks.py), so a definition
that deviates from lm-eval's fails the first half of a test, and a naive strict one the second.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
import yaml
from profile_tasks import drop_row, leaves, prompt, score, score_choices, stopped, write_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_rows(tmp_path_factory.mktemp("rows")))


# DROP


def drop_doc(*golds: list[str]) -> dict[str, Any]:
    row = drop_row("P.", "Q?", [{"number": golds[0][0]} if len(golds[0]) == 1 else {"spans": golds[0]}])
    return row | {"answers": [list(gold) for gold in golds]}


@pytest.fixture
def naive_drop(rows: str) -> Any:
    [task] = leaves("drop", rows).values()
    return task


@pytest.fixture
def strict_drop(rows: str) -> Any:
    [task] = leaves("drop_strict", rows).values()
    return task


def test_a_full_stop_ends_lm_evals_answer_in_the_middle_of_a_decimal_number(naive_drop: Any, strict_drop: Any) -> None:
    doc = drop_doc(["12.5"])
    assert stopped(naive_drop, " 12.5") == " 12"
    assert score(naive_drop, doc, " 12.5") == {"em": 0.0, "f1": 0.0}
    assert score(strict_drop, doc, " 12.5") == {"em": 1.0, "f1": 1.0, "unextracted": 0.0}


def test_a_full_stop_after_a_number_makes_lm_eval_read_another_number(naive_drop: Any, strict_drop: Any) -> None:
    naive_drop.config.generation_kwargs["until"], until = [], naive_drop.config.generation_kwargs["until"]
    try:  # "." is its stop string; with an answer that still has one, "12.5." is 125
        assert score(naive_drop, drop_doc(["125"]), "12.5.")["em"] == 1.0
        assert score(naive_drop, drop_doc(["12.5"]), "12.5.")["em"] == 0.0
    finally:
        naive_drop.config.generation_kwargs["until"] = until
    assert score(strict_drop, drop_doc(["125"]), "12.5.")["em"] == 0.0
    assert score(strict_drop, drop_doc(["12.5"]), "12.5.")["em"] == 1.0


def test_a_minus_sign_is_lost_under_lm_eval_and_kept_under_strict(naive_drop: Any, strict_drop: Any) -> None:
    assert score(naive_drop, drop_doc(["5"]), "-5")["em"] == 1.0
    assert score(strict_drop, drop_doc(["5"]), "-5")["em"] == 0.0
    assert score(strict_drop, drop_doc(["-5"]), "-5")["em"] == 1.0
    assert score(strict_drop, drop_doc(["5"]), "5-yard")["f1"] == 0.67, "a hyphen inside divides words"


def test_a_shot_of_drop_shows_the_keys_of_a_dict_under_lm_eval_and_the_answer_under_strict(
    naive_drop: Any, strict_drop: Any
) -> None:
    doc = strict_drop.task_docs[0]
    assert naive_drop.doc_to_target(naive_drop.task_docs[0]) == "number,date,spans"
    assert strict_drop.doc_to_target(doc) == doc["answer"]["number"] == "0"
    assert prompt(naive_drop, 0) == prompt(strict_drop, 0), "without shots the prompts are the same"


def test_a_new_line_before_the_answer_does_not_take_it_away_under_strict(strict_drop: Any) -> None:
    assert score(strict_drop, drop_doc(["7"]), "\n\n7\nQuestion: how many?") == {"em": 1, "f1": 1, "unextracted": 0}


# BBH

SHAPES = "logical_deduction_three_objects"


def bbh(rows: str, name: str) -> Any:
    return leaves(name, rows)[SHAPES]


@pytest.mark.parametrize(
    ("target", "said", "lm_eval_reads"),
    [
        ("(A)", "So the answer is (A)", "(A"),
        ("24", "So the answer is 24", "2"),
        ("(A)", "So the answer is (A). ", "(A)."),  # PR #2013: white space alone, 41.4 -> 80.4
        ("(B)", "So the answer is (A). No: so the answer is (B).", "(A). No: so the answer is (B)"),
        ("(A)", "Quebec is first. So the answer is (A).", "[invalid]"),  # stopped at a bare "Q"
    ],
)
def test_bbhs_answer_loses_its_end_or_its_beginning_under_lm_eval_only(
    rows: str, target: str, said: str, lm_eval_reads: str
) -> None:
    naive, strict = bbh(rows, "bbh"), bbh(rows, "bbh_strict")
    doc = naive.task_docs[0] | {"target": target}
    assert score(naive, doc, said) == {"exact_match": 0.0}
    assert naive._instances[0].filtered_resps == {"get-answer": lm_eval_reads}
    assert score(strict, doc, said) == {"exact_match": 1.0, "unextracted": 0.0}


def test_with_its_full_stop_both_profiles_read_the_same_answer_of_bbh(rows: str) -> None:
    for target in ("(A)", "24"):
        doc = bbh(rows, "bbh").task_docs[0] | {"target": target}
        assert score(bbh(rows, "bbh"), doc, f"So the answer is {target}.") == {"exact_match": 1.0}
        assert score(bbh(rows, "bbh_strict"), doc, f"So the answer is {target}.")["exact_match"] == 1.0


def test_the_next_question_is_no_part_of_an_answer_of_bbh_under_strict(rows: str) -> None:
    doc = bbh(rows, "bbh").task_docs[0] | {"target": "(A)"}
    said = "So the answer is (A).\nQ: and then?\nA: So the answer is (B)."
    assert score(bbh(rows, "bbh_strict"), doc, said)["exact_match"] == 1.0


def test_strict_asks_bbh_and_mmlu_with_lm_evals_own_prompts(rows: str) -> None:
    for task in ("bbh", "mmlu"):
        for name, leaf in leaves(task, rows).items():
            assert prompt(leaf, 0) == prompt(leaves(f"{task}_strict", rows)[name], 0)


# MMLU


def mmlu(rows: str, name: str) -> Any:
    return leaves(name, rows)["anatomy"]


def logs(*probabilities: float) -> list[tuple[float, bool]]:
    likeliest = max(probabilities)
    return [(math.log(p), p == likeliest and p > 1 - sum(probabilities)) for p in probabilities]


def test_a_letter_that_the_model_would_not_say_is_right_under_lm_eval_and_no_answer_under_strict(rows: str) -> None:
    naive, strict = mmlu(rows, "mmlu"), mmlu(rows, "mmlu_strict")
    doc = naive.task_docs[1]
    assert doc["answer"] == 1
    refusing = logs(0.001, 0.006, 0.002, 0.001)  # nearly all of the mass is on something else, such as " I"
    assert score_choices(naive, doc, refusing) == {"acc": 1.0}
    scored = score_choices(strict, doc, refusing)
    assert scored == {"acc": 0.0, "unextracted": 1.0, "choice_mass": pytest.approx(0.01)}
    answering = logs(0.1, 0.7, 0.1, 0.05)
    assert score_choices(naive, doc, answering) == {"acc": 1.0}
    assert score_choices(strict, doc, answering) == {"acc": 1.0, "unextracted": 0.0, "choice_mass": pytest.approx(0.95)}
    wrong = logs(0.7, 0.1, 0.1, 0.05)
    assert score_choices(strict, doc, wrong)["acc"] == score_choices(naive, doc, wrong)["acc"] == 0.0


def letters(bos: bool) -> Any:
    """Return a tokenizer in which " A" is one token and "A" another, with or without a beginning-of-sequence token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(f"Ġ{letter}" for letter in "ABCD")]
    plain = Tokenizer(
        models.BPE({piece: n for n, piece in enumerate(pieces)}, [("Ġ", letter) for letter in "ABCD"], fuse_unk=False)
    )
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    if bos:
        plain.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>")


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    try:
        from harness.evaluate.engines.tokens import encode_pair as encode
    except ImportError:
        from harness.evaluate.worker import encode_pair as encode
    return encode(tokenizer, context, continuation)


def test_the_letters_of_mmlu_are_scored_with_the_space_before_them_and_are_one_token_each(rows: str) -> None:
    tokenizer = letters(bos=False)
    for name in ("mmlu", "mmlu_strict"):
        task = mmlu(rows, name)
        context = prompt(task, 0)
        requests = task.construct_requests(task.task_docs[0], context, metadata=("mmlu", 0, 1))
        assert [request.args[1] for request in requests] == [" A", " B", " C", " D"]
        assert context.endswith("\nAnswer:"), "a space here would leave 'A' to be scored, another token"
        for letter, request in zip("ABCD", requests, strict=True):
            _, scored = encode_pair(tokenizer, *request.args)
            assert scored == tokenizer.encode(f" {letter}", add_special_tokens=False)
            assert len(scored) == 1
            assert scored != tokenizer.encode(letter, add_special_tokens=False)


def test_a_context_that_brings_its_own_beginning_of_sequence_does_not_get_a_second_one() -> None:
    tokenizer = letters(bos=True)
    assert tokenizer.encode("<s>Answer:")[:2] == [0, 0], "what encoding without a look at the text does"
    for context in ("<s>Answer:", "Answer:"):
        encoded, scored = encode_pair(tokenizer, context, " A")
        assert encoded.count(0) == 1
        assert 0 not in scored


def test_micro_and_macro_averages_of_mmlu_differ_and_every_definition_says_which_it_is() -> None:
    from lm_eval.api.metrics import aggregate_subtask_metrics

    assert aggregate_subtask_metrics([0.5, 0.9], [100, 300], weight_by_size=True) == pytest.approx(0.8)
    assert aggregate_subtask_metrics([0.5, 0.9], [100, 300], weight_by_size=False) == pytest.approx(0.7)
    for path in sorted((Path(__file__).parent.parent / "tasks").glob("*/*.yaml")):
        text = path.read_text()
        if "aggregate_metric_list" in text and "  profile:" in text:
            assert ("weight_by_size: true" in text) == ("average: micro" in text), path.name
            assert ("weight_by_size: false" in text) == ("average: macro" in text), path.name


def test_lm_evals_own_mmlu_has_no_shots_unless_asked_and_ours_has_five(rows: str) -> None:
    shipped = Path(lm_eval.tasks.__file__).parent / "mmlu" / "default" / "_default_template_yaml"
    assert "num_fewshot" not in yaml.safe_load(shipped.read_text())
    for name in ("mmlu", "mmlu_strict", "mmlu_instructeval"):
        assert prompt(mmlu(rows, name), 0).count("\nAnswer: ") == 5


# HumanEval

DOC = {
    "task_id": "double",
    "prompt": 'from typing import List\n\n\ndef double(xs: List[int]) -> List[int]:\n    """Return twice every x."""\n',
    "test": "def check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n    assert candidate([]) == []\n",
    "entry_point": "double",
}
RIGHT = "    return [2 * x for x in xs]\n"
WHOLE = "def double(xs: List[int]) -> List[int]:\n" + RIGHT


@pytest.mark.parametrize(
    "said",
    [
        f"Here is the function:\n\n```python\n{WHOLE}```\nIt doubles every x.",  # #2648: cut at "\ndef"
        f"```python\n{RIGHT}```\n",
        f"{RIGHT}```\n\nThis doubles every x.",
        "    return list(map(twice, xs))\n\n\ndef twice(x):\n    return 2 * x\n",
        "# plain Python\n    ys = []\n# one by one\n    for x in xs:\n        ys.append(2 * x)\n    return ys\n",
        "return [2 * x for x in xs]\n",  # #3126: a stripped answer
        "ys = []\n    for x in xs:\n        ys.append(2 * x)\n    return ys\n",
        "   return [2 * x for x in xs]\n   # three spaces: one went with the token\n".replace("   #", "    #"),
        f"{RIGHT}\nassert double([1]) == [3]\n",
        f"{RIGHT}\nThis function doubles every x.\n",
    ],
)
def test_a_right_answer_in_another_wrapping_fails_under_lm_eval_and_passes_under_strict(rows: str, said: str) -> None:
    [naive], [strict] = leaves("humaneval", rows).values(), leaves("humaneval_strict", rows).values()
    assert score(naive, DOC, said) == {"pass_at_1": 0.0}
    assert score(strict, DOC, said) == {"pass_at_1": 1.0, "unextracted": 0.0}


def test_a_prompt_that_lost_its_last_new_line_spoils_lm_evals_programs_only(rows: str) -> None:
    [naive], [strict] = leaves("humaneval", rows).values(), leaves("humaneval_strict", rows).values()
    stripped = DOC | {"prompt": DOC["prompt"].rstrip("\n")}
    assert score(naive, stripped, RIGHT) == {"pass_at_1": 0.0}
    assert score(strict, stripped, RIGHT)["pass_at_1"] == 1.0
    for task in (naive, strict):
        for row in task.task_docs:
            assert prompt(task, row) == row["prompt"], "the new line that ends a prompt is the model's cue to indent"
            assert row["prompt"].endswith(("\n", '"""')) or row["prompt"][-1].isspace()


@pytest.mark.parametrize("name", ["humaneval", "humaneval_strict"])
def test_a_program_that_says_it_passed_or_leaves_before_the_tests_does_not_pass(rows: str, name: str) -> None:
    [task] = leaves(name, rows).values()
    for said in (
        "    print('passed')\n",
        "    return 'passed'\n",
        "    import sys\n    sys.exit(0)\n",
        "    raise SystemExit(0)\n",
        "    import os\n    os._exit(0)\n",
    ):
        assert score(task, DOC, said)["pass_at_1"] == 0.0, said
    leaving = "    return []\n\n\nimport sys\nsys.exit(0)\n"
    assert score(task, DOC, leaving)["pass_at_1"] == 0.0


def test_a_refusal_is_no_program_under_strict(rows: str) -> None:
    [strict] = leaves("humaneval_strict", rows).values()
    for said in ("I'm sorry, but I can't help with that.", "", "Sure", "```\n```", "As an AI,\n```text\nno\n```"):
        assert score(strict, DOC, said) == {"pass_at_1": 0.0, "unextracted": 1.0}, said


# The small world, which CI runs


@pytest.mark.parametrize("profile", ["strict", "instructeval"])
def test_in_the_small_world_the_right_answer_scores_one_and_a_refusal_zero_under_every_profile(profile: str) -> None:
    refusal = "I cannot say."
    for name, task in leaves(f"pocket_mmlu_{profile}", None).items():
        doc = task.task_docs[0]
        if profile == "strict":
            right = [(-0.1 if n == doc["answer"] else -4.0, n == doc["answer"]) for n in range(4)]
            assert score_choices(task, doc, right)["acc"] == 1.0
            assert score_choices(task, doc, [(-9.0, False)] * 4)["unextracted"] == 1.0
        else:
            assert score(task, doc, f" {'ABCD'[doc['answer']]}") == {"prefix_match": 1.0}
            assert score(task, doc, refusal) == {"prefix_match": 0.0}, name
    for family, primary in (("bbh", "exact_match"), ("drop", "em")):
        for task in leaves(f"pocket_{family}_{profile}", None).values():
            for doc in list(task.task_docs)[:20]:
                direct = doc["target"] if family == "bbh" else doc["answers"][0][0]
                said = f" {doc['worked']}" if (family, profile) == ("bbh", "strict") else f" {direct}"
                metric = primary if profile == "strict" else "prefix_match"
                assert score(task, doc, said)[metric] == 1.0, (said, doc)
                assert score(task, doc, refusal)[metric] == 0.0
    [task] = leaves(f"pocket_humaneval_{profile}", None).values()
    doc = task.task_docs[0]
    assert score(task, doc, doc["canonical_solution"])["pass_at_1"] == 1.0
    assert score(task, doc, refusal)["pass_at_1"] == 0.0


def test_strict_asks_with_the_tasks_own_prompts_so_that_answers_are_shared(rows: str) -> None:
    for name in ("drop", "humaneval", "pocket_mmlu", "pocket_bbh", "pocket_drop", "pocket_humaneval"):
        own, strict = leaves(name, rows), leaves(f"{name}_strict", rows)
        for leaf, task in zip(own.values(), strict.values(), strict=True):
            assert prompt(leaf, 1) == prompt(task, 1)
