"""Reports written again from the store alone: the same result, the same bytes, and what is wrong is named."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import leaderboard_world as world
import pandas as pd
import pytest
from test_cli import files, harness, refused

from harness.canonical import digest
from harness.cli import ablate_output
from harness.commands import report
from harness.errors import InputError
from harness.report import documents, join, markdown
from harness.store import Record, Run, Runs, Store
from harness.study import load_study
from harness.study.choice import choose


def resealed(root: Path, run: Run, change: dict[str, Any]) -> None:
    """Write a run with other contents and a seal that fits, as another version of harness would have."""
    content = json.loads(json.dumps(run.content())) | change
    path = Runs(root).named(run.name)
    path.write_text(json.dumps(content | {"seal": digest("harness.run", content)}), encoding="utf-8")


def test_a_result_from_the_store_is_the_one_that_ablate_joined(tmp_path: Path) -> None:
    run = world.run(tmp_path)
    study = load_study("pocket")[0]
    choice = choose(study, pair=(), seeds=None, tasks=world.TASKS, limit=None)
    heads = {name: world.head(world.INFOS[name]) for name in world.TASKS}
    records = Runs(tmp_path).records(run, Store(tmp_path).ledger)
    joined = join.assemble(study=study, choice=choice, infos=heads, records=records)
    [again] = report.stored(tmp_path)
    assert again == joined
    assert again.tasks[0].gap == joined.tasks[0].gap
    assert documents.as_json(again) == documents.as_json(joined)
    assert markdown.as_markdown(again) == markdown.as_markdown(joined)


def test_reports_of_equal_stores_are_equal_byte_for_byte_wherever_they_lie(tmp_path: Path) -> None:
    written = []
    for name in ("one", "another"):
        root, reports = tmp_path / name / "results", tmp_path / name / "reports"
        world.run(root)
        for result in report.stored(root):
            report.write(result, reports, root)
        written.append({path.relative_to(reports): path.read_bytes() for path in reports.rglob("*") if path.is_file()})
    assert {"report.md", "report.csv", "report.json", "items.parquet"} <= {path.name for path in written[0]}
    assert written[0] == written[1]


def test_a_run_keeps_what_it_was_when_a_default_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version of the filter becomes the default; what was run with the old one says so."""
    from harness.study import Study

    run = world.run(tmp_path)
    [before] = report.stored(tmp_path)
    own = load_study("pocket")[0].filter
    silent = {name: value for name, value in run.study.items() if name != "filter"}
    monkeypatch.setattr(Study.model_fields["filter"], "default", "alignment@9.0.0")
    Study.model_rebuild(force=True)
    try:
        assert Study.model_validate(silent).filter == "alignment@9.0.0", "a run that left it out would say another"
        [after] = report.stored(tmp_path)
    finally:
        monkeypatch.undo()
        Study.model_rebuild(force=True)
    assert after.filter == before.filter == own


def test_a_selection_keeps_its_name_when_the_usual_choice_changes(tmp_path: Path) -> None:
    run = world.run(tmp_path, limit=20, items=20)
    [result] = report.stored(tmp_path)
    assert result.selection == run.selection == "limit-20_pocket_mmlu-pocket_drop"


def test_one_study_or_one_run_is_chosen_and_others_are_not_read(tmp_path: Path) -> None:
    world.run(tmp_path)
    world.run(tmp_path, limit=20, items=20)
    broken = Runs(tmp_path).put(replace(world.run(tmp_path / "else", name="other"), records={}))
    broken.write_text("{}")
    names = [f"{one.study}/{one.selection}" for one in report.stored(tmp_path, study="pocket")]
    assert names == ["pocket/limit-20_pocket_mmlu-pocket_drop", "pocket/pocket_mmlu-pocket_drop"]
    assert len(list(report.stored(tmp_path, study=names[0]))) == 1
    with pytest.raises(InputError, match="is no run"):
        list(report.stored(tmp_path))


@pytest.mark.parametrize("study", ["../pocket", "/", "pocket/", "pocket/../pocket", "runs/pocket", "*"])
def test_a_study_named_like_a_path_is_no_study(tmp_path: Path, study: str) -> None:
    world.run(tmp_path)
    with pytest.raises(InputError, match="No run of study"):
        list(report.stored(tmp_path, study=study))


def test_an_unknown_study_names_the_nearest_and_an_empty_folder_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There are no runs in .*runs\. `harness ablate` makes one"):
        list(report.stored(tmp_path))
    world.run(tmp_path)
    with pytest.raises(InputError, match=r"No run of study 'poket'.* Did you mean 'pocket'\?"):
        list(report.stored(tmp_path, study="poket"))
    with pytest.raises(InputError, match=r"Did you mean 'pocket/pocket_mmlu-pocket_drop'\?"):
        list(report.stored(tmp_path, study="pocket/pocket_mmlu-pocket_dorp"))


@pytest.mark.parametrize(
    "change",
    [
        {"study": {"name": "pocket", "colour": "blue"}},
        {"choice": {"reference": "aligned"}},
        {"choice": {"reference": "aligned", "novelty": 1}},
        {"tasks": {"pocket_mmlu": {"title": "MMLU", "novelty": 1}}},
        {"records": {}},
    ],
)
def test_a_run_of_another_version_is_said_to_be_one(tmp_path: Path, change: dict[str, Any]) -> None:
    run = world.run(tmp_path)
    resealed(tmp_path, run, change)
    with pytest.raises(InputError, match=r"run 'pocket/.* was written by another version of harness.*harness ablate"):
        list(report.stored(tmp_path))


def test_a_fact_that_this_version_needs_and_a_record_lacks_is_named(tmp_path: Path) -> None:
    def older(stage: str, record: Record) -> Record:
        if stage != "train/clean/0":
            return record
        return replace(record, facts={name: value for name, value in record.facts.items() if name != "losses"})

    world.run(tmp_path, change=older)
    with pytest.raises(InputError, match=r"another version of harness: 'losses' is not in its records"):
        list(report.stored(tmp_path))


# --- the command -------------------------------------------------------------------------------------------


def test_the_command_writes_and_prints_and_refuses_a_damaged_record_before_it_writes(tmp_path: Path) -> None:
    run = world.run(tmp_path / "results")
    done = harness(tmp_path, "report", "--format", "json")
    assert done.code == 0, done
    folder = tmp_path / "reports" / "pocket" / run.selection
    assert done.out == (folder / "report.json").read_text(encoding="utf-8")
    path = Store(tmp_path / "results").ledger.path(*run.records["score/clean/0/pocket_mmlu"])
    path.write_text(path.read_text().replace("0.0", "1.0", 1))
    again = harness(tmp_path, "report", "--reports", "new")
    refused(again)
    assert path.name in again.words
    assert "digest does not match" in again.words
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("format", ["table", "markdown", "csv", "json"])
def test_every_format_prints_one_run_and_programs_get_no_two_at_once(
    tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.run(tmp_path / "results")
    given: dict[str, Any] = {"results": tmp_path / "results", "reports": tmp_path / "reports", "format": format}
    ablate_output.report("", **given)
    one = capsys.readouterr().out
    assert "pocket MMLU" in one or "pocket_mmlu" in one
    if format == "csv":
        assert set(pd.read_csv(io.StringIO(one)).arm) >= {"base", "aligned", "clean", "random"}
    world.run(tmp_path / "results", limit=20, items=20)
    written = files(tmp_path)
    if format in ("csv", "json"):
        with pytest.raises(InputError, match=f"--format {format} prints one report, and there are 2: pocket/limit-20"):
            ablate_output.report("", **given)
        assert files(tmp_path) == written
    else:
        ablate_output.report("", **given)
        assert capsys.readouterr().out.count("pocket MMLU") >= 2
