"""`harness power`: where its numbers come from, and that they are those of compare."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_controls import HEADS, chosen, drawn
from test_controls import study as study_of
from typer.testing import CliRunner

from harness.cli.app import app
from harness.commands.power import SIZES, Assumed, Origin, _as_measured, outlook
from harness.compare import Design, Gap, planned
from harness.compare import gap as compare_gap
from harness.compare.power import SEED_SD, smallest_called
from harness.data import pocket
from harness.errors import InputError
from harness.report import join
from harness.store import Ledger, Record, Runs
from harness.store.ledger import stage_key, stage_payload
from harness.study import load_study

NOWHERE = Path("/nonexistent")


def stored(root: Path, rates: Mapping[str, float], **asked: Any) -> Any:
    """Keep a finished run of a pocket study of two tasks in a store; return its result."""
    own = study_of()
    choice = chosen(own, **asked)
    places, found = {}, {}
    for name, one in drawn(own, choice, rates, sd=0.02).items():
        payload = stage_payload(kind="score", version=1, settings={"name": name} | asked, inputs={})
        record = Record(key=stage_key(payload), payload=payload, output="0" * 64, facts=one.facts)
        Ledger(root / "ledger").put(record)
        places[name], found[name] = ("score", record.key), record
    run = join.run_of(study=own, choice=choice, heads=HEADS, records=places)
    Runs(root).put(run)
    return join.again(run, found)


def test_without_a_run_the_shipped_sizes_and_usual_variances_are_taken() -> None:
    study, rows = outlook("smollm2", results=NOWHERE)
    assert [(row.task, row.items, row.origin) for row in rows] == [
        *(("mmlu", 14_042, Origin.SHIPPED), ("bbh", 6_511, Origin.SHIPPED)),
        *(("humaneval", 164, Origin.SHIPPED), ("drop", 9_536, Origin.SHIPPED)),
    ]
    assert {row.seeds for row in rows} == {len(study.seeds)}
    assert not any(row.measured for row in rows)
    assert rows[0].smallest == planned(Design(items=14_042, seeds=3))
    assert rows[0].margin == 0.01


def test_the_seeds_for_a_margin_are_the_least_that_show_it() -> None:
    for row in outlook("poison-of-alignment", results=NOWHERE)[1]:
        assert row.items is not None
        assert row.seeds_needed is not None
        assert planned(Design(items=row.items, seeds=row.seeds_needed)) <= row.margin
        assert planned(Design(items=row.items, seeds=row.seeds_needed - 1)) > row.margin


def test_more_seeds_and_more_items_see_smaller_gaps_and_a_limit_fewer_items() -> None:
    def first(**asked: Any) -> float:
        smallest = outlook("smollm2", results=NOWHERE, **asked)[1][0].smallest
        assert smallest is not None
        return smallest

    assert first(seeds=8) < first(seeds=3) < first(seeds=2)
    assert first(items=20_000) < first() < first(limit=57)
    [mmlu, _, humaneval, _] = outlook("smollm2", limit=1000, results=NOWHERE)[1]
    assert (mmlu.items, humaneval.items) == (1000, 164)
    assert first(assumed=Assumed(seed_sd=0.01)) > first() > first(assumed=Assumed(changed=0.01))


def test_no_number_of_seeds_shows_a_margin_that_items_alone_hide() -> None:
    rows = outlook("smollm2", items=2, results=NOWHERE)[1]
    assert rows[0].seeds_needed is None or rows[0].seeds_needed > 100
    assert rows[0].smallest is None or rows[0].smallest > 0.1


def test_a_study_of_safety_tasks_alone_has_no_gap_to_see(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    text = (Path(__file__).parent.parent / "training" / "studies" / "pocket-doses.toml").read_text()
    file.write_text(re.sub(r"^tasks = .*", 'tasks = ["pocket_safe", "pocket_harmful"]', text, flags=re.MULTILINE))
    with pytest.raises(InputError, match="asks safety tasks alone"):
        outlook(str(file), results=NOWHERE)


def test_a_task_whose_size_is_not_known_says_so_until_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    text = (Path(__file__).parent.parent / "training" / "studies" / "smollm2.toml").read_text()
    file.write_text(text.replace('["mmlu", "bbh", "humaneval", "drop"]', '["gsm8k"]'))
    [row] = outlook(str(file), results=NOWHERE)[1]
    assert (row.items, row.origin, row.smallest, row.seeds_needed) == (None, Origin.UNKNOWN, None, None)
    [row] = outlook(str(file), items=1319, results=NOWHERE)[1]
    assert (row.items, row.origin) == (1319, Origin.GIVEN)
    assert row.smallest is not None


def test_a_finished_run_gives_the_variances_and_at_its_own_size_the_smallest_gap_is_that_of_its_report(
    tmp_path: Path,
) -> None:
    result = stored(tmp_path, {"clean": 0.55})
    rows = {row.task: row for row in outlook("pocket", results=tmp_path)[1]}
    for row in result.tasks:
        own = rows[row.task]
        assert isinstance(row.gap, Gap)
        assert (own.items, own.origin, own.measured) == (240, Origin.RUN, True)
        assert own.smallest == pytest.approx(row.judgement.smallest, rel=0.03)
        assert own.seeds_needed == pytest.approx(row.judgement.seeds_needed, abs=1)
        assert own.seed_sd != SEED_SD
    assert not rows["pocket_bbh"].measured, "that run did not ask it"
    assert rows["pocket_bbh"].origin is Origin.SHIPPED
    more = {row.task: row for row in outlook("pocket", seeds=9, results=tmp_path)[1]}
    for name in ("pocket_mmlu", "pocket_drop"):
        few, many = rows[name].smallest, more[name].smallest
        assert few is not None
        assert many is not None
        assert many < few


def test_of_a_few_items_a_gap_changes_more_than_two_runs_do_and_the_few_that_changed_do_not_set_its_size(
    tmp_path: Path,
) -> None:
    stored(tmp_path, {"clean": 0.51})
    for limit, exact in ((10, 6 / 10), (20, 6 / 20), (40, 6 / 40)):
        [row, *_] = outlook("pocket", results=tmp_path, limit=limit)[1]
        assert (row.items, row.measured) == (limit, True)
        assert row.changed is not None
        assert row.changed < 0.08
        assert row.smallest is not None
        # A sign test needs 6 changes one way; seeds make finer steps than that, and training luck coarser ones.
        assert 0.7 * exact < row.smallest < 1.3 * exact


def test_more_items_than_a_run_had_come_in_more_clusters_and_fewer_in_as_many_as_there_are() -> None:
    g = np.random.default_rng(0)
    arms = [(g.random((3, 240)) < g.beta(0.5, 0.5, 240)).astype(float) for _ in range(2)]
    gap = compare_gap(arms[0], arms[1], [f"c{item // 8}" for item in range(240)])
    assert [_as_measured(gap, items).clusters for items in (16, 30, 120, 240, 480)] == [16, 30, 30, 30, 60]
    at_its_size = planned(replace(_as_measured(gap, 240), seeds=3))
    assert at_its_size == pytest.approx(smallest_called(gap), rel=0.03)


def test_a_run_with_fewer_items_gives_its_variances_but_not_its_size(tmp_path: Path) -> None:
    stored(tmp_path, {}, limit=240)
    rows = {row.task: row for row in outlook("pocket", results=tmp_path)[1]}
    assert (rows["pocket_mmlu"].items, rows["pocket_mmlu"].origin) == (210, Origin.SHIPPED)
    assert rows["pocket_mmlu"].measured
    same = {row.task: row for row in outlook("pocket", limit=240, results=tmp_path)[1]}
    assert (same["pocket_mmlu"].items, same["pocket_mmlu"].origin) == (240, Origin.RUN)


def test_a_run_against_the_base_measures_nothing_of_two_trained_arms(tmp_path: Path) -> None:
    stored(tmp_path, {"base": 0.2, "clean": 0.55}, pair=("base", "clean"))
    assert not any(row.measured for row in outlook("pocket", results=tmp_path)[1])
    stored(tmp_path, {"clean": 0.55}, seeds=1)
    [row, *_] = outlook("pocket", results=tmp_path)[1]
    assert row.measured
    assert row.changed is not None
    assert row.changed < 0.2


def test_of_one_seed_training_luck_is_assumed(tmp_path: Path) -> None:
    stored(tmp_path, {}, seeds=1)
    [row, *_] = outlook("pocket", results=tmp_path)[1]
    assert row.measured
    assert row.seed_sd == SEED_SD


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"seeds": 0}, "--seeds 0: give 1 or more"),
        ({"items": 1}, "--items 1: give 2 or more"),
        ({"assumed": Assumed(changed=0.0)}, "--changed 0: give per cent"),
        ({"assumed": Assumed(seed_sd=float("nan"))}, "--seed-sd nan: give points"),
        ({"assumed": Assumed(seed_sd=0.6)}, "--seed-sd 60: give points"),
    ],
)
def test_a_number_that_cannot_be_is_refused_by_the_name_of_its_option(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        outlook("pocket", results=NOWHERE, **asked)
    assert message in str(caught.value)


def test_the_sizes_of_the_shipped_benchmarks_are_those_of_their_files(shared_data: Path) -> None:
    def lines(path: Path) -> int:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return sum(1 for line in file if line.strip())

    assert lines(shared_data / "mmlu" / "test.jsonl.gz") == SIZES["mmlu"]
    assert lines(shared_data / "drop" / "validation.jsonl.gz") == SIZES["drop"]
    subtasks = [lines(path) for path in (shared_data / "bbh").glob("*.jsonl")]
    assert (sum(subtasks), sum(subtasks) - 3 * len(subtasks)) == (
        SIZES["bbh"],
        SIZES["bbh_instructeval"],
    )


def test_every_task_of_the_shipped_studies_has_a_size() -> None:
    for name in ("pocket", "smollm2", "poison-of-alignment"):
        assert all(row.items for row in outlook(name, results=NOWHERE)[1])
    pocket = load_study("pocket")[0]
    assert set(pocket.tasks) <= SIZES.keys()


# --- the command -----------------------------------------------------------------------------------------


def test_the_command_prints_a_table_that_fits_80_columns_or_one_json_document() -> None:
    usual = CliRunner().invoke(app, ["power", "poison-of-alignment", "--results", str(NOWHERE)])
    assert usual.exit_code == 0
    assert max(map(len, usual.output.splitlines())) <= 80
    assert "14,042" in usual.output
    assert "~9 %" in usual.output
    assert "~ assumed" in usual.output
    document = json.loads(
        CliRunner().invoke(app, ["power", "smollm2", "--seeds", "5", "--format", "json", "--results", "/no"]).output
    )
    assert [row["task"] for row in document["tasks"]] == ["mmlu", "bbh", "humaneval", "drop"]
    assert {row["seeds"] for row in document["tasks"]} == {5}
    assert document["tasks"][0]["smallest"] == planned(replace(Design(items=14_042, seeds=5)))


def test_one_seed_is_said_to_be_about_the_checkpoints() -> None:
    output = CliRunner().invoke(app, ["power", "pocket", "--seeds", "1", "--results", str(NOWHERE)]).output
    assert "about the two checkpoints only" in " ".join(output.split())


def test_the_sizes_of_the_pocket_tasks_are_those_that_it_generates() -> None:
    for name in load_study("pocket")[0].tasks:
        assert len(pocket.items(name, "test")) == SIZES[name]
    single = [row for row in pocket.items("pocket_drop", "test") if len(row["answers"]) == 1]
    assert len(single) == SIZES["pocket_drop"], "instructeval asks those"
