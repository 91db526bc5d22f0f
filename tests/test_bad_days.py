"""What a terminal, a disk and a reader may do to a command: narrow, closed, full, gone; and inputs at the edge."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text
from test_cli import POCKET, harness, refused
from test_report import result

from harness import layout
from harness.cli.screen import Screen
from harness.commands.power import outlook
from harness.errors import InputError
from harness.report import terminal
from harness.report.numbers import counted
from harness.store import files


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash with the program as $H."""
    line = f"H='{sys.executable} -m harness'; {command}"
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120)


# --- streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["tasks", "report --published poison-of-alignment --format json"])
def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path, command: str) -> None:
    done = shell(f"($H {command}; echo $? >&2) | true", tmp_path)
    assert done.stderr.split() == ["141"]


@pytest.mark.parametrize("command", ["tasks", "ablate --dry-run"])
def test_a_closed_standard_output_is_no_failure(tmp_path: Path, command: str) -> None:
    done = shell(f"$H {command} >&-", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_full_standard_output_is_named(tmp_path: Path) -> None:
    done = shell("$H tasks >/dev/full", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("Error: standard output, or a file")


def test_what_the_encoding_of_the_output_lacks_is_said_and_not_traced(tmp_path: Path) -> None:
    gold = {"user": "Où est-ce ?", "text": "Désolé…", "label": "full_refusal"}
    (tmp_path / "gold.jsonl").write_text(json.dumps(gold) + "\n", encoding="utf-8")
    done = harness(tmp_path, "filter", "audit", "--gold", "gold.jsonl", PYTHONIOENCODING="ascii")
    assert done.code == 1
    assert done.words == "Error: the encoding ascii of the output has no '\\xf9'. Set PYTHONIOENCODING=utf-8."


def test_a_file_that_cannot_be_written_is_named_and_not_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = tmp_path / "report.md"

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        files.write_atomic(wanted, "text")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(wanted))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/page.html", "."])
def test_a_page_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    refused(done := harness(tmp_path, "leaderboard", "--results", "none", "--html", place))
    assert "--html" in done.error and "is no folder" not in done.error


# --- widths ------------------------------------------------------------------------------------------------


def printed(width: int) -> str:
    """Return what a terminal of a width shows of a result."""
    sink = io.StringIO()
    console = Console(file=sink, width=width, color_system=None)
    for part in terminal.result_tables(result(), width=width):
        console.print(part)
    return sink.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_at_any_width_every_row_of_scores_names_its_task_and_no_interval_is_broken(width: int) -> None:
    text = printed(width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    lines = text.split("\ngap = ")[0].splitlines()
    for row in result().tasks:
        for score in row.scores.values():
            interval = f"{100 * score.low:.1f}-{100 * score.high:.1f}"
            assert any(interval in line for line in lines)
        assert sum(line.startswith(f"│{row.title}") for line in lines) == len(text.split("items ┃")) - 1


def test_a_wide_terminal_has_all_arms_abreast() -> None:
    assert printed(200).count("items ┃") == 1 < printed(60).count("items ┃") < printed(40).count("items ┃")


def test_the_title_of_a_table_is_not_broken_at_the_width_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(title=Text("a title [bold] that is longer than its table"), title_justify="left")
    table.add_column("a")
    table.add_row("1")
    sink = io.StringIO()
    Screen(file=sink, width=80).print(table)
    assert sink.getvalue().startswith("a title [bold] that is longer than its table\n┏━")


# --- words -------------------------------------------------------------------------------------------------


def test_the_help_begins_with_ablate_and_cuts_no_line(tmp_path: Path) -> None:
    for arguments in ((), ("data",), ("filter",), ("predictions",)):
        done = harness(tmp_path, *arguments, "--help")
        listed = done.out.split("Commands:\n")[1]
        assert arguments or listed.startswith("  ablate ")
        assert "..." not in listed


def test_a_count_of_one_is_no_plural() -> None:
    assert [counted(number, "item") for number in (0, 1, 2, 1319)] == ["0 items", "1 item", "2 items", "1,319 items"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit": 1}, r"'pocket_mmlu' has 1 item \(--limit"),
        ({"limit": 40, "items": 40}, "--items and --limit both"),
    ],
)
def test_power_says_which_option_leaves_too_little(given: Mapping[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        outlook("pocket", results=tmp_path, **given)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "pocket"', 'name = "Größe"', "name: a name has the letters a to z, digits, '.', '_' and '-'"),
        ("[variants.masked]", '[variants."ä b"]', "variants.ä b.[key]: a name has the letters A to Z, a to z"),
    ],
)
def test_a_name_that_is_none_is_told_without_a_pattern(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "own.toml").write_text(POCKET.replace(old, new, 1), encoding="utf-8")
    refused(done := harness(tmp_path, "ablate", "own.toml", "--dry-run"))
    assert said in done.words and "^[" not in done.words


@pytest.mark.parametrize(
    ("given", "said"),
    [(".", "There is no study named '.'"), ("./", "'./' is a folder"), ("no.toml", "'no.toml' is not there")],
)
def test_a_study_that_is_no_file_is_told_apart(tmp_path: Path, given: str, said: str) -> None:
    refused(done := harness(tmp_path, "ablate", given))
    assert said in done.words


# --- folders and keys --------------------------------------------------------------------------------------


def test_reports_that_could_not_be_written_are_said_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    done = harness(tmp_path, "ablate", "pocket", "--results", "results", "--reports", "taken/reports")
    refused(done)
    assert done.words == "Error: --reports taken/reports: taken is a file; give a folder."
    assert not (tmp_path / "results").exists()


def test_a_folder_in_which_nothing_may_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout.require_writable("--reports", tmp_path / "new" / "folder")
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    with pytest.raises(InputError, match=f"nothing can be written to {tmp_path}"):
        layout.require_writable("--reports", tmp_path / "new" / "folder")


def test_ctrl_c_before_the_program_has_started_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    line = f"PYTHONPATH={tmp_path}:$PYTHONPATH {sys.executable} -m harness tasks"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stderr == "\nInterrupted. Nothing that was finished is lost: run the same command again.\n"
