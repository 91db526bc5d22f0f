"""Results on terminals of any width: nothing is broken in two, cut off or lost."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from harness.cli.screen import LONGEST, Screen

CELLS = (
    ("pocket MMLU", "+1.1 [-1.8, +4.0]", "equivalent within 5.0 points\nsmallest 4.0 points"),
    ("pocket HumanEval", "-4.2 [-14.5, +6.0]", "inconclusive\nto decide: 20 seeds (17 more)"),
)


def printed(*objects: object, width: int) -> str:
    sink = io.StringIO()
    Screen(file=sink, width=width).print(*objects)
    return sink.getvalue()


def gaps(title: str = "") -> Table:
    table = Table(title=title or None, pad_edge=False)
    table.add_column("task", overflow="fold")
    table.add_column("gap, points", justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for cells in CELLS:
        table.add_row(*map(Text, cells))
    return table


@pytest.mark.parametrize("width", [24, 40, 47, 48, 60, 80, 200])
def test_every_word_of_a_table_is_whole_at_every_width(width: int) -> None:
    text = printed(gaps("gaps of a study"), width=width)
    said = set(text.replace("│", " ").replace("┃", " ").split())
    assert {word for cells in CELLS for cell in cells for word in cell.split()} <= said
    assert max(map(len, text.splitlines())) <= width


def test_a_table_that_is_too_wide_becomes_a_list_that_names_every_cell() -> None:
    assert printed(gaps(), width=36).splitlines()[:5] == [
        "pocket MMLU",
        "  gap, points: +1.1 [-1.8, +4.0]",
        "  verdict: equivalent within 5.0",
        "    points",
        "    smallest 4.0 points",
    ]
    assert "│pocket MMLU" in printed(gaps(), width=60)


def test_a_word_that_no_terminal_has_room_for_is_broken_and_not_lost() -> None:
    table = Table(pad_edge=False)
    table.add_column("what", overflow="fold")
    table.add_column("digest", overflow="fold")
    table.add_row("weights", "0123456789" * 7)
    text = printed(table, width=50)
    assert "".join(filter(str.isdigit, text)) == "0123456789" * 7 and "│weights" in text
    assert LONGEST < 70


def test_a_line_is_broken_without_a_blank_at_its_end_and_never_before_a_per_cent_sign() -> None:
    sentence = (
        "pocket HumanEval: standard error 3.8 points, of its square seeds 81 %, items 6 %, rest 13 %; independent."
    )
    for width in range(12, 110):
        lines = printed(Text(sentence), width=width).splitlines()
        assert " ".join(lines) == sentence
        assert not [line for line in lines if line != line.rstrip() or line.startswith("%")], width


def test_lines_of_their_own_and_what_is_no_western_text_stay_what_they_were() -> None:
    assert printed(Text("one\n\n  two"), width=40) == "one\n\n  two\n"
    assert "".join(printed(Text("數" * 30), width=40).split()) == "數" * 30
