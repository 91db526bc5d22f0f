"""The use case behind `harness power`: what a study could see, before anything is trained.

Owns where the number of items and the variances come from: a finished run of the study, else sizes of the shipped
tasks and assumptions. Computes no power (see `harness.compare`), reads no data, trains nothing. Invariant: what is
assumed and what was measured is told apart in every row.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness import layout
from harness.compare import Design, Gap, planned
from harness.compare.degrees import NORMAL, kurtosis_of
from harness.compare.power import MOST_SEEDS
from harness.errors import InputError
from harness.evaluate import catalog
from harness.report import join
from harness.store import Runs, Store
from harness.study import Study, load_study
from harness.study.choice import definition
from harness.study.judging import BASE_ARM

# Test items of the shipped tasks, which their YAML does not say; a test counts them.
SIZES: Mapping[str, int] = {
    "mmlu": 14_042,
    "bbh": 6_511,
    "bbh_instructeval": 6_430,
    "humaneval": 164,
    "drop": 9_536,
    "drop_instructeval": 6_285,
    "pocket_mmlu": 210,
    "pocket_bbh": 210,
    "pocket_humaneval": 165,
    "pocket_drop": 200,
}


class Origin(enum.StrEnum):
    """Where a number comes from."""

    RUN = "a finished run"
    SHIPPED = "the shipped task"
    GIVEN = "--items"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumed:
    """What is assumed where no run of the study has measured it, and by how much that is replaced.

    Attributes:
        changed: share of the items that two runs answer differently; None = as measured, else compare's.
        seed_sd: standard deviation of one run's mean score, a fraction; None = as measured, else compare's.
    """

    changed: float | None = None
    seed_sd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What a study could see on one task; effects are fractions.

    Attributes:
        items: test items; None where that is not known.
        origin: where that number comes from.
        measured: whether the variances are those of a finished run.
        seeds: training seeds per arm.
        changed, seed_sd: what was assumed or measured.
        smallest: smallest true gap called with 80 % power; None where the items are not known, or none is.
        margin: largest gap that counts as none.
        seeds_needed: seeds with which a gap as large as the margin is called; None where no number of them does.
    """

    task: str
    items: int | None
    origin: Origin
    measured: bool
    seeds: int
    margin: float
    changed: float | None = None
    seed_sd: float | None = None
    smallest: float | None = None
    seeds_needed: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """A gap of a finished run, and the limit on items that this run had."""

    gap: Gap
    limit: int


def outlook(
    name: str,
    *,
    seeds: int | None = None,
    items: int | None = None,
    limit: int | None = None,
    results: Path = Path("results"),
    assumed: Assumed | None = None,
) -> tuple[Study, list[Outlook]]:
    """Return a study and what it could see on each of its tasks under each of its profiles.

    Args:
        name: shipped study or path of a TOML file.
        seeds: training seeds per arm; None = the study's.
        items: test items of every task; None = as a run, or the shipped task, has them.
        limit: items per task at most; None = the study's, 0 = all.
        results: where finished runs are looked for.
        assumed: in place of what is measured or usual.

    Raises:
        InputError: whatever is wrong with the study, a stored run or a number.
    """
    study, _ = load_study(name)
    given = assumed or Assumed()
    _require_numbers(seeds, items, limit, given)
    layout.require_folders(results=results, data_dir=None)
    most = study.evaluation.limit if limit is None else limit
    measured = _measured(study, results)
    safety = {task for task, info in catalog.tasks().items() if info.aspect is catalog.Aspect.SAFETY}
    found = []
    for profile in study.profiles:
        for task in study.tasks:
            if task in safety:
                continue  # read in the trade-off, without a verdict
            margin = study.verdict.margins.get(task, study.verdict.margin) / 100
            one = definition(task, profile)
            design, origin = _design(one, task, measured.get(one), items=items, most=most, assumed=given)
            own = Outlook(
                task=one,
                items=None if design is None else design.items,
                origin=origin,
                measured=one in measured,
                seeds=len(study.seeds) if seeds is None else seeds,
                margin=margin,
            )
            found.append(own if design is None else _seen(own, design, study.verdict.confidence))
    if not found:
        raise InputError(
            f"Study '{study.name}' asks safety tasks alone ({', '.join(study.tasks)}). They are read in the trade-off"
            " and have no verdict, so there is no gap to see. Give it a task that has one; `harness tasks` lists them."
        )
    return study, found


def _require_numbers(seeds: int | None, items: int | None, limit: int | None, given: Assumed) -> None:
    """Raise where an option has no sense, by itself or beside another."""
    for option, value, least in (("--seeds", seeds, 1), ("--items", items, 2), ("--limit", limit, 0)):
        if value is not None and value < least:
            raise InputError(f"{option} {value}: give {least} or more.")
    if given.changed is not None and not 0 < given.changed <= 1:
        raise InputError(f"--changed {100 * given.changed:g}: give per cent of the items, above 0 and up to 100.")
    if given.seed_sd is not None and not 0 <= given.seed_sd <= 0.5:
        raise InputError(f"--seed-sd {100 * given.seed_sd:g}: give points, from 0 to 50.")
    if items is not None and limit is not None:
        raise InputError("--items and --limit both say how many items a task has; give one of them.")


def _seen(row: Outlook, design: Design, confidence: float) -> Outlook:
    """Return the row with what a design can see."""

    def smallest(seeds: int) -> float:
        return planned(replace(design, seeds=seeds), confidence=confidence)

    own = smallest(row.seeds)
    return replace(
        row,
        changed=design.changed * design.inflation,
        seed_sd=design.seed_sd,
        smallest=own if own <= 1 else None,
        seeds_needed=_least_seeds(lambda seeds: smallest(seeds) <= row.margin),
    )


def _least_seeds(enough: Callable[[int], bool]) -> int | None:
    """Return the least number of seeds, from 2, that is enough; None where no number is."""
    low, high = 1, 2
    while not enough(high):
        if high >= MOST_SEEDS:
            return None
        low, high = high, min(MOST_SEEDS, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _design(
    name: str, task: str, known: _Known | None, *, items: int | None, most: int, assumed: Assumed
) -> tuple[Design | None, Origin]:
    """Return the design of a task at one seed, and where its number of items comes from."""
    count, origin = items, Origin.GIVEN
    size = SIZES.get(name, SIZES.get(task))
    gap = None if known is None else known.gap
    if count is None and known is not None and (known.limit == most or size is None):
        count, origin = known.gap.items, Origin.RUN
    if count is None:
        count, origin = (None, Origin.UNKNOWN) if size is None else (min(size, most or size), Origin.SHIPPED)
    if count is None:
        return None, origin
    if count < 2:
        raise InputError(f"Task '{name}' has {count} item (--limit, or 'limit' of the study): give 2 or more.")
    design = Design(items=count, seeds=1) if gap is None else _as_measured(gap, count)
    if assumed.changed is not None:
        design = replace(design, changed=assumed.changed, inflation=1.0, kurtosis=NORMAL)
    if assumed.seed_sd is not None:
        design = replace(design, seed_sd=assumed.seed_sd)
    return design, origin


def _as_measured(gap: Gap, items: int) -> Design:
    """Return the design whose variances are those that a gap was measured with, at another number of items."""
    parts = gap.components
    assert parts is not None, "only gaps with a variance are measured"
    if parts.remainder is None:
        pair, persists, sd = parts.item_total, 0.0, None
    else:
        # Of one pair of runs: what seeds average out is multiplied by their number.
        pairs = (1 if gap.paired else 2) / parts.weight
        pair = parts.item + parts.remainder * pairs
        persists = parts.item / pair if pair > 0 else 0.0
        sd = math.sqrt(parts.seed * pairs / 2)
    changed = max(pair * gap.items, 1e-9)
    assert parts.clusters is not None, "a gap that was estimated knows its clusters"
    # More items come in more clusters of the same size, fewer are taken from as many clusters as there are.
    clusters = max(2, min(items, round(parts.clusters * max(1.0, items / gap.items))))
    # Sums of fewer items hide less that only few of them change.
    peaked = kurtosis_of(parts.clusters, parts.item_degrees) - NORMAL
    design = Design(
        items=items,
        seeds=1,
        clusters=clusters,
        kurtosis=NORMAL + peaked * (gap.items / parts.clusters) / (items / clusters),
        changed=min(1.0, changed),
        inflation=max(1.0, changed),
        persists=min(1.0, persists),
    )
    return design if sd is None else replace(design, seed_sd=min(0.5, sd))


def _measured(study: Study, results: Path) -> dict[str, _Known]:
    """Return the gaps of the study's finished runs, by definition: of the run with most items, then with most seeds.

    Runs that compare with the base are left out: there is one of it, and more items change from it than between arms.
    """
    store, runs = Store(results), Runs(results)
    found: dict[str, _Known] = {}
    for run in runs.all():
        if run.study["name"] != study.name:
            continue
        result = join.again(run, runs.records(run, store.ledger))
        if BASE_ARM in (result.reference, result.treated):
            continue
        for row in result.tasks:
            gap = row.gap
            if not isinstance(gap, Gap) or gap.components is None or gap.unanimous is not None:
                continue
            before = found.get(row.task)
            if before is None or (gap.items, gap.seeds) > (before.gap.items, before.gap.seeds):
                found[row.task] = _Known(gap=gap, limit=result.limit)
    return found
