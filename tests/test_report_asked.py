"""Arms whose checkpoints were not asked alike: other items, other prompts, no scores; in one arm, or under one seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_report_averages import assembled
from test_report_seen import ITEMS, seen_of

from harness import compare
from harness.commands.regress.outcome import Scores
from harness.commands.regress.regression import scores_of
from harness.compare import Reason, Verdict
from harness.errors import InputError
from harness.report.averages import TaskHead, arm_of
from harness.report.result import Result
from harness.store import Record

Facts = dict[str, Any]
HEAD = TaskHead(title="One", profile="lm-eval", primary="acc", chance=0.0, average="micro")
BY_ITEM = ("item", "cluster", "subtask", "prompt")


def each(facts: Facts, change: Callable[[list[Any]], list[Any]]) -> Facts:
    """Return facts of which every list over items was changed alike."""
    scores = {name: change(list(values)) for name, values in facts["scores"].items()}
    return facts | {name: change(list(facts[name])) for name in BY_ITEM} | {"scores": scores}


def changed(start: str, change: Callable[[Facts], Facts]) -> Result:
    """Return a result in which the scores of some checkpoints were changed."""
    return assembled(lambda name, facts: change(facts) if name.startswith(f"score/{start}/") else facts)


def without_last(facts: Facts) -> Facts:
    return each(facts, lambda values: values[:-1])


def refusal(shown: Result) -> compare.Incomparable:
    """Return why the first task of a result is not compared; its verdict has to say so."""
    row = shown.tasks[0]
    assert isinstance(row.gap, compare.Incomparable)
    assert row.judgement is not None
    assert row.judgement.verdict is Verdict.INCOMPARABLE
    return row.gap


@pytest.mark.parametrize("arm", ["base", "aligned", "clean", "random", "again"])
def test_an_item_that_one_arm_lacks_touches_its_own_comparisons_alone(arm: str) -> None:
    row = changed(arm, without_last).tasks[0]
    pairs = [("aligned", "clean", row.gap), *((one.reference, one.treated, one.gap) for one in row.controls)]
    for *names, gap in pairs:
        assert isinstance(gap, compare.Incomparable) is (arm in names), names
        if isinstance(gap, compare.Incomparable):
            assert (gap.reason, gap.example) == (Reason.ITEMS_DIFFER, ITEMS[-1])
    assert row.scores[arm].mean == pytest.approx(
        changed(arm, lambda facts: facts).tasks[0].scores[arm].mean, abs=1 / len(ITEMS)
    )


def test_an_item_that_one_seed_lacks_is_named_and_nothing_is_compared_without_it() -> None:
    why = refusal(changed("clean/1", without_last))
    assert (why.reason, why.example, why.unscored) == (Reason.UNSCORED, ITEMS[-1], 1)


def test_a_prompt_that_differs_under_one_seed_makes_arms_incomparable() -> None:
    why = refusal(changed("clean/1", lambda facts: facts | {"prompt": ["another", *facts["prompt"][1:]]}))
    assert (why.reason, why.example, why.differing) == (Reason.PROMPTS_DIFFER, ITEMS[0], 1)


def test_the_order_of_items_under_one_seed_changes_nothing() -> None:
    usual = changed("clean/1", lambda facts: facts)
    other = changed("clean/1", lambda facts: each(facts, lambda values: values[::-1]))
    assert [row.gap for row in other.tasks] == [row.gap for row in usual.tasks]
    assert [row.scores for row in other.tasks] == [row.scores for row in usual.tasks]
    assert other.tasks[0].flips == usual.tasks[0].flips


def test_a_subtask_that_one_arm_lacks_is_a_part_that_is_not_compared() -> None:
    def split(name: str, facts: Facts) -> Facts:
        facts = facts | {"subtask": ["large"] * (len(ITEMS) - 1) + ["small"]}
        return without_last(facts) if name.startswith("score/clean/") else facts

    large, small = assembled(split).tasks[0].parts
    assert isinstance(large.gap, compare.Gap)
    assert isinstance(small.gap, compare.Incomparable)
    assert small.gap.example == ITEMS[-1]


@pytest.mark.parametrize("arm", ["aligned", "clean"])
def test_without_the_seen_items_arms_are_not_intersected_either(arm: str) -> None:
    shown = assembled(
        lambda name, facts: without_last(facts) if name.startswith(f"score/{arm}/") else facts,
        exposures={"aligned": {"pocket_mmlu": ITEMS[:2]}},
    )
    without = seen_of(shown).gap_without
    assert isinstance(without, compare.Incomparable)
    assert without.example == ITEMS[-1]


def test_a_share_of_answers_without_an_extraction_is_over_all_seeds_also_where_one_has_fewer_items() -> None:
    def lost(name: str, facts: Facts) -> Facts:
        facts = facts | {"scores": {**facts["scores"], "unextracted": [1.0] + [0.0] * (len(ITEMS) - 1)}}
        return without_last(facts) if name.startswith("score/clean/1/") else facts

    assert assembled(lost).tasks[0].unextracted["clean"] == pytest.approx(3 / (3 * len(ITEMS) - 1))


def test_a_seed_without_any_score_is_one_message_that_names_arm_and_item() -> None:
    with pytest.raises(InputError, match=rf"'clean' has no item with a score under every seed.*'{ITEMS[0]}'"):
        changed("clean/0", lambda facts: facts | {"scores": {"acc": [None] * len(ITEMS)}})


def test_an_item_that_occurs_twice_under_one_seed_is_named() -> None:
    with pytest.raises(InputError, match=f"'{ITEMS[0]}' occurs 2 times"):
        changed("clean/2", lambda facts: facts | {"item": [ITEMS[0], ITEMS[0], *ITEMS[2:]]})


def facts_of(*right: float | None, prompt: str = "p") -> Facts:
    names = ["a", "b", "c"]
    return {
        "item": names,
        "cluster": names,
        "subtask": names,
        "prompt": [prompt] * 3,
        "scores": {"acc": list(right)},
    }


def test_arms_whose_seeds_were_asked_alike_in_turn_pair() -> None:
    runs = [facts_of(0.0, 1.0, 1.0), facts_of(1.0, 1.0, 0.0, prompt="q")]
    one, two = (arm_of(name, HEAD, runs) for name in ("old", "new"))
    assert isinstance(compare.pair(one, two), compare.Paired)
    assert isinstance(compare.pair(one, arm_of("new", HEAD, runs[:1])), compare.Incomparable)


def test_the_gate_pairs_by_item_under_every_seed_too() -> None:
    usual, turned = facts_of(0.0, 1.0, 0.5), each(facts_of(0.0, 1.0, 0.5), lambda values: values[::-1])
    found = {
        f"score/{arm}/{seed}/t": Record(key="k", payload={}, output="o", facts=facts)
        for arm, seed, facts in (("old", 0, usual), ("old", 1, turned), ("new", 0, usual), ("new", 1, usual))
    }
    paired = scores_of("t", HEAD, ("old", "new"), (0, 1), found)
    assert isinstance(paired, Scores)
    assert paired.reference.tolist() == paired.treated.tolist() == [[0.0, 1.0, 0.5]] * 2
    found["score/new/1/t"] = Record(key="k", payload={}, output="o", facts=facts_of(0.0, 1.0, 0.5, prompt="other"))
    refused = scores_of("t", HEAD, ("old", "new"), (0, 1), found)
    assert isinstance(refused, compare.Incomparable)
    assert refused.reason is Reason.PROMPTS_DIFFER
