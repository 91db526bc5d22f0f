"""Audits: how an output came about, kept beside it, made again when it is gone, and no part of any key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_runner import GRAPH, append, changed, drop_object, first_letter, ledger, run, runner

from harness.plan import VERSIONS, Kind
from harness.runner import Job, Made
from harness.store import Store, tree_digest


def saying(words: str) -> dict[Kind, Callable[[Job], Made]]:
    """Return executions whose cleaning leaves these words as its audit."""

    def explained(job: Job) -> Made:
        made = append(job)
        audit = job.fresh("audit")
        (audit / "why").write_text(words)
        return Made(folder=made.folder, facts=made.facts, audit=audit)

    return {Kind.CLEAN: explained}


def audit_of(root: Path) -> Path:
    """Return where the ledger says that the audit of the cleaning is."""
    record = runner(root).peek("clean")
    assert record is not None
    return Store(root).objects.path(record.telemetry["audit"])


def test_an_audit_is_an_object_of_its_own_that_its_record_names(tmp_path: Path) -> None:
    run(tmp_path, execute=saying("because"))
    fresh = runner(tmp_path, execute=saying("because"))
    folder = fresh.audit("clean")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"why": "because"}
    record = fresh.ensure("clean")
    assert tree_digest(folder) == record.telemetry["audit"] != record.output
    assert fresh.ran == []


def test_an_audit_that_is_asked_for_first_runs_what_comes_before_it_and_nothing_else(tmp_path: Path) -> None:
    fresh = runner(tmp_path, execute=saying("because"))
    assert (fresh.audit("clean") / "why").read_text() == "because"
    assert fresh.ran == ["chats", "clean"]


def test_other_words_for_the_same_output_change_no_key_and_train_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, execute=saying("too short"))
    before = runner(tmp_path).ensure("clean")
    monkeypatch.setattr("harness.runner.VERSIONS", {**VERSIONS, Kind.CLEAN: VERSIONS[Kind.CLEAN] + 1})
    assert run(tmp_path, execute=saying("short user input")) == ["clean"], "asked again, and nothing after it"
    after = runner(tmp_path).ensure("clean")
    assert after.key != before.key
    assert after.output == before.output
    assert after.telemetry["audit"] != before.telemetry["audit"]


def test_words_of_an_audit_are_no_fact_of_a_record(tmp_path: Path) -> None:
    run(tmp_path / "one", execute=saying("too short"))
    run(tmp_path / "two", execute=saying("short user input"))
    assert ledger(tmp_path / "one") == ledger(tmp_path / "two")


def test_an_audit_that_is_gone_is_made_again_with_what_it_needs(tmp_path: Path) -> None:
    run(tmp_path, execute=saying("because"))
    shutil.rmtree(audit_of(tmp_path))
    drop_object(tmp_path, "chats")
    assert run(tmp_path, execute=saying("because")) == [], "a study needs no audit"
    fresh = runner(tmp_path, execute=saying("because"))
    before = fresh.ensure("clean")
    assert (fresh.audit("clean") / "why").read_text() == "because"
    assert fresh.ran == ["chats", "clean"]
    assert fresh.ensure("clean").output == before.output
    fresh.audit("clean")
    assert fresh.ran == ["chats", "clean"], "it is there now"


def test_an_audit_that_goes_away_after_its_stage_ran_is_made_again_in_the_same_process(tmp_path: Path) -> None:
    """The record that the process has in mind and the one on disk need not be equal: JSON knows no tuples."""

    def explained(job: Job) -> Made:
        made = saying("because")[Kind.CLEAN](job)
        return Made(folder=made.folder, facts={"text": "abcd", "places": (1, 2)}, audit=made.audit)

    fresh = runner(tmp_path, execute={Kind.CLEAN: explained})
    fresh.ensure("clean")
    shutil.rmtree(audit_of(tmp_path))
    assert (fresh.audit("clean") / "why").read_text() == "because"
    assert fresh.ran == ["chats", "clean", "clean"]


def test_a_damaged_audit_is_made_again(tmp_path: Path) -> None:
    run(tmp_path, execute=saying("because"))
    (audit_of(tmp_path) / "why").write_text("becauze")
    fresh = runner(tmp_path, execute=saying("because"))
    assert (fresh.audit("clean") / "why").read_text() == "because"
    assert fresh.ran == ["clean"]


@pytest.mark.parametrize("sealed", [True, False])
def test_an_audit_that_was_swapped_for_another_ones_is_made_again(tmp_path: Path, *, sealed: bool) -> None:
    """Both are whole; the record's own seal says nothing of telemetry, and the audit's may be taken away with it."""
    run(tmp_path, execute=saying("because"))
    other = changed("clean", settings={"text": "e"})
    run(tmp_path, other, execute=saying("no reason"))
    record, taken = runner(tmp_path).peek("clean"), runner(tmp_path, other).peek("clean")
    assert record is not None and taken is not None
    path = Store(tmp_path).ledger.path("clean", record.key)
    raw = json.loads(path.read_text())
    raw["telemetry"]["audit"] = taken.telemetry["audit"]
    if not sealed:
        del raw["telemetry"]["audit_seal"]
    path.write_text(json.dumps(raw))
    fresh = runner(tmp_path, execute=saying("because"))
    assert (fresh.audit("clean") / "why").read_text() == "because"
    assert fresh.ran == ["clean"]


def test_a_record_that_names_no_audit_is_made_again_and_the_store_stays_as_it_is(tmp_path: Path) -> None:
    """As of a run by a version without audits, or of a ledger whose telemetry was cleared."""
    run(tmp_path)
    objects = {path for path in (tmp_path / "objects").rglob("*") if path.is_file()}
    fresh = runner(tmp_path, execute=saying("because"))
    assert (fresh.audit("clean") / "why").read_text() == "because"
    assert fresh.ran == ["clean"]
    assert objects < {path for path in (tmp_path / "objects").rglob("*") if path.is_file()}


def test_after_an_audit_came_out_with_another_output_nothing_old_is_believed(tmp_path: Path) -> None:
    run(tmp_path, execute=saying("because"))
    shutil.rmtree(audit_of(tmp_path))

    def unstable(job: Job) -> Made:
        made = saying("because")[Kind.CLEAN](job)
        (made.folder / "text").write_text("other")
        return made

    execute: dict[str, Any] = {"execute": {Kind.CLEAN: unstable}}
    fresh = runner(tmp_path, **execute)
    fresh.settle()
    fresh.audit("clean")
    records = fresh.settle()
    for stage in GRAPH:
        wanted = {role: records[other].output for role, other in stage.inputs.items()}
        assert records[stage.name].payload["inputs"] == wanted, stage.name
    assert records["train/0"].facts == {"text": "other0"}


def test_an_empty_output_folder_is_there_for_every_attempt(tmp_path: Path) -> None:
    """What a killed attempt left in an output must not end up in the object."""
    seen = []

    def twice(job: Job) -> Made:
        target = job.fresh()
        seen.append(list(target.iterdir()))
        (target / "text").write_text("half")
        (target / "left over").write_text("from the first attempt")
        again = job.fresh()
        assert again == target
        seen.append(list(again.iterdir()))
        (again / "text").write_text("abcd")
        return Made(folder=again)

    run(tmp_path, changed("clean", settings={"text": "e"}), execute={Kind.CLEAN: twice})
    record = runner(tmp_path, changed("clean", settings={"text": "e"})).peek("clean")
    assert record is not None
    assert [path.name for path in Store(tmp_path).objects.path(record.output).iterdir()] == ["text"]
    assert seen == [[], []]


def test_a_stage_without_an_audit_has_none(tmp_path: Path) -> None:
    run(tmp_path, execute={Kind.CLEAN: first_letter})
    record = runner(tmp_path).peek("clean")
    assert record is not None
    assert "audit" not in record.telemetry
