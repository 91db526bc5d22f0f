"""Trackers: what they are given, and that they can take nothing away."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recorded_studies import planned, record_all, study_of

from harness import trackers
from harness.cli import ablate_output
from harness.cli.options import TrackerOption
from harness.commands.ablate import Request
from harness.errors import InputError
from harness.plan import Kind
from harness.trackers import Tracked, TrackerName, log, require
from harness.trackers.to_mlflow import MlflowTracker


class Recording:
    """A tracker that keeps what it is given, and fails from a run on if it is told to."""

    def __init__(self, failing_at: int = 99, error: BaseException | None = None) -> None:
        self.runs: list[Tracked] = []
        self._failing_at, self._error = failing_at, error or RuntimeError("no\nanswer")

    def log(self, run: Tracked) -> None:
        if len(self.runs) == self._failing_at:
            raise self._error
        self.runs.append(run)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a study of which everything is recorded in `results` beside it."""
    path = study_of(tmp_path / "study")
    record_all(planned(path, tmp_path / "results"))
    return path


def trained(study: Path) -> list[str]:
    """Return "<arm>/<seed>" of every training of the study."""
    stages = planned(study, study.parent.parent / "results").stages
    return [stage.name.removeprefix("train/") for stage in stages if stage.kind is Kind.TRAIN]


def ablate(study: Path, *names: str) -> None:
    """Run the command on the recorded study, in this process."""
    root = study.parent.parent
    ablate_output.ablate(
        Request(study=str(study), results=root / "results"),
        reports=root / "reports",
        format="json",
        dry_run=False,
        trackers=names,
    )


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[TrackerName, Recording]:
    """Put recording trackers in the place of all others."""
    kept = {name: Recording() for name in TrackerName}
    monkeypatch.setattr(trackers, "opened", lambda name: kept[name])
    monkeypatch.setattr(trackers, "require", lambda names: None)
    return kept


def test_a_tracker_is_given_losses_scores_gaps_verdicts_budgets_and_the_report(
    study: Path, recorded: dict[TrackerName, Recording], capsys: pytest.CaptureFixture[str]
) -> None:
    ablate(study, "trackio")
    report, *trainings = recorded[TrackerName.TRACKIO].runs
    document = json.loads(capsys.readouterr().out)
    assert [run.name for run in trainings] == [f"own/whole/{name}" for name in trained(study)]
    assert all(run.series == {"loss": (2.5, None, 1.5)} for run in trainings)
    assert trainings[0].numbers == {"chats": 6.0, "supervised_tokens": 70.0, "steps": 3.0}
    assert trainings[0].settings["weights"] == document["arms"][1]["weights"]["0"]
    [task, _] = document["tasks"]
    assert report.numbers["gap/pocket_mmlu"] == task["gap"]["absolute"]
    assert report.numbers["score/pocket_mmlu/base"] == task["scores"]["base"]["mean"]
    assert report.numbers["budget/clean/chats"] == 6
    assert report.texts["verdict/pocket_mmlu"] and report.texts["study_verdict"]
    assert {"report.md", "report.json", "items.parquet"} <= {path.name for path in report.files}


def test_no_name_of_a_number_is_the_folder_of_another(study: Path, recorded: dict[TrackerName, Recording]) -> None:
    """MLflow keeps a metric in a file of its name."""
    ablate(study, "mlflow")
    for run in recorded[TrackerName.MLFLOW].runs:
        names = [*run.numbers, *run.series, *run.texts]
        assert len(set(names)) == len(names)
        assert not [(one, two) for one in names for two in names if two.startswith(f"{one}/")]


def test_what_is_recorded_and_printed_is_the_same_with_and_without_a_tracker(
    study: Path, recorded: dict[TrackerName, Recording], capsys: pytest.CaptureFixture[str]
) -> None:
    def everything() -> dict[str, bytes]:
        files = [path for name in ("results", "reports") for path in (study.parent.parent / name).rglob("*")]
        return {str(path): path.read_bytes() for path in files if path.is_file()}

    ablate(study)
    without = capsys.readouterr().out, everything()
    ablate(study, "mlflow", "wandb", "mlflow")
    assert (capsys.readouterr().out, everything()) == without
    assert len(recorded[TrackerName.MLFLOW].runs) == 1 + len(trained(study)), "named twice, logged once"


def test_a_tracker_that_fails_is_said_and_takes_neither_the_result_nor_the_others(
    study: Path, recorded: dict[TrackerName, Recording], capsys: pytest.CaptureFixture[str]
) -> None:
    recorded[TrackerName.WANDB] = Recording(failing_at=2)
    count = 1 + len(trained(study))
    ablate(study, "wandb", "trackio")
    told = capsys.readouterr()
    assert json.loads(told.out)["study"] == "own"
    said = " ".join(told.err.split())
    assert f"Warning: wandb failed after 2 of {count} runs were logged (RuntimeError: no answer)" in said
    assert len(recorded[TrackerName.TRACKIO].runs) == count


def test_an_interruption_is_no_failure_of_a_tracker(recorded: dict[TrackerName, Recording]) -> None:
    recorded[TrackerName.WANDB] = Recording(failing_at=0, error=KeyboardInterrupt())
    run = Tracked(project="p", group="g", name="n", kind="report", settings={})
    with pytest.raises(KeyboardInterrupt):
        log([TrackerName.WANDB], [run])


def test_a_package_that_is_not_installed_is_said_before_any_work(tmp_path: Path) -> None:
    missing = [name.value for name in TrackerName if importlib.util.find_spec(name.value) is None]
    if not missing:
        pytest.skip("all trackers are installed")
    command = [sys.executable, "-m", "harness", "ablate", "--tracker", missing[0], "--results", str(tmp_path / "r")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert f"--tracker {missing[0]} needs a package" in done.stderr and "pip install" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_of_a_dry_run_is_refused() -> None:
    with pytest.raises(InputError, match="no effect with --dry-run"):
        ablate_output.ablate(
            Request(study="pocket"), reports=Path("r"), format="json", dry_run=True, trackers=["wandb"]
        )


def test_the_option_offers_exactly_the_trackers_there_are() -> None:
    assert [one.value for one in TrackerOption] == [one.value for one in TrackerName]
    require([])


# --- the real packages -----------------------------------------------------------------------------------


def tracked(folder: Path) -> list[Tracked]:
    file = folder / "report.md"
    file.write_text("# a report\n", encoding="utf-8")
    common: dict[str, Any] = {"project": "harness-own", "group": "own/whole", "settings": {"seed": 1, "arm": "clean"}}
    return [
        Tracked(name="own/whole", kind="report", numbers={"gap/a": -0.5}, texts={"v/a": "x"}, files=(file,), **common),
        Tracked(name="own/whole/clean/1", kind="training", series={"loss": [2.5, None, 1.5]}, **common),
    ]


def test_mlflow_keeps_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is no dependency of harness")
    pytest.importorskip("sqlalchemy", reason="mlflow-skinny alone keeps nothing on a disk")
    monkeypatch.chdir(tmp_path)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    tracker = MlflowTracker(client)
    for run in tracked(tmp_path):
        tracker.log(run)
    [experiment] = [one for one in client.search_experiments() if one.name == "harness-own"]
    child, parent = client.search_runs([experiment.experiment_id])
    assert parent.data.metrics == {"gap/a": -0.5} and parent.data.tags["v/a"] == "x"
    assert [one.path for one in client.list_artifacts(parent.info.run_id)] == ["report.md"]
    losses = client.get_metric_history(child.info.run_id, "loss")
    assert [(one.step, one.value) for one in losses] == [(1, 2.5), (3, 1.5)]
    assert child.data.params["seed"] == "1" and child.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_trackio_keeps_the_runs(tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio is no dependency of harness")
    code = (
        "import sys; sys.path[:] = json.loads(sys.argv[1]);"
        "from pathlib import Path; import test_trackers; from harness import trackers;"
        "print(trackers.log([trackers.TrackerName.TRACKIO], test_trackers.tracked(Path(sys.argv[2]))))"
    )
    # Its folder is read from the environment when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", f"import json; {code}", json.dumps([str(Path(__file__).parent), *sys.path]), tmp_path],
        capture_output=True,
        text=True,
        check=True,
        env={"TRACKIO_DIR": str(tmp_path / "kept"), "PATH": "", "HOME": str(tmp_path)},
    )
    assert done.stdout.splitlines()[-1] == "[]"
    with sqlite3.connect(tmp_path / "kept" / "harness-own.db") as kept:
        rows = kept.execute("select run_name, step, metrics from metrics order by run_name, step").fetchall()
    assert [(name, step) for name, step, _ in rows] == [
        ("own/whole", 1),
        *(("own/whole/clean/1", step) for step in (1, 2, 3, 4)),
    ]
    assert json.loads(rows[0][2]) == {"gap/a": -0.5, "v/a": "x"}


def test_wandb_keeps_the_runs_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is no dependency of harness")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert log([TrackerName.WANDB], tracked(tmp_path)) == []
    kept = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(kept) == 2
    assert b"own/whole/clean/1" in b"".join(path.read_bytes() for path in kept)


def test_a_report_without_pairing_has_no_gap_and_still_its_verdict(
    study: Path, recorded: dict[TrackerName, Recording]
) -> None:
    root = study.parent.parent
    score = planned(study, root / "results").runner.peek("score/clean/0/pocket_mmlu")
    assert score is not None
    scores = dict(score.facts) | {"prompt": ["other", *score.facts["prompt"][1:]]}
    store = planned(study, root / "results").store
    store.ledger.put(type(score)(key=score.key, payload=score.payload, output=score.output, facts=scores))
    ablate(study, "trackio")
    report = recorded[TrackerName.TRACKIO].runs[0]
    assert report.texts["verdict/pocket_mmlu"] == "incomparable"
    assert "gap/pocket_mmlu" not in report.numbers and "gap/pocket_drop" in report.numbers
