"""Whole studies through the command line: from generated chats to a report, disturbed and undisturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

SMALL = """
name = "small"
title = "pocket with a base that has hardly been trained; for tests of the machinery, not of scores"
seeds = [0, 1]
recipe = "small-recipe.toml"
tasks = ["pocket_mmlu", "pocket_bbh", "pocket_humaneval", "pocket_drop"]

[base]
kind = "pocket"
recipe = "pocket-base"
rows = 80

[[sources]]
name = "pocket"
kind = "pocket"
chats = 90

[variants.aligned]
treatment = "keep"

[variants.clean]
treatment = "drop_chat"
labels = ["full_refusal"]

[variants.random]
treatment = "random"
size_of = "clean"

[controls]
shuffled = 0.5

[evaluation]
max_length = 1024
limit = 6
max_new_tokens = 16
"""
RECIPE = """
name = "small"
learning_rate = 1e-3
global_batch = 8
max_length = 128
[machine]
micro_batch = 8
parallel = 2
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "small-recipe.toml").write_text(RECIPE)
    (folder / "small.toml").write_text(SMALL)
    return folder / "small.toml"


def harness(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False
    )


def run(study: str | Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return harness("ablate", study, "--results", folder / "results", "--reports", folder / "reports", *more)


@pytest.fixture(scope="module")
def undisturbed(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run(study, folder, "--format", "json")
    assert done.returncode == 0, done.stderr
    return folder


def records(folder: Path) -> dict[str, dict[str, Any]]:
    root = folder / "results" / "ledger"
    return {str(path.relative_to(root)): json.loads(path.read_text()) for path in sorted(root.glob("*/*.json"))}


def report(folder: Path) -> dict[str, bytes]:
    root = folder / "reports"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_sigkill_at_every_stage_leaves_a_report_that_is_byte_identical_to_an_undisturbed_one(
    study: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Four kills (pretraining, fine-tuning, asking twice), then one run to the end.

    The two result folders are fresh and independent, so equal keys and weights also show that the same study run
    twice is the same study.
    """
    ledger = tmp_path / "results" / "ledger"
    moments: list[Callable[[], bool]] = [
        lambda: any((tmp_path / "results" / "work").glob("*/training/checkpoint-*/COMPLETE")),
        lambda: any(ledger.glob("train/*.json")),
        lambda: any((tmp_path / "results" / "predictions").rglob("*.parquet")),
        lambda: any(ledger.glob("predict/*.json")),
    ]
    for moment in moments:
        kill_when(moment, study, tmp_path)
    done = run(study, tmp_path, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert report(tmp_path) == report(undisturbed)
    ours, theirs = records(tmp_path), records(undisturbed)
    assert ours.keys() == theirs.keys()
    for name, record in ours.items():
        assert record["output"] == theirs[name]["output"], name
        assert record["facts"] == theirs[name]["facts"], name
    assert len([name for name in ours if name.startswith("train/")]) == 10


def kill_when(moment: Callable[[], bool], study: Path, folder: Path) -> None:
    """Start a run, kill it with SIGKILL at the moment, and see that it leaves no process behind."""
    victim = subprocess.Popen(
        [
            *(sys.executable, "-m", "harness", "ablate", str(study)),
            *("--results", str(folder / "results"), "--reports", str(folder / "reports")),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not moment():
        assert victim.poll() is None, "the run ended before the moment of the kill"
        time.sleep(0.02)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    for _ in range(100):
        if not left_behind(folder):
            return
        time.sleep(0.1)
    pytest.fail(f"processes outlived the kill: {left_behind(folder)}")


def left_behind(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
    return found


def test_ctrl_c_stops_the_workers_says_that_nothing_is_lost_and_exits_130(study: Path, tmp_path: Path) -> None:
    victim = subprocess.Popen(
        [
            *(sys.executable, "-m", "harness", "ablate", str(study)),
            *("--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in a shell's background, SIGINT is ignored and would stay so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not any((tmp_path / "results" / "work").glob("*/training/job.json")):
        assert victim.poll() is None
        time.sleep(0.02)
    victim.send_signal(signal.SIGINT)
    out, error = victim.communicate(timeout=60)
    assert victim.returncode == 130
    assert out == ""
    assert "Nothing that was finished is lost" in error
    assert "Traceback" not in error
    assert left_behind(tmp_path) == []


def test_a_finished_study_answers_in_seconds_and_prints_one_json_document(study: Path, undisturbed: Path) -> None:
    started = time.monotonic()
    done = run(study, undisturbed, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "0 of" in done.stderr
    assert time.monotonic() - started < 60, "nothing is made or asked again"
    document = json.loads(done.stdout)
    assert [arm["name"] for arm in document["arms"]] == ["base", "aligned", "clean", "random", "again", "shuffled"]
    assert document["arms"][2]["chats"] == document["arms"][3]["chats"] < document["arms"][1]["chats"]
    assert {task["items"] for task in document["tasks"]} == {6}
    again, shuffled = document["arms"][4:]
    assert again["seeds"] == [2, 3]
    assert again["chats"] == shuffled["chats"] == document["arms"][1]["chats"]
    assert set(again["weights"].values()).isdisjoint(document["arms"][1]["weights"].values())
    assert 0 < shuffled["treated"]["change shuffled"] < shuffled["chats"]
    for task in document["tasks"]:
        assert [one["kind"] for one in task["controls"]] == ["random removal", "same data", "shuffled answers"]
        assert task["verdict"]["verdict"] in ("improved", "regressed", "equivalent", "inconclusive")


def test_one_seed_never_speaks_of_the_data(study: Path, undisturbed: Path, tmp_path: Path) -> None:
    done = harness(
        *("ablate", study, "--seeds", "1", "--results", undisturbed / "results", "--reports", tmp_path / "one")
    )
    assert done.returncode == 0, done.stderr
    assert "difference between these checkpoints" in " ".join(done.stdout.split())
    assert "0 of" in done.stderr, "one seed of a finished study is in the cache"


def test_too_little_disk_for_the_checkpoints_is_said_before_any_training(
    study: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """The base is there already; another learning rate needs ten new trainings, and the disk claims to be full."""
    (tmp_path / "small-recipe.toml").write_text(RECIPE.replace("1e-3", "2e-3"))
    (tmp_path / "small.toml").write_text(study.read_text())
    full = "import harness.commands.ablate as a; a.free_bytes = lambda folder: 10_000"
    program = f"{full}; from harness.cli import main; main()"
    before = records(undisturbed)
    done = subprocess.run(
        [
            *(sys.executable, "-c", program, "ablate", str(tmp_path / "small.toml")),
            *("--results", str(undisturbed / "results"), "--reports", str(tmp_path / "reports")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "The checkpoints of 10 trainings need" in done.stderr
    assert "Traceback" not in done.stderr
    assert records(undisturbed) == before
    assert not (tmp_path / "reports").exists()


def test_harness_report_writes_from_the_store_alone_what_ablate_wrote_byte_for_byte(
    undisturbed: Path, tmp_path: Path
) -> None:
    done = harness("report", "small/whole", "--results", undisturbed / "results", "--reports", tmp_path)
    assert done.returncode == 0, done.stderr
    before, after = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (undisturbed / "reports", tmp_path)
    )
    assert {"index.html", "report.tex", "items.parquet"} <= {place.name for place in after}
    assert after == before


def test_item_scores_carry_variant_seed_task_item_and_prompt_hash(undisturbed: Path) -> None:
    table = pd.read_parquet(undisturbed / "reports" / "small" / "items.parquet")
    assert {"variant", "seed", "task", "item", "prompt", "metric", "score"} <= set(table.columns)
    assert not table.duplicated(["variant", "seed", "task", "item", "metric"]).any()
    assert set(table.variant) == {"base", "aligned", "clean", "random", "again", "shuffled"}
    assert set(table[table.variant == "again"].seed) == {2, 3}
    assert table[table.variant == "base"].seed.isna().all()
    assert set(table[table.variant == "clean"].seed) == {0, 1}
    assert table.groupby(["task", "item"]).prompt.nunique().eq(1).all(), "all arms were asked the same"
    assert table.prompt.str.len().eq(32).all()


def test_the_pocket_study_runs_from_nothing_and_its_base_is_clearly_above_chance(tmp_path: Path) -> None:
    """The default study with one of its three seeds; what `make ablate` does, on the same code."""
    done = run("pocket", tmp_path, "--variant", "aligned,clean", "--seeds", "1", "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    least = {"pocket_mmlu": 0.45, "pocket_bbh": 0.25, "pocket_humaneval": 0.5, "pocket_drop": 0.25}
    base = {task["task"]: task["scores"]["base"]["mean"] for task in document["tasks"]}
    assert all(base[name] >= bound for name, bound in least.items()), base
    assert document["reference"] == "aligned"
    assert document["treated"] == "clean"
