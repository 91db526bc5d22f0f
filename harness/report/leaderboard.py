"""The leaderboard: every row with its interval and the range of ranks that it may have.

Owns the boards and what is said of them. Does not decide what may be ranked together (see `comparable`), draws nothing
(see `leaderboard_views`, `leaderboard_page`), and leaves gaps and ranks to `harness.compare`. Invariant: a board is
complete: what is not ranked is named with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness import compare
from harness.compare.ranks import Rank, ranks
from harness.report.comparable import ALL_TASKS, Entry, Floats, Group, Origin, groups, name_of

MOST = 100
"""Rows of one board: every pair takes a gap, 70 s for 4,950 pairs over the 14,042 items of MMLU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of a board; `score` is a fraction, over all tasks a chance-corrected one that may be below 0."""

    origins: tuple[Origin, ...]
    label: str
    treatment: str
    filter: str
    base: str
    seeds: tuple[int, ...]
    chats: int
    supervised_tokens: int
    weights: tuple[str, ...]
    score: compare.Estimate
    rank: Rank


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """Rows that may be ranked together, the highest score first.

    Attributes:
        number: from 1, over all boards of a leaderboard.
        chance: score of guessing on the scale of `score`.
        conditions: what all rows agree in.
        apart: why the rows are not on the first board of the same task; empty for that one.
        left_out: (label, reason) of rows that have no score.
        further: rows with lower scores that are not shown; ranges count them as not told apart.
        level: chance that any rank range misses.
    """

    number: int
    task: str
    title: str
    metric: str
    chance: float
    items: int
    conditions: Mapping[str, str]
    rows: tuple[Row, ...]
    apart: str = ""
    left_out: tuple[tuple[str, str], ...] = ()
    further: int = 0
    level: float = 0.05

    @property
    def over_all(self) -> bool:
        """Whether the score is over several tasks, and so corrected for chance."""
        return self.task == ALL_TASKS

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of the tie group of every row: every row of one was told apart from every row of another."""
        found, block = [], 0
        for place, row in enumerate(self.rows):
            if place and row.rank.best > place and all(above.rank.worst <= place for above in self.rows[:place]):
                block += 1
            found.append(block)
        return tuple(found)


def boards(
    entries: Iterable[Entry], *, level: float = 0.05, on_gap: Callable[[int, int], None] | None = None
) -> list[Board]:
    """Return every board: first those over all tasks, then those of single tasks.

    Args:
        level: chance that any rank range of one board misses its row's true rank.
        on_gap: hears (gaps done, gaps in all), as every pair of rows of a board takes one.
    """
    together = groups(entries)
    found: list[Board] = []
    total, done = sum(_pairs(group) for group in together), 0
    for number, group in enumerate(together, start=1):
        table = _ranked(group, number, level)
        first = next((board for board in found if board.task == table.task), None)
        found.append(replace(table, apart=_difference(first, table) if first else ""))
        done += _pairs(group)
        if on_gap is not None:
            on_gap(done, total)
    return found


def _pairs(group: Group) -> int:
    rows = min(len(group.entries), MOST)
    return rows * (rows - 1) // 2


def _ranked(group: Group, number: int, level: float) -> Board:
    """Return the board of entries that may be ranked together."""
    scored = sorted(
        ((_score(entry, level), entry) for entry in group.entries), key=lambda one: (-one[0].mean, one[1].origins)
    )
    count, scored = len(scored), scored[:MOST]
    entries = [entry for _, entry in scored]
    labels = _labels(entries)
    found = ranks(_not_above(entries, level), level=level, among=count)
    first = (*entries, *group.any_of)[0]
    return Board(
        number=number,
        task=first.task,
        title=first.title,
        metric=first.metric,
        chance=first.chance,
        items=len(first.items),
        conditions=first.conditions,
        rows=tuple(
            Row(
                origins=entry.origins,
                label=label,
                treatment=entry.treatment,
                filter=entry.filter,
                base=entry.base,
                seeds=entry.seeds,
                chats=entry.chats,
                supervised_tokens=entry.supervised_tokens,
                weights=entry.weights,
                score=score,
                rank=rank,
            )
            for (score, entry), label, rank in zip(scored, labels, found, strict=True)
        ),
        left_out=group.left_out,
        further=count - len(scored),
        level=level,
    )


def _score(entry: Entry, level: float) -> compare.Estimate:
    own = compare.interval(entry.scores, np.array(entry.clusters), weights=entry.counts, confidence=1 - level)
    return compare.Estimate(
        mean=own.mean / entry.factor - entry.offset,
        low=own.low / entry.factor - entry.offset,
        high=own.high / entry.factor - entry.offset,
    )


def _not_above(entries: Sequence[Entry], level: float) -> Floats:
    """Return at [i, j] the p-value of "row i is not above row j", from the gap of the two over their common items."""
    found = np.ones((len(entries), len(entries)))
    arms = [compare.Arm(name=name_of(one), items=one.items, prompts=one.prompts, scores=one.scores) for one in entries]
    for i, one in enumerate(entries):
        # Conditions hold digests of items and prompts: what is on one board pairs, or this is a fault of ours.
        assert isinstance(compare.pair(arms[0], arms[i]), compare.Paired)
        for j, other in enumerate(entries[:i]):
            gap = compare.gap(
                other.scores, one.scores, np.array(one.clusters), weights=one.counts, confidence=1 - level
            )
            found[i, j] = gap.p_value(alternative="greater")
            found[j, i] = gap.p_value(alternative="less")
    return found


def _labels(entries: Sequence[Entry]) -> list[str]:
    """Return a name for every row; where two have the same, with the seeds and the beginning of the first weights."""
    names = [name_of(entry) for entry in entries]
    return [
        name if names.count(name) == 1 else f"{name} {entry.weights[0][:8]}"
        for name, entry in zip(names, entries, strict=True)
    ]


def _difference(first: Board, board: Board) -> str:
    """Say in which conditions a board differs from the first one of its task, or that it is over other tasks."""
    if board.title != first.title:
        return f"not ranked together with board {first.number}, which is over other tasks"
    names = sorted(
        name
        for name in {*first.conditions, *board.conditions}
        if first.conditions.get(name) != board.conditions.get(name)
    )
    parts = []
    for name in names:
        one, other = (table.conditions.get(name, "none") for table in (board, first))
        short = len(one) < _SHORT and len(other) < _SHORT
        parts.append(f"{name} {one}, there {other}" if short else name)
    return f"not ranked together with board {first.number}, which differs in: {'; '.join(parts)}"


# Values of conditions up to this length are shown; digests are not.
_SHORT = 40
