"""How long do 10,000 crossed bootstrap resamples take, beside evalsig's plain paired bootstrap of one pair?

    pip install --target /tmp/evalsig --no-deps evalsig==0.1.2
    OMP_NUM_THREADS=1 python benchmarks/bootstrap.py --evalsig /tmp/evalsig

Ours: 5 seeds x 14,042 items x 2 arms, runs and items drawn anew. evalsig: one run of each arm, items drawn anew. Both
10,000 resamples, in turn, five times; the ratio is that of the medians, of the time on the clock and of the processor.
0/1 scores, as MMLU has them; --partial takes partial credit, for which there is no shortcut. Target: 20 times faster.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.compare.bootstrap import crossed
from harness.randomness import rng

SEEDS, ITEMS, RESAMPLES = 5, 14042, 10_000


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds on the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def main() -> int:
    """Time both in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evalsig", type=Path, required=True, help="folder that holds the package evalsig 0.1.2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--partial", action="store_true", help="scores with partial credit")
    options = parser.parse_args()
    sys.path.insert(0, str(options.evalsig))
    from evalsig.inference.paired import paired_bootstrap_ci  # type: ignore[import-not-found]

    g = rng(0, "benchmark of the bootstrap")
    solved = 1 / (1 + np.exp(-g.normal(0, 3.5, ITEMS)))
    arms = [(g.random((SEEDS, ITEMS)) < solved).astype(np.float64) for _ in range(2)]
    if options.partial:
        arms = [np.where(arm > 0, g.random(arm.shape), 0.0) for arm in arms]
    ours, theirs, memory = [], [], 0.0
    for _ in range(options.rounds):
        ours.append(timed(lambda: crossed(arms[0], arms[1], seed=0, resamples=RESAMPLES)))
        memory = memory or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        theirs.append(timed(lambda: paired_bootstrap_ci(arms[0][0], arms[1][0], n_resamples=RESAMPLES)))
        print(f"ours {ours[-1][0]:.3f} s, evalsig {theirs[-1][0]:.3f} s", file=sys.stderr)
    for name, place in (("on the clock", 0), ("of the processor", 1)):
        mine, other = (statistics.median(each[place] for each in times) for times in (ours, theirs))
        print(f"{name}: ours {mine:.3f} s, evalsig {other:.3f} s: {other / mine:.1f} times faster")
    print(f"memory of the process after ours: {memory:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
