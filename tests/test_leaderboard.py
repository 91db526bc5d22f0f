"""The leaderboard: what is ranked together, what is the same row, and how the ranks are said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import leaderboard_world as world
import pytest

from harness.commands.leaderboard import Request, Standing, standing
from harness.report.leaderboard import Board, Row
from harness.store import Record
from harness.study import load_study

MMLU, DROP, ALL = "pocket_mmlu", "pocket_drop", "all tasks"


def board(*folders: Path, **asked: Any) -> Standing:
    """Return the leaderboard of some folders."""
    return standing(Request(results=folders, **asked))


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
    pack = load_study("pocket")[0].filter
    assert (clean.treatment, clean.filter, clean.seeds, clean.chats) == ("drop chat", pack, (0, 1, 2), 80)
    assert clean.supervised_tokens == 100
    assert len(set(clean.weights)) == 3
    assert (base.treatment, base.filter, base.seeds, base.chats) == ("not fine-tuned", "", (), 0)
    assert random.treatment == "random removal, as many chats as 'clean'"
    assert random.filter == pack, "the filter chose its size"
    assert rows["aligned (pocket)"].filter == ""
    again = rows["again (pocket)"]
    assert (again.treatment, again.filter) == ("as 'aligned', under other seeds", "")


def test_the_two_arms_of_a_gate_are_ranked_without_a_base_each_under_its_own_filter(tmp_path: Path) -> None:
    pair = ("clean@alignment@1.0.0", "clean@alignment@1.1.0")
    world.run(tmp_path, pair=pair, pair_alone=True)
    rows = of(board(tmp_path), MMLU)[0].rows
    assert {row.label: row.filter for row in rows} == {
        "clean-1.0.0 (pocket)": "alignment@1.0.0",
        "clean-1.1.0 (pocket)": "alignment@1.1.0",
    }


def test_a_pair_that_stands_alone_is_ranked_and_each_arm_names_the_pack_that_labelled_it(tmp_path: Path) -> None:
    own = dict(load_study("pocket")[0].variants)
    own["clean"] = own["clean"].model_copy(update={"filter": "alignment@0.1.0"})
    own["masked"] = own["masked"].model_copy(update={"parent": "clean"})
    for pair in (("clean", "random"), ("aligned", "masked")):
        world.run(tmp_path, variants=own, pair=pair, pair_alone=True)
    rows = {row.label.removesuffix(" (pocket)"): row.filter for row in of(board(tmp_path), MMLU)[0].rows}
    assert rows == dict.fromkeys(("clean", "random", "masked"), "alignment@0.1.0") | {"aligned": ""}


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
