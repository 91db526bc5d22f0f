"""pass@k: the unbiased estimator by hand, by brute force and for numbers that overflow, and as lm-eval calls it."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from profile_tasks import leaves, score, write_rows

from harness.evaluate import catalog, programs, tasks
from harness.evaluate.profiles import pass_at_k
from harness.evaluate.requests import Answer


def test_pass_at_k_is_what_one_computes_by_hand() -> None:
    assert pass_at_k.estimate(1, 1, 1) == 1.0
    assert pass_at_k.estimate(1, 0, 1) == 0.0
    assert pass_at_k.estimate(5, 2, 1) == 0.4
    assert pass_at_k.estimate(5, 2, 2) == 0.7  # 1 - C(3,2)/C(5,2) = 1 - 3/10
    assert pass_at_k.estimate(5, 2, 4) == 1.0  # no four of five leave both out
    assert pass_at_k.estimate(10, 3, 3) == 85 / 120  # 1 - C(7,3)/C(10,3) = 1 - 35/120


def test_pass_at_k_is_the_share_of_subsets_with_a_sample_that_passes() -> None:
    for n in range(1, 9):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            passed = [True] * c + [False] * (n - c)
            subsets = list(itertools.combinations(passed, k))
            share = Fraction(sum(any(subset) for subset in subsets), len(subsets))
            assert pass_at_k.estimate(n, c, k) == float(share), (n, c, k)


def test_pass_at_k_is_correctly_rounded_where_the_usual_formulas_overflow_or_cancel() -> None:
    for n, c, k in ((200, 1, 100), (2000, 3, 1000), (10_000, 1, 1), (10_000, 9_999, 1), (100_000, 1, 10)):
        exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
        assert pass_at_k.estimate(n, c, k) == float(exact)


def test_pass_at_k_grows_with_what_passes_and_with_k() -> None:
    for c in range(20):
        assert pass_at_k.estimate(20, c, 5) < pass_at_k.estimate(20, c + 1, 5) or c >= 16
    for k in range(1, 15):
        assert pass_at_k.estimate(20, 5, k) < pass_at_k.estimate(20, 5, k + 1)


@pytest.mark.parametrize(("n", "c", "k"), [(0, 0, 1), (3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_numbers_that_cannot_be_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@k"):
        pass_at_k.estimate(n, c, k)


def test_a_k_above_the_number_of_samples_is_left_out_and_one_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def share(references: list[str], predictions: list[list[str]]) -> float:
        [own] = predictions
        return sum(program == "right" for program in own) / len(own)

    monkeypatch.setattr(programs, "pass_at_1", share)
    samples = ["right"] * 3 + ["wrong"] * 7
    assert pass_at_k.pass_at_k(["t"], [samples]) == {"pass_at_1": 0.3, "pass_at_10": 1.0}
    assert pass_at_k.pass_at_k(["t"], [samples], k=[2, 5, 11]) == {
        "pass_at_1": 0.3,
        "pass_at_2": pass_at_k.estimate(10, 3, 2),
        "pass_at_5": pass_at_k.estimate(10, 3, 5),
    }
    both = pass_at_k.pass_at_k(["t", "u"], [samples, ["right", "wrong"]], k=[2])
    assert both == {"pass_at_1": 0.4, "pass_at_2": (pass_at_k.estimate(10, 3, 2) + 1.0) / 2}


DOC = {
    "task_id": "double",
    "prompt": 'def double(x):\n    """Return twice x."""\n',
    "test": "def check(candidate):\n    assert candidate(3) == 6\n    assert candidate(0) == 0\n",
    "entry_point": "double",
}


@pytest.mark.parametrize("name", ["humaneval", "humaneval_strict"])
def test_lm_eval_gets_pass_at_k_from_all_samples_of_an_item(name: str, tmp_path: Path) -> None:
    task: Any
    [task] = leaves(name, str(write_rows(tmp_path))).values()
    right, wrong = "    return 2 * x\n", "    return x * x\n"
    scored = score(task, DOC, *[right, wrong, wrong, "    return x + x\n", wrong, wrong, wrong, wrong, wrong, wrong])
    assert scored["pass_at_1"] == 0.2
    assert scored["pass_at_10"] == 1.0
    assert "pass_at_100" not in scored
    assert score(task, DOC, wrong)["pass_at_1"] == 0.0


def test_a_study_chooses_k_and_compares_by_the_first(tmp_path: Path) -> None:
    info = catalog.passing(catalog.definition("humaneval"), (2, 1))
    [item] = list(tasks.items(info, data_dir=None, limit=1, max_new_tokens=0, samples=3, temperature=0.8))
    [doc] = leaves("humaneval", None).values()
    right = str(doc.task_docs[0]["canonical_solution"])
    answers = {item.item: [Answer(text=text, finish="stop") for text in (right, "    return None\n", "    pass\n")]}
    asked: dict[str, Any] = {"data_dir": None, "rows": [item.to_row()], "answers": answers}
    [chosen] = tasks.scores(info, pass_at=(2, 1), **asked).values()
    [usual] = tasks.scores(info, **asked).values()
    assert info.primary == "pass_at_2"
    assert chosen == {"pass_at_1": 1 / 3, "pass_at_2": 2 / 3}
    assert usual == {"pass_at_1": 1 / 3}
