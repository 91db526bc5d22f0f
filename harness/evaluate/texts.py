"""Where a generated text ends.

Owns stop strings, as lm-eval applies them. Pure. Invariant: the text before the stop and the stop are a beginning of
what was generated.
"""

from __future__ import annotations

from collections.abc import Sequence


def cut(text: str, until: Sequence[str]) -> tuple[str, str]:
    """Return the text before its first stop string, and that stop string; the whole text and "" where there is none.

    One stop string after the other, as lm-eval 0.4.13 does (models/utils.py, `postprocess_generated_text`).
    """
    found = ""
    for stop in until:
        before, hit, _ = text.partition(stop) if stop else (text, "", "")
        if hit:
            text, found = before, stop
    return text, found
