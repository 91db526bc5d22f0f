"""A leaderboard as one HTML file: every board as a table that sorts by any column.

Owns the page's template, style and script. Computes nothing; the frame of the page and its escaping are those of
`report.page.shell`. Invariant: without scripts the page shows the same rows, in order of their ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report import leaderboard_views as views
from harness.report import numbers
from harness.report.leaderboard import Board, Row
from harness.report.page import shell

_WIDTH = 150
_NAMED = 5


def as_html(boards: Sequence[Board], runs: int) -> str:
    """Return the whole document."""
    return shell.page(
        "leaderboard.html",
        styles=["style.css", "leaderboard.css"],
        scripts=["theme.js", "leaderboard.js"],
        values={
            "title": "Leaderboard",
            "runs": runs,
            "empty": views.empty(runs),
            "boards": [_board(board) for board in boards],
        },
        folders=[Path(__file__).parent],
    )


def _board(board: Board) -> dict[str, Any]:
    axis = _Axis.over(board)
    rows = []
    for place, (row, block) in enumerate(zip(board.rows, board.blocks, strict=True)):
        rows.append(
            {
                "row": row,
                "rank": views.rank(row),
                "order": place,
                "cut": place > 0 and block != board.blocks[place - 1],
                "score": numbers.percent(row.score.mean),
                "interval": f"{numbers.percent(row.score.low)} to {numbers.percent(row.score.high)}",
                "bar": axis.bar(row),
                "filter": row.filter or "-",
                "seeds": views.seeds(row),
                "seed_count": len(row.seeds),
                "where": _where(row),
            }
        )
    return {
        "number": board.number,
        "heading": views.heading(board),
        "short": f"{board.number}. {'all tasks' if board.over_all else board.title}",
        "notes": views.notes(board),
        "rows": rows,
        "ends": (numbers.percent(axis.low), numbers.percent(axis.high)),
        "width": _WIDTH,
        "zero": axis.place(board.chance),
        "conditions": sorted(board.conditions.items()),
    }


def _where(row: Row) -> str:
    """Return the runs and arms of a row; of many the first ones, as the JSON has all."""
    names = [f"{origin.run} {origin.arm}" for origin in row.origins]
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class _Axis:
    """From scores to places on a bar of `_WIDTH` units."""

    low: float
    high: float

    @classmethod
    def over(cls, board: Board) -> _Axis:
        """Return the axis that holds every interval of a board."""
        ends = [value for row in board.rows for value in (row.score.low, row.score.high)] or [0.0, 1.0]
        low, high = min(ends), max(ends)
        return cls(low, high) if high > low else cls(low - 0.01, high + 0.01)

    def place(self, value: float) -> float | None:
        """Return where a value is; None outside of the axis."""
        share = (value - self.low) / (self.high - self.low)
        return round(share * _WIDTH, 1) if 0 <= share <= 1 else None

    def bar(self, row: Row) -> dict[str, float | None]:
        """Return the ends of a row's interval and its score."""
        return {"x1": self.place(row.score.low), "x2": self.place(row.score.high), "mean": self.place(row.score.mean)}
