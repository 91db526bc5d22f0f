"""The leaderboard as text and as a page: what is shown, what is escaped, and what sorts."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import leaderboard_world as world
import pytest
from chromium import drive
from rich.console import Console
from test_cli import files, harness, refused

from harness.cli import leaderboard_output
from harness.commands.leaderboard import Request, standing
from harness.errors import InputError
from harness.report import leaderboard_page, leaderboard_views
from harness.report.leaderboard import Board

HOSTILE = (
    "<script>window.pwned=1</script>",
    '"><img src=x onerror="window.pwned=1">',
    "{{ 7 * 7 }}",
    "a|b",
    "\x1b[31mred",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with two studies, one of them of one seed, and a run of fewer items."""
    root = tmp_path_factory.mktemp("results")
    world.run(root, items=300)
    world.run(root, name="other", data="b", seeds=1, items=300)
    world.run(root, limit=20, items=20)
    return root


@pytest.fixture(scope="module")
def boards(results: Path) -> tuple[Board, ...]:
    return standing(Request(results=(results,))).boards


def printed(boards: tuple[Board, ...], runs: int = 3) -> str:
    """Return what a terminal of 80 columns shows."""
    console = Console(file=io.StringIO(), width=80)
    for part in leaderboard_views.tables(boards, runs):
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_terminal_of_80_columns_shows_every_row_and_cuts_nothing(boards: tuple[Board, ...]) -> None:
    shown = printed(boards)
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for board in boards:
        assert " ".join(leaderboard_views.heading(board).split()) in " ".join(shown.split())
        for row in board.rows:
            assert row.label in shown


def test_a_range_is_shown_as_one_and_a_single_rank_as_a_number(boards: tuple[Board, ...]) -> None:
    ranges = {leaderboard_views.rank(row): row.rank for board in boards for row in board.rows}
    assert any("-" in shown for shown in ranges)
    for shown, rank in ranges.items():
        assert shown == (str(rank.best) if rank.best == rank.worst else f"{rank.best}-{rank.worst}")


def test_one_seed_is_said_to_be_about_these_checkpoints(boards: tuple[Board, ...]) -> None:
    [line] = [one for one in leaderboard_views.notes(boards[0]) if "checkpoints" in one]
    assert "clean (other)" in line
    assert "clean (pocket)" not in line
    assert "not about their data" in line


def test_a_board_that_stands_apart_says_why_in_every_view(boards: tuple[Board, ...]) -> None:
    apart = next(board for board in boards if board.apart and not board.over_all)
    assert "limit 20, there all" in apart.apart
    for shown in (printed(boards), leaderboard_views.as_markdown(boards, 3), leaderboard_views.as_json(boards, 3)):
        assert "limit 20, there all" in " ".join(shown.split())
    assert "limit 20, there all" in leaderboard_page.as_html(boards, 3)


def test_csv_and_json_say_the_same(boards: tuple[Board, ...]) -> None:
    rows = list(csv.DictReader(io.StringIO(leaderboard_views.as_csv(boards))))
    document = json.loads(leaderboard_views.as_json(boards, 3))
    assert document["runs"] == 3
    flat = [(board, row) for board in document["boards"] for row in board["rows"]]
    assert len(rows) == len(flat)
    for line, (board, row) in zip(rows, flat, strict=True):
        assert (int(line["board"]), line["task"]) == (board["number"], board["task"])
        assert line["row"] == row["label"]
        assert float(line["score"]) == row["score"]["mean"]
        assert (int(line["rank_best"]), int(line["rank_worst"])) == (row["rank"]["best"], row["rank"]["worst"])
        assert int(line["tie_group"]) == row["tie_group"]
        assert line["weights"].split() == row["weights"]


def test_markdown_is_one_table_per_board(boards: tuple[Board, ...]) -> None:
    text = leaderboard_views.as_markdown(boards, 3)
    assert text.count("| rank | row |") == len(boards)
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {10}


def test_no_run_and_no_row_are_said_in_every_view() -> None:
    for runs, said in ((0, "No runs"), (2, "2 runs, and none has a row")):
        assert said in printed((), runs)
        assert said in leaderboard_views.as_markdown((), runs)
        assert said in leaderboard_page.as_html((), runs)
        assert json.loads(leaderboard_views.as_json((), runs)) == {"boards": [], "runs": runs}


def test_a_board_of_one_row_makes_no_claim_of_ranks(boards: tuple[Board, ...]) -> None:
    single = replace(boards[0], rows=boards[0].rows[:1])
    assert not [line for line in leaderboard_views.notes(single) if "confidence" in line or "checkpoint" in line]
    assert "clean" in printed((single,), 1)


# --- the page ----------------------------------------------------------------------------------------------


def hostile(boards: tuple[Board, ...]) -> tuple[Board, ...]:
    """Return boards whose texts are what a page must not run."""
    first = boards[0]
    rows = tuple(
        replace(row, label=text, treatment=text, filter=text, base=text)
        for row, text in zip(first.rows, HOSTILE, strict=False)
    )
    left = tuple((text, text) for text in HOSTILE)
    return (replace(first, rows=rows, title=" ".join(HOSTILE), left_out=left, conditions={HOSTILE[0]: HOSTILE[1]}),)


def test_the_page_is_one_file_without_network_and_with_a_policy(boards: tuple[Board, ...]) -> None:
    html = leaderboard_page.as_html(boards, 3)
    assert html == leaderboard_page.as_html(boards, 3)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//)|url\(|@import""", html)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r"\sstyle=", html), "the policy would drop it"


def test_the_page_has_every_row_in_order_of_its_rank_without_scripts(boards: tuple[Board, ...]) -> None:
    html = leaderboard_page.as_html(boards, 3)
    static = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", html, flags=re.S)
    places = [static.index(f'<th scope="row">{row.label}', static.index('id="board-1"')) for row in boards[0].rows]
    assert places == sorted(places)
    assert static.count('<th scope="row">') == sum(len(board.rows) for board in boards)
    assert static.count('aria-sort="ascending"') == len(boards)


def test_hostile_names_stay_text_in_the_page(boards: tuple[Board, ...]) -> None:
    html = leaderboard_page.as_html(hostile(boards), 3)
    assert html.count("<script>") == 1
    assert "<img" not in html
    assert "49" not in re.sub(r"<script>.*?</script>|<style>.*?</style>|\d[\d.,]*\d", "", html, flags=re.S)
    assert "\x1b" not in html


def test_a_browser_runs_none_of_it_and_sorts_by_click_and_by_key(boards: tuple[Board, ...]) -> None:
    many = (*hostile(boards), *(replace(board, number=board.number + 1) for board in boards))
    told: dict[str, Any] = drive(
        leaderboard_page.as_html(many, 3),
        """
        await open("");
        const table = $("#board-2 table");
        const column = (name) => [...table.tHead.rows[0].cells].find((one) => one.textContent === name);
        const rows = () => [...table.tBodies[0].rows].map((row) => row.cells[1].firstChild.textContent);
        const cells = (name) => [...table.tBodies[0].rows].map((row) => row.cells[column(name).cellIndex]);
        const values = (name) => cells(name).map((cell) => Number(cell.dataset.sort));
        const result = { start: rows(), sortable: $$("#board-2 th button").map((one) => one.textContent) };
        column("score, %").querySelector("button").click();
        result.scoreDown = values("score, %");
        result.states = [...table.tHead.rows[0].cells].map((one) => one.ariaSort);
        column("score, %").querySelector("button").click();
        result.scoreUp = values("score, %");
        result.ranked = table.classList.contains("ranked");
        const button = column("row").querySelector("button");
        button.focus();
        result.focused = frame.contentDocument.activeElement === button;
        button.click();
        result.names = rows();
        column("rank").querySelector("button").click();
        result.end = rows();
        result.rankedAgain = table.classList.contains("ranked");
        result.pwned = frame.contentWindow.pwned === undefined;
        result.images = $$("img, iframe").length;
        return result;
        """,
    )
    assert told["pwned"] is True
    assert told["images"] == 0
    assert told["sortable"] == [
        *("rank", "row", "score, %", "treatment", "filter", "base", "seeds", "chats", "supervised tokens")
    ]
    assert told["scoreDown"] == sorted(told["scoreDown"], reverse=True)
    assert told["scoreUp"] == sorted(told["scoreDown"])
    assert told["states"].count("descending") == 1
    assert told["states"].count("ascending") == 0
    assert told["ranked"] is False, "lines between tie groups mean nothing in another order"
    assert told["focused"] is True, "a header is a button, so that Enter and Space press it"
    assert told["names"] == sorted(told["names"])
    assert told["end"] == told["start"] == [row.label for row in boards[0].rows]
    assert told["rankedAgain"] is True


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_does_not_grow_wider_than_the_screen(boards: tuple[Board, ...], width: int) -> None:
    told = drive(
        leaderboard_page.as_html(boards, 3),
        """await open("");
        const page = frame.contentDocument.documentElement;
        return [page.scrollWidth, page.clientWidth];""",
        width=width,
    )
    assert told[0] <= told[1]


# --- the command -------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_prints_the_table(results: Path, tmp_path: Path) -> None:
    done = harness(tmp_path, "leaderboard", "--results", str(results), "--html", "board.html")
    assert done.code == 0, done
    assert "1. all tasks: pocket DROP, pocket MMLU" in done.out
    assert "Page: board.html" in done.error
    assert files(tmp_path) == {"board.html"}
    page = harness(tmp_path, "leaderboard", "--results", str(results), "--format", "html")
    assert page.out == (tmp_path / "board.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("format", ["csv", "json", "markdown", "html", "table"])
def test_no_results_are_an_empty_leaderboard(tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]) -> None:
    leaderboard_output.leaderboard((tmp_path,), task="", metric="", format=format, html=None)
    assert capsys.readouterr().out
    assert files(tmp_path) == set()


def test_bad_input_is_refused_before_anything_is_written(results: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    page = tmp_path / "page.html"
    for folder, given, said in (
        (results, {"html": tmp_path}, "is no file that can be replaced; give the path of a file"),
        (tmp_path / "file", {}, "is a file; give a folder"),
        (tmp_path / "none", {}, "There is no folder"),
        (results, {"task": "nothing"}, "No run has a task 'nothing'"),
        (results, {"metric": "nothing"}, "No task has a metric 'nothing'"),
    ):
        asked: dict[str, Any] = {"task": "", "metric": "", "format": "table", "html": page, **given}
        with pytest.raises(InputError, match=said):
            leaderboard_output.leaderboard((folder,), **asked)
    refused(harness(tmp_path, "leaderboard", "--results", "file", "--html", "page.html"))
    assert files(tmp_path) == {"file"}


def test_a_record_edited_by_hand_is_named_and_nothing_is_ranked(tmp_path: Path) -> None:
    run = world.run(tmp_path / "results")
    path = next((tmp_path / "results" / "ledger" / "score").glob("*.json"))
    text = path.read_text()
    path.write_text(text.replace("1.0", "0.0", 1))
    done = harness(tmp_path, "leaderboard", "--html", "page.html")
    refused(done)
    assert path.name in done.words
    assert "digest does not match" in done.words
    assert run.name in done.words
    assert not (tmp_path / "page.html").exists()
