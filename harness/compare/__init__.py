"""Comparison of two arms: pair their items, then say how far apart they are and how sure that is.

Owns the public names of the comparison. Pure functions over arrays: reads no files, draws no plots, knows
no task. Invariant: nothing here sees anything above L0.
"""

from harness.compare.bootstrap import Resampled, crossed
from harness.compare.exact import McNemar, flipped, mcnemar, paired_bootstrap
from harness.compare.gap import Claim, Estimate, Gap, gap, interval
from harness.compare.pairing import Arm, Incomparable, Paired, Reason, pair
from harness.compare.power import Design, Method, planned
from harness.compare.variance import Components
from harness.compare.verdict import Judgement, Judgements, Overall, Verdict, Why, equivalence, holm, judge

__all__ = [
    "Arm",
    "Claim",
    "Components",
    "Design",
    "Estimate",
    "Gap",
    "Incomparable",
    "Judgement",
    "Judgements",
    "McNemar",
    "Method",
    "Overall",
    "Paired",
    "Reason",
    "Resampled",
    "Verdict",
    "Why",
    "crossed",
    "equivalence",
    "flipped",
    "gap",
    "holm",
    "interval",
    "judge",
    "mcnemar",
    "pair",
    "paired_bootstrap",
    "planned",
]
