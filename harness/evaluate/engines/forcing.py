"""Scoring a given continuation by making vLLM generate it.

Owns the logits processor that leaves a request no other token than the next one of its continuation; the reported
log-probabilities are those before it. So the continuations of one question share the computed context, which scoring
whole prompts does not allow. Invariant: requests without a continuation are not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

FORCED = "harness_continuation"


class Forcing(AdapterLogitsProcessor):  # type: ignore[misc]  # vllm has no types
    """Leaves one token where a request has a continuation."""

    def is_argmax_invariant(self) -> bool:
        """It changes the likeliest token."""
        return False

    def new_req_logits_processor(self, params: Any) -> Callable[[list[int], Any], Any] | None:
        """Return the processor of a request, None for one without a continuation."""
        wanted = (params.extra_args or {}).get(FORCED)
        if wanted is None:
            return None

        def force(generated: list[int], logits: Any) -> Any:
            token = wanted[min(len(generated), len(wanted) - 1)]
            kept = logits[token].clone()
            logits.fill_(float("-inf"))
            logits[token] = kept
            return logits

        return force
