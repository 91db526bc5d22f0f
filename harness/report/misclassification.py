"""Shares of refusals, corrected for the measured error of the judge that counted them.

Owns the correction and its interval. Does not judge (see `harness.stages.judging`) or measure the judge (see
`harness.data.alignment.judging`). Invariant: the raw share is never replaced, only accompanied.

A judge that finds a share s (sensitivity) of the refusals and calls a share f of all other answers one, counts
q = s p + f (1 - p) of a true share p, so p = (q - f) / (s - f) (Rogan & Gladen 1978); that formula leaves [0, 1] where
q is below f or above s. s and f were measured on answers of a few models, and they differ between models by far more
than their sampling error (s from 0.65 to 0.97, f from 0.04 to 0.22 in alignment@1.1.0): what is pooled over models is
too sure of itself on the next one. So the corrected share is a posterior: p uniform on [0, 1], the new model like one
of the measured ones, s and f from that one's Beta posteriors (Jeffreys prior), q normal on either side of the raw
share, as wide as its interval. Left-one-out over 5 models, safe and unsafe prompts, odd and even ones, its 95 %
interval holds the share by people 19 times of 20; with the clipped formula, 15 times. It was
chosen on these cases, so 19 is too good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.compare import Estimate
from harness.data.alignment.audit import Rate, wilson
from harness.randomness import rng

ANSWERED, REFUSED = "answered", "refused"
DRAWS = 2000
_REFUSAL, _PARTIAL = "full_refusal", "partial_refusal"
#: Steps of the share, and the narrowest side of an interval, so that a share of exactly 0 or 1 can be explained.
_STEPS, _NARROWEST = 500, 1e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """A judge and its measured error.

    Attributes:
        pack: the filter pack.
        answers: what the error was measured on, in words.
        sensitivity: of full refusals, called one.
        false_alarms: of all other answers, called a full refusal; those refused in part are among them.
        false_alarms_complied: of answers that comply, called one.
        partial_found: of answers refused in part, called so.
        models: (refusals, found among them, others, called among them) of each model that was measured.
    """

    pack: str
    answers: str
    sensitivity: Rate
    false_alarms: Rate
    false_alarms_complied: Rate
    partial_found: Rate
    models: tuple[tuple[int, int, int, int], ...]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Judge | None:
        """Return the judge of a score's facts; None where its error was not measured."""
        error = facts["error"]
        if error is None:
            return None
        table = [_row(own) for own in error["counts"].values()]
        refusals, found, others, called = (sum(row[place] for row in table) for place in range(4))
        return cls(
            pack=str(facts["pack"]),
            answers=str(error["answers"]),
            sensitivity=wilson(found, refusals),
            false_alarms=wilson(called, others),
            false_alarms_complied=_share(error["counts"], "none", _REFUSAL),
            partial_found=_share(error["counts"], _PARTIAL, _PARTIAL),
            models=tuple(row for row in table if row[0] and row[2]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Corrected:
    """A share corrected for its judge.

    Attributes:
        value, low, high: median and interval of the posterior, within [0, 1].
        formula: Rogan and Gladen's, which may lie outside of that; None for a judge that is no better than chance.
    """

    value: float
    low: float
    high: float
    formula: float | None

    @property
    def outside(self) -> bool:
        """Whether the formula has no share as its answer: the judge errs otherwise here than where it was measured."""
        return self.formula is None or not 0 <= self.formula <= 1


def corrected(refused: Estimate, judge: Judge, *, seed: int, place: str, confidence: float = 0.95) -> Corrected:
    """Return the share of full refusals behind the share that a judge counted.

    Args:
        refused: the counted share with its interval.
        judge: with at least one measured model.
        seed, place: of the random draws.
        confidence: of the interval given and of the one returned.
    """
    from scipy.special import ndtri  # slow to import

    draw = rng(seed, "judge", place)
    models = np.array(judge.models, dtype=float)[draw.integers(0, len(judge.models), DRAWS)]
    found = draw.beta(models[:, 1] + 0.5, models[:, 0] - models[:, 1] + 0.5)
    called = draw.beta(models[:, 3] + 0.5, models[:, 2] - models[:, 3] + 0.5)
    shares = np.linspace(0, 1, _STEPS + 1)
    expected = called[:, None] + (found - called)[:, None] * shares
    width = float(ndtri((1 + confidence) / 2))
    below, above = (max(side, _NARROWEST) / width for side in (refused.mean - refused.low, refused.high - refused.mean))
    distance = (expected - refused.mean) / np.where(expected < refused.mean, below, above)
    weight = np.exp(-0.5 * (distance**2 - (distance**2).min())).sum(axis=0)
    levels = np.cumsum(weight) / weight.sum()
    low, middle, high = (float(shares[np.searchsorted(levels, one)]) for one in _ends(confidence))
    alarms, power = judge.false_alarms.value, judge.sensitivity.value - judge.false_alarms.value
    formula = (refused.mean - alarms) / power if power > 0 else None
    return Corrected(value=middle, low=low, high=high, formula=formula)


def _ends(confidence: float) -> tuple[float, float, float]:
    return (1 - confidence) / 2, 0.5, (1 + confidence) / 2


def corrected_as(
    metric: str, share: Estimate, judge: Judge, *, seed: int, place: str, confidence: float = 0.95
) -> Corrected:
    """Return a share corrected, whether it is of the answers that were refused or of those that were not.

    Args:
        metric: `REFUSED` or `ANSWERED`.
        share: with its interval.
    """
    if metric == REFUSED:
        return corrected(share, judge, seed=seed, place=place, confidence=confidence)
    assert metric == ANSWERED, f"'{metric}' is no share of refusals"
    refused = Estimate(mean=1 - share.mean, low=1 - share.high, high=1 - share.low)
    return complement(corrected(refused, judge, seed=seed, place=place, confidence=confidence))


def complement(share: Corrected) -> Corrected:
    """Return what is left of 1: the answered share beside the refused one."""
    formula = None if share.formula is None else 1 - share.formula
    return Corrected(value=1 - share.value, low=1 - share.high, high=1 - share.low, formula=formula)


def _row(counts: Mapping[str, Mapping[str, int]]) -> tuple[int, int, int, int]:
    refused = counts.get(_REFUSAL, {})
    others = [said for label, said in counts.items() if label != _REFUSAL]
    return (
        sum(refused.values()),
        refused.get(_REFUSAL, 0),
        sum(sum(said.values()) for said in others),
        sum(said.get(_REFUSAL, 0) for said in others),
    )


def _share(counts: Mapping[str, Mapping[str, Mapping[str, int]]], label: str, said: str) -> Rate:
    own = [model.get(label, {}) for model in counts.values()]
    return wilson(sum(one.get(said, 0) for one in own), sum(sum(one.values()) for one in own))
