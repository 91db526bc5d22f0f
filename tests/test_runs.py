"""Runs in the store: what was written is read again, and what was changed, moved or lost is named."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import leaderboard_world as world
import pytest

from harness.canonical import digest
from harness.commands.leaderboard import Request, standing
from harness.errors import InputError
from harness.store import Run, Runs, Store


def edited(path: Path, **changes: Any) -> None:
    """Change keys of a run's file, as somebody with an editor would."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")


def small(name: str = "pocket", **changes: Any) -> Run:
    """Return a run that names one record."""
    given: dict[str, Any] = {
        "study": {"name": name},
        "choice": {"seeds": (0, 1)},
        "selection": "",
        "tasks": {},
        "records": {"base": ("base", "0" * 64)},
    }
    return Run(**{**given, **changes})


def test_a_run_is_read_as_it_was_written_and_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    run = world.run(tmp_path)
    path = Runs(tmp_path).named(run.name)
    before = path.read_bytes()
    again = Runs(tmp_path).read(path)
    assert again.records == run.records
    assert again.content() == json.loads(json.dumps(run.content()))
    assert Runs(tmp_path).put(again) == path
    assert path.read_bytes() == before


def test_runs_come_in_order_of_their_names_and_no_run_is_no_error(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    assert list(runs.all()) == []
    for name, selection in (("b", ""), ("a", "limit-5"), ("a", "")):
        runs.put(small(name, selection=selection))
    assert runs.names() == ["a/limit-5", "a/whole", "b/whole"]
    assert [run.name for run in runs.all()] == runs.names()


def test_a_study_with_dots_in_its_name_keeps_them(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.put(small("a.v1.json", selection="seeds-1_x.y"))
    assert runs.names() == ["a.v1.json/seeds-1_x.y"]
    assert [run.name for run in runs.all()] == runs.names()


@pytest.mark.parametrize(
    "changes",
    [
        {"choice": {"seeds": [0, 1, 2]}},
        {"selection": "limit-57"},
        {"records": {}},
        {"seal": "0" * 64},
        {"seal": None},
        {"more": 1},
        {"seal": None, "choice": {"seeds": [float("nan")]}},
        {"choice": {"seeds": [float("inf")]}},
    ],
)
def test_a_run_that_was_edited_is_named_with_what_to_do(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = Runs(tmp_path).put(small())
    edited(path, **changes)
    with pytest.raises(InputError, match=r"whole\.json was changed after it was written.*[Rr]estore.*harness ablate"):
        Runs(tmp_path).read(path)


def test_a_run_of_another_schema_says_which(tmp_path: Path) -> None:
    path = Runs(tmp_path).put(small())
    edited(path, schema=2)
    with pytest.raises(InputError, match=r"whole\.json has schema 2, and this version reads 1"):
        list(Runs(tmp_path).all())


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"text"', "{}", '{"seal": "x"}', "[" * 100_000, "\udcff"])
def test_a_file_that_is_no_run_is_named(tmp_path: Path, text: str) -> None:
    path = Runs(tmp_path).put(small())
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"whole\.json is no run"):
        Runs(tmp_path).read(path)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "pocket" / "whole.json"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match=r"whole\.json cannot be read: Is a directory"):
        list(Runs(tmp_path).all())
    folder.rmdir()
    Runs(tmp_path).put(small())
    if os.getuid():
        folder.chmod(0)
        with pytest.raises(InputError, match=r"whole\.json cannot be read: Permission denied"):
            list(Runs(tmp_path).all())


def test_a_copy_of_a_run_under_another_name_does_not_stand_for_that_run(tmp_path: Path) -> None:
    path = Runs(tmp_path).put(small())
    path.rename(path.with_name("limit-5.json"))
    with pytest.raises(InputError, match=r"limit-5\.json holds the run 'pocket/whole', which belongs in .*whole\.json"):
        list(Runs(tmp_path).all())


def test_a_run_cannot_name_a_place_outside_of_the_folder_of_runs(tmp_path: Path) -> None:
    """With a seal of its own, as whoever forges it can make one."""
    path = Runs(tmp_path).put(small())
    content = json.loads(path.read_text())
    del content["seal"]
    content["study"] = {"name": "../../elsewhere"}
    path.write_text(json.dumps(content | {"seal": digest("harness.run", content)}))
    with pytest.raises(InputError, match=re.escape("../../elsewhere/whole")):
        list(Runs(tmp_path).all())


def test_a_record_that_is_gone_or_was_changed_is_named_with_its_stage(tmp_path: Path) -> None:
    run = world.run(tmp_path)
    store = Store(tmp_path)
    path = store.ledger.path(*run.records["train/clean/1"])
    text = path.read_text()
    path.write_text(text.replace('"losses"', '"lost"'))
    with pytest.raises(InputError, match=r"stage 'train/clean/1' of run 'pocket/.*was changed.*digest does not match"):
        Runs(tmp_path).records(run, store.ledger)
    path.unlink()
    with pytest.raises(InputError, match=rf"{path.name} \(stage 'train/clean/1' of run .*\) is missing"):
        Runs(tmp_path).records(run, store.ledger)
    wanted = Runs(tmp_path).records(run, store.ledger, only=("base",))
    assert list(wanted) == ["base"], "other stages are not read"


def test_a_record_under_the_key_of_another_is_not_taken_for_it(tmp_path: Path) -> None:
    run = world.run(tmp_path)
    store = Store(tmp_path)
    one, other = (store.ledger.path(*run.records[f"train/clean/{seed}"]) for seed in (0, 1))
    one.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match=r"'train/clean/0'.*was changed"):
        Runs(tmp_path).records(run, store.ledger)


def test_ten_thousand_runs_are_listed_and_read_in_seconds(tmp_path: Path) -> None:
    """The runs of a year; 0.4 ms each on a quiet core, of which checking the seal is most.

    Seconds of this process: other work on the machine does not count.
    """
    runs = Runs(tmp_path)
    first = runs.put(small("s0"))
    text = first.read_text()
    content = {name: value for name, value in json.loads(text).items() if name != "seal"}
    for number in range(1, 10_000):
        one = content | {"study": {"name": f"s{number}"}}
        path = runs.named(f"s{number}/whole")
        path.parent.mkdir()
        path.write_text(json.dumps(one | {"seal": digest("harness.run", one)}))
    began = time.process_time()
    assert len(runs.names()) == 10_000
    listed = time.process_time() - began
    assert sum(1 for _ in runs.all()) == 10_000
    assert listed < 5
    assert time.process_time() - began < 30


def test_a_run_that_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    """So a study whose stages are all recorded can be shown from results that may only be read."""
    path = Runs(tmp_path).put(small())
    before = path.stat()
    Runs(tmp_path).put(small())
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_newer_run_takes_the_place_of_the_older_one(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.put(small())
    runs.put(replace(small(), tasks={"mmlu": {"title": "MMLU"}}))
    assert [dict(run.tasks) for run in runs.all()] == [{"mmlu": {"title": "MMLU"}}]


def test_a_run_whose_training_was_made_again_and_came_out_differently_is_not_shown_with_its_old_scores(
    tmp_path: Path,
) -> None:
    """As after objects were removed, or after the results of another machine were copied over: every seal fits."""
    run = world.run(tmp_path)
    store = Store(tmp_path)
    kind, key = run.records["train/clean/1"]
    known = store.ledger.get(kind, key)
    assert known is not None
    store.ledger.put(replace(known, output="f" * 64, facts={**known.facts, "weights": "f" * 64}))
    with pytest.raises(InputError, match=r"\(stage 'predict.*of run 'pocket/.*another 'model'"):
        Runs(tmp_path).records(run, store.ledger)
    with pytest.raises(InputError, match=r"stage 'predict/clean/1/.*another 'model'.*two results folders were mixed"):
        standing(Request(results=(tmp_path,)))
    store.ledger.put(known)
    assert Runs(tmp_path).records(run, store.ledger)["train/clean/1"] == known
