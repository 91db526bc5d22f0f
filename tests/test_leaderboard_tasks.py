"""The leaderboard over all tasks, and what cannot be ranked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import leaderboard_world as world
import numpy as np
import pytest
from test_leaderboard import ALL, DROP, MMLU, board, labels, of

from harness import compare
from harness.commands.leaderboard import Reader, Standing
from harness.errors import InputError
from harness.report import leaderboard, leaderboard_views
from harness.report.comparable import Entry, groups
from harness.report.join import asked
from harness.store import Record, Run, Store


def entries(root: Path, run: Run) -> list[Entry]:
    """Return what a leaderboard of one run is made of."""
    reader = Reader()
    about = asked(run)
    return [one for task in run.tasks for one in reader.entries(run, about, task, Store(root), "", set())]


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
        share = 0.5 + (noise[seed % 3] if seed is not None else 0.0)
        return [float(place < share * items) for place in range(items)]

    run = world.run(tmp_path, items=60, scores=scores)
    reader = entries(tmp_path, run)
    joined = next(group for group in groups(reader) if group.entries[0].task == ALL)
    for entry in joined.entries:
        if entry.seeds:
            assert [seed % 3 for seed in entry.seeds] == [0, 1, 2]
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
