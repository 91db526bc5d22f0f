"""A leaderboard for terminals, programs and README files: table, JSON, CSV and Markdown.

Owns their columns and the sentences under a board. Computes nothing. Invariant: equal boards give equal bytes; at 80
columns no number is cut off.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.report import numbers
from harness.report.escapes import markdown_table
from harness.report.leaderboard import Board, Row

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLUMNS = (
    *("board", "task", "title", "metric", "items", "rank_best", "rank_worst", "tie_group", "row", "studies", "runs"),
    *("arms", "treatment", "filter", "base", "seeds", "chats", "supervised_tokens", "score", "low", "high", "chance"),
    *("weights", "apart"),
)


def heading(board: Board) -> str:
    """Return what a board is about."""
    what = f"all tasks: {board.title}" if board.over_all else f"{board.title} ({board.metric})"
    return f"{board.number}. {what}, {board.items:,} items"


def rank(row: Row) -> str:
    """Return the range of a row's ranks, such as "1-3"."""
    return str(row.rank.best) if row.rank.best == row.rank.worst else f"{row.rank.best}-{row.rank.worst}"


def seeds(row: Row) -> str:
    """Return how many training seeds a row has; a dash for a base."""
    return str(len(row.seeds)) if row.seeds else "-"


def notes(board: Board) -> list[str]:
    """Return the sentences under a board: what its ranks mean, what they are about, and what is not ranked."""
    lines = []
    if board.apart:
        lines.append(f"{board.apart[0].upper()}{board.apart[1:]}.")
    if board.over_all:
        lines.append("Score: mean over the tasks of (score - chance) / (1 - chance), in per cent; 0 is guessing.")
    elif board.chance:
        lines.append(f"Guessing scores {numbers.percent(board.chance)} %.")
    if board.further:
        lines.append(
            f"Not shown: {numbers.counted(board.further, 'further row')} with lower scores; the ranges count them as"
            " not told apart."
        )
    if len(board.rows) > 1:
        sure = f"{100 * (1 - board.level):g} %"
        lines.append(
            f"With {sure} confidence all rank ranges hold at once: Holm over both directions of all"
            f" {len(board.rows) * (len(board.rows) - 1) // 2} paired gaps. Rows whose ranges overlap are not in order."
        )
    single = [row.label for row in board.rows if len(row.weights) == 1]
    if single and len(board.rows) > 1:
        about = (
            ("One checkpoint", "Its rank is about this checkpoint, not about its data.")
            if len(single) == 1
            else ("One checkpoint each", "Their ranks are about these checkpoints, not about their data.")
        )
        lines.append(f"{about[0]}: {', '.join(single)}. {about[1]}")
    lines += [f"Not ranked: {label}: {reason}." for label, reason in board.left_out]
    return lines


def tables(boards: Sequence[Board], runs: int) -> list[RenderableType]:
    """Return what `harness leaderboard` prints: one table for every board, with a line between tie groups."""
    from rich.table import Table
    from rich.text import Text

    if not boards:
        return [Text(empty(runs))]
    found: list[RenderableType] = []
    for board in boards:
        table = Table(title=Text(heading(board)), title_justify="left", pad_edge=False)
        table.add_column("rank", no_wrap=True, justify="right")
        table.add_column("score", no_wrap=True, justify="right")
        table.add_column("row", overflow="fold")
        table.add_column("seeds", no_wrap=True, justify="right")
        table.add_column("chats", no_wrap=True, justify="right")
        table.add_column("tokens", no_wrap=True, justify="right")
        for place, (row, block) in enumerate(zip(board.rows, board.blocks, strict=True)):
            low, high = numbers.percent(row.score.low), numbers.percent(row.score.high)
            score = Text.assemble(numbers.percent(row.score.mean), "\n", (f"{low} to {high}", "dim"))
            what = Text.assemble(row.label, "\n", (described(row), "dim"))
            table.add_row(rank(row), score, what, seeds(row), f"{row.chats:,}", f"{row.supervised_tokens:,}")
            if block not in board.blocks[place + 1 :]:
                table.add_section()
        if board.rows:
            found.append(table)
        else:
            found.append(Text(heading(board), style="italic"))
        found += [Text(line) for line in notes(board)]
        found.append(Text(""))
    return found[:-1]


def described(row: Row) -> str:
    """Return a row's treatment, filter and base in one line."""
    return ", ".join(part for part in (row.treatment, row.filter, f"on {row.base}") if part)


def empty(runs: int) -> str:
    """Say why there is no board."""
    if runs:
        return f"{runs} {'run' if runs == 1 else 'runs'}, and none has a row to rank."
    return "No runs: nothing to rank. `harness ablate` makes one."


def as_json(boards: Sequence[Board], runs: int) -> str:
    """Return one JSON document; scores are fractions, places of tied rows count from 0."""
    document = {"runs": runs, "boards": [_document(board) for board in boards]}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _document(board: Board) -> dict[str, Any]:
    raw = asdict(board)
    for row, block in zip(raw["rows"], board.blocks, strict=True):
        row["tie_group"] = block + 1
    return {
        **raw,
        "left_out": [{"row": label, "reason": reason} for label, reason in board.left_out],
        "notes": notes(board),
    }


def as_csv(boards: Sequence[Board]) -> str:
    """Return one line per board and row; several seeds, studies or arms in a cell are separated by spaces."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for board in boards:
        for row, block in zip(board.rows, board.blocks, strict=True):
            origins = row.origins
            writer.writerow(
                [
                    *(board.number, board.task, board.title, board.metric, board.items, row.rank.best, row.rank.worst),
                    *(block + 1, row.label),
                    *(
                        " ".join(dict.fromkeys(names))
                        for names in (
                            [one.study for one in origins],
                            [one.run for one in origins],
                            [one.arm for one in origins],
                        )
                    ),
                    *(row.treatment, row.filter, row.base, " ".join(map(str, row.seeds)), row.chats),
                    *(row.supervised_tokens, row.score.mean, row.score.low, row.score.high, board.chance),
                    *(" ".join(row.weights), board.apart),
                ]
            )
    return sink.getvalue()


def as_markdown(boards: Sequence[Board], runs: int) -> str:
    """Return every board as a table for a README."""
    if not boards:
        return f"{empty(runs)}\n"
    lines = []
    for board in boards:
        lines += [f"## {heading(board)}", ""]
        header = ["rank", "row", "score", "treatment", "filter", "base", "seeds", "chats", "supervised tokens"]
        cells = [
            [
                *(rank(row), row.label, numbers.estimate(row.score), row.treatment, row.filter or "-", row.base),
                *(seeds(row), f"{row.chats:,}", f"{row.supervised_tokens:,}"),
            ]
            for row in board.rows
        ]
        if board.rows:
            lines += markdown_table(header, cells)
        lines += ["", *(f"{line}  " for line in notes(board)), ""]
    return "\n".join(lines)
