"""The runner on toy stages, with the real store: what runs, what does not, and what a failure leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.plan import VERSIONS, Kind, Stage
from harness.progress import Silent
from harness.runner import Job, Made, Runner, State
from harness.store import Store

GRAPH = [
    Stage(name="chats", kind=Kind.CHATS, settings={"text": "abc"}),
    Stage(name="clean", kind=Kind.CLEAN, settings={"text": "d"}, inputs={"chats": "chats"}),
    Stage(name="train/0", kind=Kind.TRAIN, settings={"text": "0"}, inputs={"data": "clean"}),
    Stage(name="train/1", kind=Kind.TRAIN, settings={"text": "1"}, inputs={"data": "clean"}),
    Stage(name="score", kind=Kind.SCORE, settings={"text": "!"}, inputs={"one": "train/0", "two": "train/1"}),
]
NAMES = [stage.name for stage in GRAPH]


def append(job: Job) -> Made:
    """A stage: the texts of its inputs, then its own."""
    text = "".join((job.inputs[role] / "text").read_text() for role in job.stage.inputs) + job.stage.settings["text"]
    target = job.work / "output"
    target.mkdir(exist_ok=True)
    (target / "text").write_text(text)
    return Made(folder=target, facts={"text": text}, telemetry={"thread": threading.get_ident()})


def first_letter(job: Job) -> Made:
    """A stage that forgets most of its input."""
    target = job.work / "output"
    target.mkdir()
    (target / "text").write_text((job.inputs["chats"] / "text").read_text()[0])
    return Made(folder=target)


def runner(
    root: Path, graph: list[Stage] = GRAPH, *, execute: Mapping[str, Callable[[Job], Made]] | None = None
) -> Runner:
    """Return a fresh runner, as a new process would have, on the store at `root`."""
    return Runner(
        graph, store=Store(root), execute={**dict.fromkeys(Kind, append), **(execute or {})}, progress=Silent()
    )


def changed(name: str, **fields: Any) -> list[Stage]:
    """Return the graph with other fields of one stage."""
    return [replace(stage, **fields) if stage.name == name else stage for stage in GRAPH]


def run(root: Path, graph: list[Stage] = GRAPH, **options: Any) -> list[str]:
    """Ensure every stage; return what ran."""
    fresh = runner(root, graph, **options)
    fresh.ensure_all([stage.name for stage in graph])
    return fresh.ran


def facts(root: Path) -> dict[str, Any]:
    """Return the facts of every stage, without running any."""
    fresh = runner(root)
    found = {name: fresh.peek(name) for name in NAMES}
    return {name: record.facts for name, record in found.items() if record is not None}


def drop_object(root: Path, name: str) -> None:
    """Delete the object of a stage and keep its record."""
    record = runner(root).peek(name)
    assert record is not None
    shutil.rmtree(Store(root).objects.path(record.output))


def ledger(root: Path) -> dict[str, dict[str, Any]]:
    """Return the ledger without its telemetry."""
    raw = {path.name: json.loads(path.read_text()) for path in root.glob("ledger/*/*.json")}
    return {name: {key: value for key, value in one.items() if key != "telemetry"} for name, one in raw.items()}


# --- the cache -------------------------------------------------------------------------------------------


def test_the_first_run_runs_every_stage_once_and_in_order(tmp_path: Path) -> None:
    assert run(tmp_path) == NAMES
    assert facts(tmp_path)["score"] == {"text": "abcd0abcd1!"}


def test_the_second_run_runs_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    before = ledger(tmp_path)
    assert run(tmp_path) == []
    assert ledger(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "reruns"),
    [
        ("chats", NAMES),
        ("clean", ["clean", "train/0", "train/1", "score"]),
        ("train/1", ["train/1", "score"]),
        ("score", ["score"]),
    ],
)
def test_a_changed_setting_reruns_the_stage_and_what_comes_after_it(
    tmp_path: Path, name: str, reruns: list[str]
) -> None:
    run(tmp_path)
    assert run(tmp_path, changed(name, settings={"text": "new"})) == reruns
    assert run(tmp_path) == [], "the old answers are still there"


def test_an_argument_is_no_setting(tmp_path: Path) -> None:
    run(tmp_path)
    assert run(tmp_path, changed("train/0", arguments={"machine": "wider", "where": Path("/elsewhere")})) == []


def test_a_stage_under_another_name_is_found_again(tmp_path: Path) -> None:
    run(tmp_path)
    renamed = [
        replace(
            stage,
            name=stage.name.replace("train/0", "train/zero"),
            inputs={role: other.replace("train/0", "train/zero") for role, other in stage.inputs.items()},
        )
        for stage in GRAPH
    ]
    assert run(tmp_path, renamed) == []


def test_a_changed_input_with_an_unchanged_answer_stops_there(tmp_path: Path) -> None:
    forgetful: dict[str, Any] = {"execute": {Kind.CLEAN: first_letter}}
    run(tmp_path, **forgetful)
    assert run(tmp_path, changed("chats", settings={"text": "axy"}), **forgetful) == ["chats", "clean"]


def test_another_version_of_a_stage_asks_another_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path)
    monkeypatch.setattr("harness.runner.VERSIONS", {**VERSIONS, Kind.TRAIN: VERSIONS[Kind.TRAIN] + 1})
    # The answers came out alike, so what follows the trainings is still known.
    assert run(tmp_path) == ["train/0", "train/1"]


def test_the_payload_of_a_record_explains_its_key(tmp_path: Path) -> None:
    run(tmp_path)
    fresh = runner(tmp_path)
    clean, train = fresh.peek("clean"), fresh.peek("train/0")
    assert clean is not None
    assert train is not None
    assert train.payload == {
        "schema": 1,
        "kind": "train",
        "version": VERSIONS[Kind.TRAIN],
        "settings": {"text": "0"},
        "inputs": {"data": clean.output},
    }


# --- objects that are gone -------------------------------------------------------------------------------


def test_a_finished_study_needs_its_ledger_alone(tmp_path: Path) -> None:
    run(tmp_path)
    answers = facts(tmp_path)
    shutil.rmtree(tmp_path / "objects")
    shutil.rmtree(tmp_path / "work")
    assert run(tmp_path) == []
    assert facts(tmp_path) == answers
    assert not (tmp_path / "objects").exists()


def test_a_deleted_object_is_made_again_only_when_a_stage_needs_it(tmp_path: Path) -> None:
    run(tmp_path)
    drop_object(tmp_path, "clean")
    drop_object(tmp_path, "chats")
    assert run(tmp_path) == [], "everything is answered"
    assert run(tmp_path, changed("score", settings={"text": "?"})) == ["score"], "the trainings' objects are there"
    assert run(tmp_path, changed("train/1", settings={"text": "2"})) == ["chats", "clean", "train/1", "score"]


def test_a_damaged_object_is_made_again_when_a_stage_needs_it(tmp_path: Path) -> None:
    run(tmp_path)
    record = runner(tmp_path).peek("clean")
    assert record is not None
    (Store(tmp_path).objects.path(record.output) / "text").write_text("abcD")
    assert run(tmp_path) == []
    assert run(tmp_path, changed("train/1", settings={"text": "2"})) == ["clean", "train/1", "score"]
    assert facts(tmp_path)["clean"] == {"text": "abcd"}


def test_an_input_that_comes_out_differently_when_made_again_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    """The key of what follows holds the digest of the new bytes, so no record mixes two inputs."""

    def unstable(job: Job) -> Made:
        made = append(job)
        (made.folder / "text").write_text("other")
        return made

    run(tmp_path)
    drop_object(tmp_path, "clean")
    fresh = runner(tmp_path, changed("train/1", settings={"text": "2"}), execute={Kind.CLEAN: unstable})
    trained = fresh.ensure("train/1")
    clean = fresh.ensure("clean")
    assert fresh.ran == ["clean", "train/1"]
    assert trained.payload["inputs"] == {"data": clean.output}
    assert trained.facts == {"text": "other2"}


def test_one_settled_state_never_mixes_what_came_before_and_after_a_stage_came_out_differently(tmp_path: Path) -> None:
    """The ledger knows a finished study; an object is gone, and making it again gives other bytes."""

    def unstable(job: Job) -> Made:
        made = append(job)
        (made.folder / "text").write_text("other")
        return made

    run(tmp_path)
    drop_object(tmp_path, "clean")
    drop_object(tmp_path, "train/1")
    more = [*GRAPH, Stage(name="extra", kind=Kind.SCORE, settings={"text": "?"}, inputs={"one": "train/1"})]
    fresh = runner(tmp_path, more, execute={Kind.CLEAN: unstable})
    records = fresh.settle()
    for stage in more:
        wanted = {role: records[other].output for role, other in stage.inputs.items()}
        assert records[stage.name].payload["inputs"] == wanted, stage.name
    again = runner(tmp_path, more, execute={Kind.CLEAN: unstable})
    assert again.settle() == records
    assert again.ran == []


def test_a_dry_look_says_what_would_run_and_creates_nothing(tmp_path: Path) -> None:
    root = tmp_path / "results"
    fresh = runner(root)
    assert [fresh.state(name) for name in NAMES] == [State.RUN, *[State.AFTER] * 4]
    assert not root.exists()
    run(root)
    other = runner(root, changed("train/1", settings={"text": "2"}))
    states = [State.CACHED, State.CACHED, State.CACHED, State.RUN, State.AFTER]
    assert [other.state(name) for name in NAMES] == states


# --- failures --------------------------------------------------------------------------------------------


def test_a_stage_that_raises_leaves_no_record_and_its_work_to_resume(tmp_path: Path) -> None:
    attempts = []

    def stumbling(job: Job) -> Made:
        attempts.append((job.work / "checkpoint").exists())
        (job.work / "checkpoint").write_text("half")
        if len(attempts) == 1:
            raise InputError("stumbled")
        return append(job)

    with pytest.raises(InputError, match="stumbled"):
        run(tmp_path, execute={Kind.CLEAN: stumbling})
    assert sorted(facts(tmp_path)) == ["chats"]
    assert len(list((tmp_path / "ledger").rglob("*.json"))) == 1
    assert run(tmp_path, execute={Kind.CLEAN: stumbling}) == NAMES[1:]
    assert attempts == [False, True]
    assert list((tmp_path / "work").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
import test_runner
from harness.plan import Kind
from harness.store import Ledger
from harness.store.objects import Objects

def dies(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half_a_stage(job):
    (job.work / "output").mkdir()
    (job.work / "output" / "text").write_text("half")
    dies()

execute = {}
if sys.argv[2] == "while a stage works":
    execute = {Kind.TRAIN: half_a_stage}
if sys.argv[2] == "before the last record":
    put = Ledger.put
    Ledger.put = lambda self, record: dies() if record.payload["kind"] == "score" else put(self, record)
if sys.argv[2] == "before an object":
    Objects.put = dies
test_runner.run(Path(sys.argv[1]), execute=execute)
"""


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("while a stage works", ["train/0", "train/1", "score"]),
        ("before the last record", ["score"]),
        ("before an object", NAMES),
    ],
)
def test_after_a_kill_the_ledger_ends_as_that_of_an_undisturbed_run(
    tmp_path: Path, moment: str, left: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed"), moment],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert run(tmp_path / "killed") == left
    run(tmp_path / "undisturbed")
    assert ledger(tmp_path / "killed") == ledger(tmp_path / "undisturbed")


# --- several at once -------------------------------------------------------------------------------------


def test_stages_run_side_by_side_when_asked_and_share_what_they_wait_for(tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=20)

    def meets(job: Job) -> Made:
        together.wait()  # broken unless both trainings are inside at once
        return append(job)

    fresh = runner(tmp_path, execute={Kind.TRAIN: meets})
    fresh.ensure_all(["train/0", "train/1"], parallel=2)
    assert fresh.ran[:2] == ["chats", "clean"]
    assert sorted(fresh.ran[2:]) == ["train/0", "train/1"]
    run(tmp_path)
    run(tmp_path / "one by one")
    assert ledger(tmp_path) == ledger(tmp_path / "one by one")


def test_the_error_of_one_of_several_stages_is_raised_and_the_others_keep_their_records(tmp_path: Path) -> None:
    def second_fails(job: Job) -> Made:
        if job.stage.name == "train/1":
            raise InputError("no memory")
        return append(job)

    fresh = runner(tmp_path, execute={Kind.TRAIN: second_fails})
    with pytest.raises(InputError, match="no memory"):
        fresh.ensure_all(["train/0", "train/1"], parallel=2)
    assert runner(tmp_path).peek("train/0") is not None
    assert runner(tmp_path).peek("train/1") is None


def test_two_names_for_one_question_are_answered_once_even_side_by_side(tmp_path: Path) -> None:
    """A variant that drops nothing is the same data under two names; both trainings are one."""
    twin = Stage(name="train/twin", kind=Kind.TRAIN, settings={"text": "0"}, inputs={"data": "clean"})
    started = threading.Event()

    def slow(job: Job) -> Made:
        assert not started.is_set(), "asked twice"
        started.set()
        threading.Event().wait(0.2)  # long enough for the other thread to arrive
        return append(job)

    fresh = runner(tmp_path, [*GRAPH, twin], execute={Kind.TRAIN: slow})
    fresh.ensure_all(["train/0", "train/twin"], parallel=2)
    assert len([name for name in fresh.ran if name.startswith("train")]) == 1
    assert fresh.peek("train/0") == fresh.peek("train/twin")


def test_a_stage_that_another_process_finished_a_moment_ago_is_not_made_a_second_time(tmp_path: Path) -> None:
    """A second answer that differs in a digit would stand beside what the other process made from the first."""

    class Late(Store):
        def workspace(self, key: str) -> AbstractContextManager[Path]:
            run(tmp_path)
            return super().workspace(key)

    def unstable(job: Job) -> Made:
        made = append(job)
        (made.folder / "text").write_text("other")
        return made

    late = Runner(GRAPH, store=Late(tmp_path), execute=dict.fromkeys(Kind, unstable), progress=Silent())
    assert late.ensure("chats").facts == {"text": "abc"}
    assert late.ran == []
    assert run(tmp_path) == []
