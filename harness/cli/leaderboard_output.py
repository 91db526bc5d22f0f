"""What `harness leaderboard` and `harness report --published` print.

Owns the way from the use case to stdout and to the page's file. Invariant: stdout is one document in the format that
was asked for, and nothing is written where anything is wrong.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import layout
from harness.cli.bars import Bars
from harness.cli.console import console
from harness.commands.leaderboard import Request, standing
from harness.errors import InputError
from harness.report import leaderboard_page, leaderboard_views, published, published_views
from harness.store import write_atomic


def leaderboard(results: tuple[Path, ...], *, task: str, metric: str, format: str, html: Path | None) -> None:
    """Print the leaderboard of some result folders."""
    if html is not None:
        layout.require_file("--html", html)
    with Bars() as bars:
        bar = bars.bar("comparing rows")
        found = standing(
            Request(results=results, task=task, metric=metric, on_gap=lambda done, total: bar.update(done, total))
        )
        bar.close()
    boards, runs = found.boards, found.runs
    if html is not None:
        write_atomic(html, leaderboard_page.as_html(boards, runs))
        bars.note(f"Page: {html}", wrap=False)
    if format == "table":
        for part in leaderboard_views.tables(boards, runs):
            console().print(part)
    else:
        views = {
            "csv": lambda: leaderboard_views.as_csv(boards),
            "json": lambda: leaderboard_views.as_json(boards, runs),
            "markdown": lambda: leaderboard_views.as_markdown(boards, runs),
            "html": lambda: leaderboard_page.as_html(boards, runs),
        }
        sys.stdout.write(views[format]())
    sys.stdout.flush()


def show_published(name: str, *, run: str, format: str) -> None:
    """Print what a published table can support."""
    if run:
        raise InputError(f"--published {name} shows a published table and '{run}' a run of yours; ask for one of them.")
    case = published.load(name)
    if format == "table":
        for part in published_views.tables(case):
            console().print(part)
    else:
        sys.stdout.write(published_views.VIEWS[format](case))
    sys.stdout.flush()
