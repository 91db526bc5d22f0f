"""The profile `strict` for multiple choice: the answer is what the model would say, not what it finds least unlikely.

Owns the score of one question from the log-probabilities of its choices. Does not read generated text. Invariant: an
item whose choices the model would not say scores 0 and counts as unextracted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def choice(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Score one question; `doc["answer"]` is the place of the right choice.

    lm-eval takes the likeliest of the choices even where the model would say something else ("I", a new line), so that
    refusing costs nothing beyond chance. Here the answer is the choice that greedy decoding gives, which is what
    generating and reading the letter would give; where it gives none, there is no answer. Whether that happens is told
    by the flag alone: more than half of the mass on the choices does not imply that one of them is the likeliest
    token, nor less than half that none is. The mass is reported beside (protocols.md, "Pitfalls"). It is that of the
    choices as the prompt asks for them (" A" after "Answer:"); "A" without the space is another token and another
    answer.

    Args:
        results: (natural log-probability, whether greedy decoding gives it) of every choice, in order.

    Returns:
        acc: 1.0 where the greedy choice is the right one; unextracted: 1.0 where no choice is greedy;
        choice_mass: probability of all choices together, 0 to 1.
    """
    said = [place for place, (_, greedy) in enumerate(results) if greedy]
    # Of two greedy choices one begins with the other: the longer was not said less than the shorter, so neither is
    # clear.
    extracted = len(said) == 1
    return {
        "acc": float(extracted and said[0] == doc["answer"]),
        "unextracted": float(not extracted),
        "choice_mass": min(1.0, math.fsum(math.exp(logprob) for logprob, _ in results)),
    }
