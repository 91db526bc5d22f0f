"""The leaderboard: what is ranked together, what is the same row, and how the ranks are said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standing_world as world

from harness import compare
from harness.errors import InputError
from harness.report import leaderboard, leaderboard_views
from harness.report.comparable import Entry, groups
from harness.report.leaderboard import Board, Row
from harness.standing import Request, Standing, _Reader, standing
from harness.store import Record, Run, Store

MMLU, DROP, ALL = "pocket_mmlu", "pocket_drop", "all tasks"


def board(*folders: Path, **asked: Any) -> Standing:
    """Return the leaderboard of some folders."""
    return standing(Request(results=folders, **asked))


def entries(root: Path, run: Run) -> list[Entry]:
    """Return what a leaderboard of one run is made of."""
    reader = _Reader()
    return [one for task in run.tasks for one in reader.entries(run, task, Store(root), "", set())]


def of(found: Standing, task: str) -> list[Board]:
    """Return the boards of a task."""
    return [one for one in found.boards if one.task == task]


def labels(rows: Sequence[Row]) -> list[str]:
    """Return the labels of rows, sorted."""
    return sorted(row.label for row in rows)


# --- what is ranked together -------------------------------------------------------------------------------


def test_arms_of_one_run_stand_on_one_board_per_task_and_one_over_all(tmp_path: Path) -> None:
    world.run(tmp_path)
    found = board(tmp_path)
    assert [one.task for one in found.boards] == [ALL, DROP, MMLU]
    for one in found.boards:
        assert {"aligned (pocket)", "base (pocket)", "clean (pocket)", "random (pocket)"} <= set(labels(one.rows))
        assert [row.score.mean for row in one.rows] == sorted((row.score.mean for row in one.rows), reverse=True)
        assert one.apart == ""


def test_a_row_says_what_it_is(tmp_path: Path) -> None:
    world.run(tmp_path)
    rows = {row.label: row for row in of(board(tmp_path), MMLU)[0].rows}
    clean, base, random = (rows[f"{name} (pocket)"] for name in ("clean", "base", "random"))
    assert (clean.treatment, clean.filter, clean.seeds, clean.chats) == ("drop chat", "alignment@1.1.0", (0, 1, 2), 80)
    assert clean.supervised_tokens == 100
    assert len(set(clean.weights)) == 3
    assert (base.treatment, base.filter, base.seeds, base.chats) == ("not fine-tuned", "", (), 0)
    assert (random.treatment, random.filter) == ("random as 'clean'", "alignment@1.1.0"), "the filter chose its size"
    assert rows["aligned (pocket)"].filter == ""


@pytest.mark.parametrize(
    ("differs", "said"),
    [
        ({"limit": 57}, "limit 57, there all"),
        ({"engine": "transformers"}, "engine transformers, there vllm"),
        ({"definition": "2"}, "definition"),
        ({"prompt": "another prompt of"}, "prompts"),
        ({"items": 59}, "items"),
    ],
)
def test_rows_that_were_asked_otherwise_stand_apart_and_the_board_says_why(
    tmp_path: Path, differs: dict[str, Any], said: str
) -> None:
    world.run(tmp_path)
    world.run(tmp_path, name="other", data="b", **differs)
    first, second = of(board(tmp_path), MMLU)
    assert {row.origins[0].study for row in (*first.rows, *second.rows)} == {"pocket", "other"}
    assert not {row.label for row in first.rows} & {row.label for row in second.rows}
    assert second.apart.startswith(f"not ranked together with board {first.number}, which differs in: ")
    assert said in second.apart
    assert len(of(board(tmp_path), ALL)) == 2


def test_another_metric_or_average_or_version_of_a_stage_is_another_board(tmp_path: Path) -> None:
    world.run(tmp_path)

    def newer(stage: str, record: Record) -> Record:
        return replace(record, payload={**record.payload, "version": 2}) if stage.startswith("score/") else record

    world.run(tmp_path, name="newer", data="b", change=newer)
    _, second = of(board(tmp_path), MMLU)
    assert "version of score 2, there 1" in second.apart or "version of score 1, there 2" in second.apart


def test_another_seed_of_sampling_is_luck_and_no_reason_to_stand_apart(tmp_path: Path) -> None:
    world.run(tmp_path)

    def reseeded(stage: str, record: Record) -> Record:
        if not stage.startswith("items/"):
            return record
        settings = {**record.payload["settings"], "sampling_seed": 7}
        return replace(record, payload={**record.payload, "settings": settings})

    world.run(tmp_path, name="other", data="b", change=reseeded)
    assert len(of(board(tmp_path), MMLU)) == 1


def test_seeds_of_an_arm_that_were_asked_otherwise_are_no_runs_of_one_row(tmp_path: Path) -> None:
    def changed(stage: str, record: Record) -> Record:
        if stage != f"score/clean/2/{MMLU}":
            return record
        prompts = ["changed", *record.facts["prompt"][1:]]
        return replace(record, facts={**record.facts, "prompt": prompts})

    world.run(tmp_path, change=changed)
    first, second = of(board(tmp_path), MMLU)
    assert [row.seeds for row in second.rows] == [(2,)]
    assert {row.label: row.seeds for row in first.rows}["clean (pocket)"] == (0, 1)


# --- what is one row ---------------------------------------------------------------------------------------


def test_the_same_checkpoints_in_two_studies_are_one_row_that_names_both(tmp_path: Path) -> None:
    world.run(tmp_path)
    before = of(board(tmp_path), MMLU)[0]
    world.run(tmp_path, name="copy")
    [after] = of(board(tmp_path), MMLU)
    assert len(after.rows) == len(before.rows)
    assert {one.study for one in after.rows[0].origins} == {"copy", "pocket"}
    assert [(row.score, row.rank) for row in after.rows] == [(row.score, row.rank) for row in before.rows]


def test_a_row_of_many_studies_names_the_first_ones(tmp_path: Path) -> None:
    for name in "abcde":
        world.run(tmp_path, name=name)
    [found] = of(board(tmp_path), MMLU)
    clean = next(row for row in found.rows if row.label.startswith("clean"))
    assert clean.label == "clean (a, b, c and 2 more)"
    assert [one.study for one in clean.origins] == list("abcde"), "the documents have all"


def test_fewer_seeds_of_a_row_are_no_row_of_their_own(tmp_path: Path) -> None:
    world.run(tmp_path)
    world.run(tmp_path, seeds=1)
    [found] = of(board(tmp_path), MMLU)
    clean = next(row for row in found.rows if row.label == "clean (pocket)")
    assert clean.seeds == (0, 1, 2)
    assert sorted(one.run for one in clean.origins) == [
        "pocket/pocket_mmlu-pocket_drop",
        "pocket/seeds-1_pocket_mmlu-pocket_drop",
    ]


def test_arms_that_came_out_as_the_same_weights_are_one_row(tmp_path: Path) -> None:
    """A filter that finds nothing: clean is aligned under another name."""

    def same(stage: str, record: Record) -> Record:
        kind, _, place = stage.partition("/")
        if kind == "train" and place.startswith("clean/"):
            return replace(record, facts={**record.facts, "weights": f"aligned {place[-1]}"})
        if kind == "train" and place.startswith("aligned/"):
            return replace(record, facts={**record.facts, "weights": f"aligned {place[-1]}"})
        if kind == "predict" and place.startswith(("clean/", "aligned/")):
            return replace(record, output=f"answers of {place.partition('/')[2]}")
        return record

    world.run(tmp_path, change=same, scores=world.drawn({"aligned": 0.5, "clean": 0.5}))
    [found] = of(board(tmp_path), MMLU)
    assert "aligned = clean (pocket)" in labels(found.rows)


def test_the_same_folder_given_twice_counts_once(tmp_path: Path) -> None:
    world.run(tmp_path)
    assert board(tmp_path, tmp_path / ".." / tmp_path.name) == board(tmp_path)


def test_two_folders_are_ranked_together(tmp_path: Path) -> None:
    world.run(tmp_path / "mine")
    world.run(tmp_path / "theirs", name="other", data="b")
    found = board(tmp_path / "mine", tmp_path / "theirs")
    assert found.runs == 2
    [one] = of(found, MMLU)
    assert {"clean (other)", "clean (pocket)", "base (other, pocket)"} <= set(labels(one.rows))


def test_two_rows_of_one_name_are_told_apart_by_their_weights(tmp_path: Path) -> None:
    world.run(tmp_path / "mine")
    world.run(tmp_path / "theirs", data="b")
    [one] = of(board(tmp_path / "mine", tmp_path / "theirs"), MMLU)
    names = [label for label in labels(one.rows) if label.startswith("clean (pocket)")]
    assert len(set(names)) == 2
    assert {label.split()[-1] for label in names} == {
        row.weights[0][:8] for row in one.rows if row.label.startswith("clean")
    }


# --- ranks -------------------------------------------------------------------------------------------------


def test_gaps_are_paired_by_item(tmp_path: Path) -> None:
    """12 items more of 400 right, all of them on top of the same others: unpaired, that is nothing."""

    def scores(arm: str, seed: int | None, task: str, items: int) -> list[float]:
        right = {"aligned": 200, "clean": 212}.get(arm, 200)
        return [float(place < right) for place in range(items)]

    world.run(tmp_path, items=400, scores=scores, seeds=1)
    [found] = of(board(tmp_path), MMLU)
    assert found.rows[0].label == "clean (pocket)"
    assert (found.rows[0].rank.best, found.rows[0].rank.worst) == (1, 1)
    low = found.rows[1]
    assert low.score.high > found.rows[0].score.low, "their intervals overlap by far"


def test_what_is_not_told_apart_shares_a_range_and_a_tie_group(tmp_path: Path) -> None:
    world.run(tmp_path, items=400, scores=world.drawn({"base": 0.2, "aligned": 0.5, "clean": 0.9, "random": 0.5}))
    [found] = of(board(tmp_path), MMLU)
    by_name = {row.label.partition(" ")[0]: (row, block) for row, block in zip(found.rows, found.blocks, strict=True)}
    assert by_name["clean"][0].rank.worst == 1
    assert by_name["base"][0].rank.best == len(found.rows)
    middle = [by_name[name] for name in ("aligned", "random")]
    assert len({(row.rank.best, row.rank.worst) for row, _ in middle}) == 1
    assert len({block for _, block in middle}) == 1
    assert len({by_name[name][1] for name in ("clean", "aligned", "base")}) == 3


def test_rows_that_are_all_alike_share_every_rank(tmp_path: Path) -> None:
    world.run(tmp_path, scores=lambda arm, seed, task, items: [float(place % 2) for place in range(items)])
    for one in board(tmp_path).boards:
        assert {(row.rank.best, row.rank.worst) for row in one.rows} == {(1, len(one.rows))}
        assert set(one.blocks) == {0}


def test_one_item_ranks_nothing(tmp_path: Path) -> None:
    world.run(tmp_path, items=1, scores=lambda arm, seed, task, items: [float(arm == "clean")])
    for one in board(tmp_path).boards:
        assert {(row.rank.best, row.rank.worst) for row in one.rows} == {(1, len(one.rows))}


def test_nothing_depends_on_the_order_in_which_runs_are_found(tmp_path: Path) -> None:
    for root, names in ((tmp_path / "a", ["x", "y", "z"]), (tmp_path / "b", ["z", "y", "x"])):
        for name in names:
            world.run(root / name, name=name, data=name)
    forth = board(*(tmp_path / "a" / name for name in ("x", "y", "z")))
    back = board(*(tmp_path / "b" / name for name in ("z", "x", "y")))
    assert forth == back


# --- over all tasks ----------------------------------------------------------------------------------------


def test_the_score_over_all_tasks_is_the_mean_of_chance_corrected_scores(tmp_path: Path) -> None:
    world.run(tmp_path, items=120)
    found = board(tmp_path)
    [over], [mmlu], [drop] = (of(found, task) for task in (ALL, MMLU, DROP))
    single = {row.label: row.score.mean for row in mmlu.rows}
    other = {row.label: row.score.mean for row in drop.rows}
    assert mmlu.chance == drop.chance == 0.25
    for row in over.rows:
        wanted = ((single[row.label] - 0.25) / 0.75 + (other[row.label] - 0.25) / 0.75) / 2
        assert row.score.mean == pytest.approx(wanted)
        assert row.score.low <= row.score.mean <= row.score.high


def test_every_task_counts_alike_over_all_however_many_items_it_has(tmp_path: Path) -> None:
    def scores(arm: str, seed: int | None, task: str, items: int) -> list[float]:
        right = {("clean", MMLU): 1.0, ("aligned", DROP): 1.0}.get((arm, task), 0.0)
        return [right] * items

    def shorter(stage: str, record: Record) -> Record:
        if not (stage.startswith("score/") and stage.endswith(DROP)):
            return record
        facts = {name: value[:10] if isinstance(value, list) else value for name, value in record.facts.items()}
        return replace(record, facts={**facts, "scores": {"acc": record.facts["scores"]["acc"][:10]}})

    world.run(tmp_path, items=90, scores=scores, change=shorter)
    [over] = of(board(tmp_path), ALL)
    means = {row.label: row.score.mean for row in over.rows}
    assert over.items == 100
    # One task fully right, one fully wrong: (1 + (0 - .25)/.75) / 2 whichever it is.
    assert means["clean (pocket)"] == pytest.approx(means["aligned (pocket)"])
    assert means["clean (pocket)"] == pytest.approx((1 - 1 / 3) / 2)
    assert means["random (pocket)"] == pytest.approx(-1 / 3)


def test_a_row_without_all_tasks_is_not_ranked_over_all_and_is_named(tmp_path: Path) -> None:
    world.run(tmp_path)
    world.run(tmp_path, name="half", data="b", tasks=(MMLU,))
    [over] = of(board(tmp_path), ALL)
    assert not [row for row in over.rows if "clean (half)" in row.label]
    assert ("clean (half)", "has no score on pocket DROP") in over.left_out
    assert "clean (half)" in labels(of(board(tmp_path), MMLU)[0].rows)


def test_tasks_asked_in_two_commands_are_one_row_over_all(tmp_path: Path) -> None:
    world.run(tmp_path, tasks=(MMLU,))
    assert of(board(tmp_path), ALL) == [], "one task is no whole"
    world.run(tmp_path, tasks=(DROP,))
    [over] = of(board(tmp_path), ALL)
    assert "clean (pocket)" in labels(over.rows)
    assert over.left_out == ()


# --- what cannot be ranked ---------------------------------------------------------------------------------


def without(value: float | None) -> Callable[[str, int | None, str, int], list[float | None]]:
    """Return scores in which one item of clean has another one."""

    def scores(arm: str, seed: int | None, task: str, items: int) -> list[float | None]:
        drawn: list[float | None] = list(world.drawn()(arm, seed, task, items))
        if arm == "clean" and seed == 1 and task == MMLU:
            drawn[3] = value
        return drawn

    return scores


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "1 items have no acc, such as 'pocket_mmlu-0003'"),
        (12.5, "the acc of item 'pocket_mmlu-0003' is not between 0 and 1"),
    ],
)
def test_a_row_with_an_item_that_has_no_sound_score_is_named_with_the_item(
    tmp_path: Path, value: float | None, said: str
) -> None:
    world.run(tmp_path, scores=without(value))
    [mmlu] = of(board(tmp_path), MMLU)
    assert mmlu.left_out == (("clean (pocket)", said),)
    assert "clean (pocket)" not in labels(mmlu.rows)
    assert "clean (pocket)" in labels(of(board(tmp_path), DROP)[0].rows)
    assert of(board(tmp_path), ALL)[0].left_out == (("clean (pocket)", "has no score on pocket MMLU"),)


def test_no_run_gives_no_board_and_no_error(tmp_path: Path) -> None:
    assert board(tmp_path) == Standing(boards=(), runs=0)


def test_an_unknown_task_or_metric_names_what_there_is(tmp_path: Path) -> None:
    world.run(tmp_path)
    with pytest.raises(InputError, match=r"No run has a task 'pocket_mlu'\. Did you mean 'pocket_mmlu'"):
        board(tmp_path, task="pocket_mlu")
    with pytest.raises(InputError, match=r"No task has a metric 'f1'\. Known: acc\."):
        board(tmp_path, metric="f1")


def test_one_task_alone_has_no_board_over_all(tmp_path: Path) -> None:
    world.run(tmp_path)
    assert [one.task for one in board(tmp_path, task=MMLU).boards] == [MMLU]


def test_a_board_with_too_many_rows_shows_the_best_and_counts_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(tmp_path, items=300, scores=world.drawn({"base": 0.1, "aligned": 0.5, "clean": 0.9, "random": 0.5}))
    [whole] = of(board(tmp_path), MMLU)
    monkeypatch.setattr(leaderboard, "MOST", 2)
    [cut] = of(board(tmp_path), MMLU)
    assert [row.label for row in cut.rows] == [row.label for row in whole.rows[:2]]
    assert cut.further == len(whole.rows) - 2
    assert cut.rows[0].rank.best == whole.rows[0].rank.best
    assert cut.rows[0].rank.worst == len(whole.rows) - 1, "one row was called below, the others were not tested"
    assert f"{cut.further} further rows" in " ".join(leaderboard_views.notes(cut))


def test_runs_of_one_seed_stay_in_one_line_over_all_tasks(tmp_path: Path) -> None:
    """Digests of weights have an order of their own, another one for every arm."""
    noise = [0.3, 0.0, -0.3]

    def scores(arm: str, seed: int | None, task: str, items: int) -> list[float]:
        share = 0.5 + (noise[seed] if seed is not None else 0.0)
        return [float(place < share * items) for place in range(items)]

    run = world.run(tmp_path, items=60, scores=scores)
    reader = entries(tmp_path, run)
    joined = next(group for group in groups(reader) if group.entries[0].task == ALL)
    for entry in joined.entries:
        if entry.seeds:
            assert entry.seeds == (0, 1, 2)
            assert entry.scores.mean(axis=1) == pytest.approx([0.8, 0.5, 0.2])


def test_another_metric_ranks_by_it_and_knows_no_chance(tmp_path: Path) -> None:
    def with_mass(stage: str, record: Record) -> Record:
        if not (stage.startswith("score/") and stage.endswith(MMLU)):
            return record
        scores = {**record.facts["scores"], "mass": [0.5] * len(record.facts["item"])}
        return replace(record, facts={**record.facts, "scores": scores})

    world.run(tmp_path, change=with_mass)
    [one] = board(tmp_path, metric="mass").boards
    assert (one.task, one.metric, one.chance) == (MMLU, "mass", 0.0)
    assert {row.score.mean for row in one.rows} == {0.5}


def test_a_macro_average_counts_subtasks_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    macro = {name: replace(info, average="macro") for name, info in world.INFOS.items()}
    monkeypatch.setattr(world, "INFOS", macro)

    def uneven(stage: str, record: Record) -> Record:
        if not stage.startswith("score/"):
            return record
        count = len(record.facts["item"])
        return replace(record, facts={**record.facts, "subtask": ["small"] * 2 + ["large"] * (count - 2)})

    world.run(tmp_path, items=20, change=uneven, scores=lambda *given: [1.0] * 2 + [0.0] * 18)
    [mmlu] = of(board(tmp_path), MMLU)
    assert [row.score.mean for row in mmlu.rows] == pytest.approx([0.5] * len(mmlu.rows))


def test_the_gaps_behind_the_ranks_are_those_of_compare(tmp_path: Path) -> None:
    """Two rows of one seed: rank 1 exactly where the two-sided p is below 5 %."""
    for seed in range(6):
        draw = np.random.default_rng(seed)
        answers = {arm: (draw.random(80) < rate).astype(float) for arm, rate in (("aligned", 0.5), ("clean", 0.66))}

        def scores(arm: str, _: int | None, task: str, items: int, own: Any = answers) -> list[float]:
            return [float(value) for value in own.get("clean" if arm == "clean" else "aligned")]

        root = tmp_path / str(seed)
        world.run(root, items=80, scores=scores, seeds=1, tasks=(MMLU,))
        [found] = board(root).boards
        gap = compare.gap(answers["aligned"][None], answers["clean"][None])
        top = next(row for row in found.rows if row.label == "clean (pocket)")
        pairs = len(found.rows) * (len(found.rows) - 1)
        # The others are alike among themselves, so Holm's steps are the first ones for as many equal p-values.
        assert (top.rank.worst == 1) is (gap.p_value(alternative="greater") * pairs <= 0.05)
