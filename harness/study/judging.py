"""How a study is judged: which gap counts as none, which task it rests on, and which controls stand beside it.

Owns the sections [verdict] and [controls] of a study file, and the names of arms that no variant may have. Judges
nothing (see `harness.compare`). Invariant: nothing of [verdict] enters a key, and [controls] only through the stages
that it adds.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.study.strict import Fraction, Strict

BASE_ARM, AGAIN_ARM, SHUFFLED_ARM = "base", "again", "shuffled"
RESERVED = {
    BASE_ARM: "the untrained arm",
    AGAIN_ARM: "the control of the same data under other seeds",
    SHUFFLED_ARM: "the control of shuffled answers",
}
"""Names of arms that are no variants of the study file, and what they are."""

Points = Annotated[float, Field(gt=0.0, le=100.0)]


class Rule(Strict):
    """The section [verdict]: what has to be written down before the scores are known.

    Attributes:
        margin: the largest gap that counts as none, percentage points.
        margins: other margins, by task.
        primary: the task that the study rests on; it is tested by itself, the others are corrected for their number.
        confidence: of every interval and verdict.
    """

    margin: Points = 1.0
    margins: dict[str, Points] = Field(default_factory=dict)
    primary: str | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95


class Controls(Strict):
    """The section [controls]: arms that show what the study itself can and cannot tell.

    Attributes:
        same_data: train the reference's data again under other seeds; a difference there is luck.
        shuffled: share of the reference's chats that get answers to other questions in an arm of its own; a difference
            there has to be seen. 0 = no such arm.
    """

    same_data: bool = True
    shuffled: Fraction = 0.0
