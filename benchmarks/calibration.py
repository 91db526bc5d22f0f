"""How often is the comparison wrong, and how often does it find what is there? Simulated studies over a grid.

    python benchmarks/calibration.py run --out calibration.jsonl --minutes 9     # again and again, until it says "done"
    python benchmarks/calibration.py table calibration.jsonl

The grid: 1, 2, 3, 5, 8 seeds x 164, 1,000, 6,511, 14,042 items x seed SD 0, 0.4, 0.8, 1.3 points x items alone, in 57,
27 or 8 unequal clusters or in passages x four generators (harness/compare/calibration.py says what they draw), and arms
with unequal numbers of runs. The more items, the fewer clusters, generators and studies. `run` appends one line per
finished cell and leaves out those that are there; `table` prints what docs/statistics.md holds and checks the targets:

- equal arms are called in at most 5.5 % of the studies of every cell, beyond simulation error;
- intervals hold at least 94 % of the planted effects, over new runs on the same items and over new runs and items;
- effects of four true standard errors are called in 50, 75, 88, 91 % at 2, 3, 5, 8 seeds (but not with 8 clusters);
- one seed never yields a claim about the data.

The same is asked of all cells together that share the runs and one other trait (seed SD, items, clusters, generator).
Simulation error: what one of that many cells and sets would exceed by chance (a normal bound with 1 % over all).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

from harness.compare.calibration import Calibration, Cell, Clusters, Generator, simulate

SEEDS, SPREADS = (2, 3, 5, 8), (0.0, 0.004, 0.008, 0.013)
UNEQUAL = ((2, 3), (2, 8), (3, 5))
ALL = tuple(Generator)
# items: studies per cell, clusters, generators.
GRID: dict[int, tuple[int, tuple[Clusters, ...], tuple[Generator, ...]]] = {
    164: (600, (Clusters.NONE, Clusters.SUBTASKS, Clusters.FEW), ALL),
    1000: (400, (Clusters.NONE, Clusters.PASSAGES, Clusters.FEW), ALL),
    6511: (300, (Clusters.NONE, Clusters.SUBTASKS), (Generator.ADDITIVE, Generator.LOW)),
    14042: (200, (Clusters.NONE, Clusters.SUBJECTS), (Generator.ADDITIVE, Generator.MIDDLE)),
}
POWER = {2: 0.50, 3: 0.75, 5: 0.88, 8: 0.91}
FALSE, COVERAGE = 0.055, 0.94


def cells() -> Iterator[tuple[Cell, int]]:
    """Yield every cell with its number of studies."""
    for items, (studies, clusters, generators) in GRID.items():
        for kind in clusters:
            for generator in generators:
                for spread in SPREADS:
                    where: dict[str, Any] = {"items": items, "clusters": kind, "generator": generator}
                    where["seed_sd"] = spread
                    yield Cell(seeds=1, **where), 20
                    for seeds in SEEDS:
                        yield Cell(seeds=seeds, **where), studies
                    if items <= 1000 and spread in (0.0, 0.008):
                        for seeds, treated in UNEQUAL:
                            yield Cell(seeds=seeds, treated_seeds=treated, **where), studies


def run(out: Path, minutes: float, share: float, items: Sequence[int]) -> bool:
    """Simulate the cells that `out` lacks until the time is over; say whether all are there."""
    done = {json.dumps(row["cell"], sort_keys=True) for row in _rows(out)}
    start = time.monotonic()
    for cell, studies in cells():
        named = dataclasses.asdict(cell)
        if json.dumps(named, sort_keys=True) in done or cell.items not in items:
            continue
        if time.monotonic() - start > 60 * minutes:
            return False
        with out.open("a", encoding="utf-8") as file:
            found = dataclasses.asdict(simulate(cell, max(5, round(share * studies))))
            print(json.dumps({"cell": named, "found": found}), file=file)
    return True


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tables(rows: Sequence[tuple[Cell, Calibration]]) -> tuple[list[str], list[str]]:
    """Return the lines of the tables, and the cells that miss a target."""
    several = [(cell, found) for cell, found in rows if cell.seeds > 1]
    lines = ["| seeds | studies | false calls at SD 0 / .4 / .8 / 1.3 | worst cell | same items | new items | power |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for seeds in (*SEEDS, *UNEQUAL):
        own = [
            (cell, found)
            for cell, found in several
            if cell.runs == (seeds if isinstance(seeds, tuple) else (seeds,) * 2)
        ]
        if not own:
            continue
        by_spread = [[pair for pair in own if pair[0].seed_sd == spread] for spread in SPREADS]
        false = " / ".join(f"{100 * _mean(part, 'false'):.1f}" if part else "-" for part in by_spread)
        worst = max(found.false for _, found in own)
        name = "{} and {}".format(*seeds) if isinstance(seeds, tuple) else str(seeds)
        shares = " | ".join(
            f"{100 * _mean(own, what):.1f} ({100 * min(getattr(found, what) for _, found in own):.1f})"
            for what in ("same_items", "new_items", "power")
        )
        lines.append(
            f"| {name} | {sum(found.studies for _, found in own):,} | {false} | {100 * worst:.1f} | {shares} |"
        )
    return [*lines, "", *_by_kind(several)], _missed(rows)


def _by_kind(rows: Sequence[tuple[Cell, Calibration]]) -> list[str]:
    """Return the same shares by items, clusters and generator."""
    lines = [
        "| where | studies | false calls (worst) | same items (worst) | new items (worst) |",
        "| --- |" + " --- |" * 4,
    ]
    kinds: list[tuple[str, Callable[[Cell], bool]]] = []
    kinds += [(f"{items:,} items", lambda cell, items=items: cell.items == items) for items in GRID]
    kinds += [(f"clusters: {kind}", lambda cell, kind=kind: cell.clusters == kind) for kind in Clusters]
    kinds += [(str(kind), lambda cell, kind=kind: cell.generator == kind) for kind in Generator]
    for name, fits in kinds:
        own = [(cell, found) for cell, found in rows if fits(cell)]
        if not own:
            continue
        studies = sum(found.studies for _, found in own)
        lines.append(
            f"| {name} | {studies:,} | {100 * _mean(own, 'false'):.1f} ({100 * max(f.false for _, f in own):.1f}) | "
            f"{100 * _mean(own, 'same_items'):.1f} ({100 * min(f.same_items for _, f in own):.1f}) | "
            f"{100 * _mean(own, 'new_items'):.1f} ({100 * min(f.new_items for _, f in own):.1f}) |"
        )
    return lines


def _mean(rows: Sequence[tuple[Cell, Calibration]], what: str) -> float:
    studies = sum(found.studies for _, found in rows)
    return math.fsum(found.studies * getattr(found, what) for _, found in rows) / studies


def _sets(rows: Sequence[tuple[Cell, Calibration]]) -> dict[str, list[tuple[Cell, Calibration]]]:
    """Return every cell, and all cells together that share the runs and one other trait: these are finer scales."""
    several = [(cell, found) for cell, found in rows if cell.seeds > 1]
    sets = {str(cell): [(cell, found)] for cell, found in several}
    for cell, found in several:
        for trait in ("seed_sd", "items", "clusters", "generator"):
            sets.setdefault(f"all of {cell.runs} runs, {trait} {getattr(cell, trait)}", []).append((cell, found))
    return sets


def _bound(sets: int, target: float, studies: int) -> float:
    """Return how far a share of so many studies may miss its target by chance: 1 % over all sets and targets."""
    return NormalDist().inv_cdf(1 - 0.01 / (4 * max(1, sets))) * math.sqrt(target * (1 - target) / studies)


def _missed(rows: Sequence[tuple[Cell, Calibration]]) -> list[str]:
    """Return a line for every cell, and every set of them, that misses a target beyond simulation error."""
    missed = [
        f"{cell}: one seed, a claim about the data" for cell, found in rows if cell.seeds == 1 and found.about_data
    ]
    sets = _sets(rows)
    for name, own in sets.items():
        checks = [("false", 1 - _mean(own, "false"), 1 - FALSE, own)]
        checks += [(what, _mean(own, what), COVERAGE, own) for what in ("same_items", "new_items")]
        # Eight unequal clusters say as much as five equal ones: no t test on 4 degrees of freedom has that power.
        able = [pair for pair in own if pair[0].treated_seeds is None and pair[0].clusters is not Clusters.FEW]
        if able:
            checks.append(("power", _mean(able, "power"), POWER[able[0][0].seeds], able))
        for what, share, target, those in checks:
            if share < target - _bound(len(sets), target, sum(found.studies for _, found in those)):
                missed.append(f"{what} {share:.3f} (target {target}): {name}")
    return missed


def _resolution(rows: Sequence[tuple[Cell, Calibration]]) -> str:
    """Say how many false calls a cell, and the largest set, would have to show to miss: few studies see little."""
    sets = _sets(rows)
    studies = [sum(found.studies for _, found in own) for own in sets.values()]
    seen = [100 * (FALSE + _bound(len(sets), FALSE, count)) for count in (min(studies), max(studies))]
    return (
        f"false calls that count as a miss: from {seen[0]:.1f} % in the smallest cell,"
        f" from {seen[1]:.1f} % in the largest set of cells"
    )


def main() -> int:
    """Run or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--minutes", type=float, default=9)
    running.add_argument(
        "--share", type=float, default=1.0, help="share of the studies of every cell, for a first look"
    )
    running.add_argument("--items", type=int, nargs="+", default=list(GRID), help="only these numbers of items")
    commands.add_parser("table").add_argument("path", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "run":
        done = run(arguments.out, arguments.minutes, arguments.share, arguments.items)
        print("done" if done else "to be continued: run it again")
        return 0
    rows = []
    for row in _rows(arguments.path):
        kinds = {"clusters": Clusters(row["cell"]["clusters"]), "generator": Generator(row["cell"]["generator"])}
        rows.append((Cell(**(row["cell"] | kinds)), Calibration(**row["found"])))
    lines, missed = tables(rows)
    print("\n".join(lines))
    print(f"\n{len(rows)} of {sum(1 for _ in cells())} cells, {sum(found.studies for _, found in rows):,} studies")
    print(_resolution(rows))
    print("\n".join(["missed:", *missed]) if missed else "no cell or set misses a target beyond simulation error")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
