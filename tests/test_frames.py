"""Tables for notebooks: the columns that are promised, and the numbers of the report."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import leaderboard_world as world
import pandas as pd
import pytest

import harness
from harness import compare
from harness.errors import InputError
from harness.report.frames import Frames
from harness.store import Ledger, Record, Runs, Store


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a run of three seeds and one of fewer items."""
    folder = tmp_path_factory.mktemp("results")
    world.run(folder, items=40)
    world.run(folder, limit=20, items=20)
    return folder


@pytest.fixture(scope="module")
def frames(root: Path) -> Frames:
    return harness.load(root)


WHOLE, PART = "pocket/pocket_mmlu-pocket_drop", "pocket/limit-20_pocket_mmlu-pocket_drop"


def test_thousands_of_runs_that_share_records_read_each_once_and_have_rows_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.run(tmp_path, items=40)
    for number in range(50):
        Runs(tmp_path).put(replace(run, study={**run.study, "name": f"s{number}"}))
    one, reads = harness.load(tmp_path).items.query("run == @WHOLE"), []
    read = Ledger.read
    monkeypatch.setattr(Ledger, "read", lambda own, path: reads.append(path) or read(own, path))
    table = harness.load(tmp_path).items
    assert len(reads) == len(set(reads)) == len(set(run.records.values()))
    assert len(table) == 51 * len(one)
    again = table[table.study == "s7"]
    for name in table.columns:
        if name not in ("study", "run"):
            assert again[name].tolist() == one[name].tolist(), name


def test_categories_of_items_are_sorted_and_hold_nothing_that_no_row_has(frames: Frames) -> None:
    for name in ("run", "variant", "item", "metric"):
        found = frames.items[name]
        assert list(found.cat.categories) == sorted(set(found)), name


def test_tables_of_a_run_that_is_not_of_one_piece_are_an_error(tmp_path: Path) -> None:
    run = world.run(tmp_path, items=40)
    ledger = Store(tmp_path).ledger
    record = ledger.get(*run.records["train/clean/1"])
    assert record is not None
    ledger.put(replace(record, output="f" * 64))
    for name in ("items", "scores", "gaps", "arms", "losses"):
        with pytest.raises(InputError, match="another 'model'"):
            getattr(harness.load(tmp_path), name)


def test_importing_harness_imports_nothing_else_and_load_is_there() -> None:
    code = (
        "import sys, harness; assert callable(harness.load);"
        "heavy = {'numpy', 'pandas', 'pydantic', 'scipy'} & set(sys.modules);"
        "own = [name for name in sys.modules if name.startswith('harness.')];"
        "print(sorted(heavy), own)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"


def test_items_have_one_row_per_run_checkpoint_task_item_and_metric(frames: Frames) -> None:
    table = frames.items
    assert list(table.columns) == [
        *("study", "run", "variant", "seed", "task", "profile", "item", "subtask", "cluster", "prompt", "metric"),
        "score",
    ]
    keys = ["run", "variant", "seed", "task", "item", "metric"]
    assert not table.duplicated(keys).any()
    whole = table[(table.run == WHOLE) & (table.task == "pocket_mmlu")]
    assert set(whole.groupby(["variant", "seed"], observed=True, dropna=False).size()) == {40}
    assert set(whole[whole.variant == "base"].seed.isna()) == {True}
    assert set(whole[whole.variant == "clean"].seed) == {0, 1, 2}
    assert str(table.item.dtype) == "category"


def test_a_pair_that_stands_alone_has_no_rows_of_a_base_that_was_not_asked(tmp_path: Path) -> None:
    world.run(tmp_path, items=9, pair_alone=True)
    own = harness.load(tmp_path)
    for table in (own.items, own.scores, own.arms, own.losses):
        assert set(table.variant) == {"aligned", "clean"}
    assert set(own.gaps.kind) == {"pair"} and own.records.whole.all()


def test_the_gap_can_be_had_from_the_items(frames: Frames) -> None:
    """The very thing that the table is for: pivot it and compare."""
    own = frames.items.query("run == @WHOLE and task == 'pocket_mmlu' and metric == 'acc'")
    wide = own.astype({"variant": str, "item": str}).pivot(index=["variant", "seed"], columns="item", values="score")
    gap = compare.gap(wide.loc["aligned"].to_numpy(), wide.loc["clean"].to_numpy())
    line = frames.gaps.query("run == @WHOLE and task == 'pocket_mmlu' and kind == 'pair'").iloc[0]
    assert line.gap == pytest.approx(gap.absolute)
    assert (line.low, line.high) == pytest.approx((gap.low, gap.high))


def test_gaps_are_those_of_the_report(root: Path, frames: Frames) -> None:
    from harness.commands import report

    pairs = frames.gaps[frames.gaps.kind == "pair"].set_index(["run", "task"])
    for name, result in zip((PART, WHOLE), report.stored(root), strict=True):
        for row in result.tasks:
            line = pairs.loc[(name, row.task)]
            assert isinstance(row.gap, compare.Gap)
            assert row.judgement is not None
            assert (line.gap, line.low, line.high, line.p) == (
                row.gap.absolute,
                row.gap.low,
                row.gap.high,
                row.gap.p_value(),
            )
            assert (line.verdict, line.adjusted) == (row.judgement.verdict.value, row.judgement.adjusted)
            assert (line.reference, line.treated, line.seeds) == ("aligned", "clean", 3)
    assert set(frames.gaps[frames.gaps.kind != "pair"].verdict.isna()) == {True}


def test_scores_are_one_per_checkpoint_task_and_metric(frames: Frames) -> None:
    table = frames.scores
    assert not table.duplicated(["run", "variant", "seed", "task", "metric"]).any()
    keys = ["run", "variant", "seed", "task"]
    means = frames.items.groupby(keys, observed=True, dropna=False).score.mean().rename("mean").reset_index()
    both = table.fillna({"seed": -1}).merge(
        means.fillna({"seed": -1}).astype({"run": str, "task": str, "variant": str})
    )
    assert len(both) == len(table)
    assert both.score.to_numpy() == pytest.approx(both["mean"].to_numpy())
    for line in table.itertuples():
        assert line.primary
        assert line.chance == 0.25
        assert line.items == (40 if line.run == WHOLE else 20)


def test_arms_and_losses_have_a_line_for_every_seed(frames: Frames) -> None:
    arms = frames.arms[frames.arms.run == WHOLE]
    assert not arms.duplicated(["variant", "seed"]).any()
    assert {"base", "aligned", "clean", "random"} <= set(arms.variant)
    assert arms[arms.variant == "clean"].seed.tolist() == [0, 1, 2]
    assert arms.weights.nunique() == len(arms)
    losses = frames.losses[(frames.losses.run == WHOLE) & (frames.losses.variant == "clean")]
    assert losses.seed.tolist() == [0, 1, 2]
    assert set(losses.step) == {1}


def test_records_are_all_there_with_their_seconds(root: Path, frames: Frames) -> None:
    table = frames.records
    assert len(table) == len(list((root / "ledger").rglob("*.json")))
    assert table.whole.all()
    assert set(table.seconds) == {1.5}
    assert (table.runs >= 1).all()
    assert {"train", "score", "base"} <= set(table.kind)


def test_a_damaged_record_is_marked_and_everything_else_is_an_error(tmp_path: Path) -> None:
    run = world.run(tmp_path)
    store = Store(tmp_path)
    path = store.ledger.path(*run.records["score/clean/0/pocket_mmlu"])
    path.write_text(path.read_text().replace("0.0", "1.0", 1))
    (store.ledger.root / "score" / "none.json").write_text("[")
    table = harness.load(tmp_path).records
    assert table[~table.whole].key.tolist() == [run.records["score/clean/0/pocket_mmlu"][1], "none"]
    for name in ("items", "scores", "gaps", "arms"):
        with pytest.raises(InputError, match="digest does not match"):
            getattr(harness.load(tmp_path), name)


def test_an_arm_that_cannot_be_paired_says_why_and_has_no_numbers(tmp_path: Path) -> None:
    def other(stage: str, record: Record) -> Record:
        if not stage.startswith("score/clean/"):
            return record
        prompts = ["changed", *record.facts["prompt"][1:]]
        return replace(record, facts={**record.facts, "prompt": prompts})

    world.run(tmp_path, change=other)
    line = harness.load(tmp_path).gaps.query("kind == 'pair'").iloc[0]
    assert line.verdict == "incomparable"
    assert "asked differently" in line.incomparable
    assert pd.isna(line.gap)


def test_no_runs_give_empty_tables_with_their_columns(tmp_path: Path, frames: Frames) -> None:
    empty = harness.load(tmp_path)
    for name in ("runs", "items", "scores", "gaps", "arms", "losses", "records"):
        table = getattr(empty, name)
        assert len(table) == 0
        assert list(table.columns) == list(getattr(frames, name).columns), name


def test_a_folder_that_is_none_is_an_error_and_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder of results"):
        harness.load(tmp_path / "none")
    world.run(tmp_path)
    loaded = harness.load(str(tmp_path))
    assert repr(loaded) == f"<results in {tmp_path}, runs: 1>"
    assert loaded.runs is loaded.runs
    assert loaded.runs.loc[0, "tasks"] == "pocket_mmlu pocket_drop"
    assert set(vars(loaded)) == {"root", "_store", "_runs", "runs"}
