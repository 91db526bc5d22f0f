"""The stage graph of a dry run: what is cached, what would run, and what it would cost.

Owns the layout of `--dry-run`. Computes nothing: states and forecasts come from the caller as rows.
Invariant: an estimate is always marked as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType


def gib(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"


def fold(stages: Sequence[tuple[str, str, tuple[str, ...]]]) -> list[tuple[str, str, str]]:
    """Return one row a stage, with the predictions and scores of one checkpoint folded into one row.

    Args:
        stages: (name, state, names of the inputs) in the order of the graph.
    """
    rows: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for name, state, inputs in stages:
        kind, _, rest = name.partition("/")
        model = rest.rpartition("/")[0]
        label = f"predict, score/{model}" if kind in ("predict", "score") else name
        rows.setdefault(label, []).append((state, inputs))
    folded = []
    for label, parts in rows.items():
        states = [state for state, _ in parts]
        done = states.count("cached")
        state = states[0] if len(set(states)) == 1 else f"{done} of {len(states)} cached"
        sources = dict.fromkeys(source for _, inputs in parts for source in inputs)
        shown = [source for source in sources if not source.startswith(("items/", "predict/")) or len(parts) == 1]
        tasks = f" x {len(parts) // 2} tasks" if len(parts) > 1 else ""
        folded.append((label, state, (", ".join(shown) or "outside") + tasks))
    return folded


def stage_table(title: str, rows: Sequence[tuple[str, str, str]]) -> RenderableType:
    """Return the table of stages, equal neighbours folded into one line.

    Args:
        rows: (stage name, state, what it waits for or reads).
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("from")
    styles = {"cached": "green", "will run": "yellow"}
    for name, state, source in rows:
        table.add_row(escape(name), f"[{styles.get(state, 'dim')}]{state}[/]", escape(source))
    return table


def cost_table(rows: Sequence[Mapping[str, str]], *, title: str) -> RenderableType:
    """Return the table of budgets: one row an arm."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", pad_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "arm" else "right")
    for row in rows:
        table.add_row(*map(escape, row.values()))
    return table
