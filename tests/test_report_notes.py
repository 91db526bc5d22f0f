"""What stands under a result: losses on the way, and the contrast with the control of equal size."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_report import arm, everywhere, incomparable, printed, result, task, words

from harness import compare
from harness.report import documents, wording
from harness.report.averages import Average
from harness.report.result import Control, ControlKind, TaskRow
from harness.study.judging import Rule


def random_control(row: TaskRow) -> Control:
    """Return the pair's gap as if it were that against the random control."""
    return Control(kind=ControlKind.RANDOM, reference="random", treated="clean", gap=row.gap)


def test_what_was_cut_left_unlearnt_unfinished_or_diverged_is_said_in_every_view() -> None:
    lossy = result(
        replace(task(), shortened_prompts=3, unfinished=7),
        arms=(arm("base"), arm("aligned", cut_chats=4, silent_chats=2, diverged=(1,)), arm("clean"), arm("random")),
    )
    for name, text in everywhere(lossy).items():
        if name != "csv":
            assert "7" in words(text), name
    shown = words(printed(lossy))
    assert "aligned 4 (2)" in shown
    assert "3 prompts over all checkpoints were too long and lost shots" in shown
    assert "7 answers over all checkpoints ended at the token limit" in shown
    assert "diverged" in shown


def test_the_treated_arm_is_also_set_against_the_control_of_its_size() -> None:
    row = task()
    controlled = result(replace(row, controls=(random_control(row),)))
    assert "clean against random removal of as many chats" in words(printed(controlled))
    document = json.loads(documents.as_json(controlled))
    [control] = document["tasks"][0]["controls"]
    assert (control["kind"], control["reference"], control["treated"]) == ("random removal", "random", "clean")
    assert control["gap"]["absolute"] == pytest.approx(row.gap.absolute)
    assert "No random control" not in words(printed(controlled))
    smaller = tuple(arm(name, chats=900 if name == "clean" else 1234) for name in ("base", "aligned", "clean"))
    assert "No random control" in words(printed(result(row, arms=smaller)))


def test_arms_of_one_size_need_no_control_for_it_and_a_control_of_words_is_called_so() -> None:
    row = task()
    assert "No random control" not in words(printed(result(row))), "masking takes no chat away"
    other = tuple(
        arm(name, treatment="random removal, as many words as 'clean'" if name == "random" else "keep")
        for name in ("base", "aligned", "clean", "random")
    )
    matched = result(replace(row, controls=(random_control(row),)), arms=other)
    assert "clean against random removal of as much" in words(printed(matched))


def arm_of(name: str, *runs: list[float]) -> compare.Arm:
    """Return an arm of a few items, one run a list."""
    items = [f"item {place}" for place in range(len(runs[0]))]
    return compare.Arm(name=name, items=items, prompts=items, scores=np.array(runs))


def test_between_two_single_checkpoints_the_exact_test_of_flipped_items_is_printed() -> None:
    average = Average(average="micro", clusters={}, subtasks={}, confidence=0.95)
    one, other = arm_of("a", [0, 0, 0, 0, 0, 0, 1, 1]), arm_of("b", [1, 1, 1, 1, 1, 0, 1, 1])
    flips = average.flips(one, other)
    assert flips is not None
    assert (flips.gained, flips.lost, flips.p_value) == (5, 0, 0.0625)
    shown = words(printed(result(replace(task(), flips=flips))))
    assert "MMLU: 5 items gained, 0 lost between the two checkpoints; exact McNemar p 0.062" in shown
    many = replace(flips, gained=500, p_value=0.0)
    assert "exact McNemar p < 0.001, as if" in words(printed(result(replace(task(), flips=many))))
    document = json.loads(documents.as_json(result(replace(task(), flips=flips))))
    assert document["tasks"][0]["flips"] == {"gained": 5, "lost": 0, "mcnemar_p": 0.0625}
    assert average.flips(one, arm_of("b", [1, 1, 1, 1, 1, 0.5, 1, 1])) is None, "partial credit has no such test"
    assert average.flips(one, arm_of("b", [1] * 8, [0] * 8)) is None, "of several runs it would pool what differs"
    assert "McNemar" not in printed(result(task()))


# --- the rule of the verdicts ------------------------------------------------------------------------------


def rule_said(*names: str, apart: int = 0, primary: str = "", strict: int = 0) -> str:
    """Return the sentence on verdicts over tasks of these names.

    Args:
        apart: how many of them do not pair, from the last.
        strict: how many of them stand under a second profile too.
    """
    rows = [task(name, title=name) for name in names]
    rows += [replace(task(f"{name}_strict", title=name), profile="strict") for name in names[:strict]]
    rows = [replace(row, gap=incomparable()) if place >= len(rows) - apart else row for place, row in enumerate(rows)]
    judged = compare.judge({row.task: row.gap for row in rows}).tasks
    shown = result(
        *(replace(row, judgement=judged[row.task]) for row in rows),
        profiles=("lm-eval", "strict") if strict else ("lm-eval",),
        rule=Rule(primary=primary or None),
        primary=primary or None,
    )
    return next(line for line in wording.footnotes(shown) if line.startswith("Verdicts:"))


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        ("abcd", {}, "where p, corrected over the 4 tasks (Holm), is"),
        ("abcd", {"apart": 1}, "where p, corrected over the 3 tasks that pair (Holm), is"),
        ("abcd", {"primary": "a"}, "where p, corrected over the 3 tasks beside the primary one (Holm), is"),
        ("abcd", {"primary": "d", "apart": 1}, "over the 3 tasks beside the primary one that pair (Holm), is"),
        ("ab", {"primary": "a"}, "where p is"),
        ("ab", {"apart": 1}, "where p is"),
        ("a", {}, "where p is"),
        ("abc", {"strict": 3}, "where p, corrected over the 3 tasks of each profile (Holm), is"),
        ("abc", {"strict": 3, "primary": "a"}, "over the 2 tasks of each profile beside the primary one (Holm), is"),
        ("abc", {"strict": 3, "apart": 1}, "where p, corrected over the tasks of each profile that pair (Holm), is"),
    ],
)
def test_the_correction_is_said_to_be_over_the_tasks_that_it_was_made_over(
    names: str, options: dict[str, Any], said: str
) -> None:
    line = rule_said(*names, **options)
    assert said in line
    assert ("corrected alike" in line) is ("(Holm)" in said)
