"""How numbers are written for people: per cent, points, intervals.

Owns formats. Computes nothing but the factor of 100. Invariant: a number that is not there is a dash or its reason.
"""

from __future__ import annotations

from harness.compare import Estimate, Gap, Incomparable


def percent(value: float) -> str:
    """Return a score of 0 to 1 in per cent."""
    return f"{100 * value:.1f}"


def estimate(value: Estimate) -> str:
    """Return a score with its interval in per cent."""
    return interval(value.mean, value.low, value.high)


def interval(value: float, low: float, high: float) -> str:
    """Return a share of 0 to 1 with its interval in per cent."""
    return f"{percent(value)} [{percent(low)}, {percent(high)}]"


def absolute(gap: Gap | Incomparable) -> str:
    """Return the absolute gap with its interval in points, or why there is none."""
    if isinstance(gap, Incomparable):
        return f"incomparable: {gap.reason.value}"
    return f"{100 * gap.absolute:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"


def relative(gap: Gap | Incomparable) -> str:
    """Return the relative gap in per cent, or a dash where the denominator is near zero."""
    if isinstance(gap, Incomparable) or gap.relative is None:
        return "-"
    return f"{100 * gap.relative:+.1f} %"


def probability(value: float | None) -> str:
    """Return a p-value to three decimals."""
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, which takes an s unless it is one: "1 item", "1,319 items"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
