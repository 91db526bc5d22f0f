"""Where a generated text ends.

Owns stop strings. Pure. Invariant: the text before the stop and the stop are a beginning of what was generated.
"""

from __future__ import annotations

from collections.abc import Iterable


def cut(text: str, until: Iterable[str]) -> tuple[str, str]:
    """Return the text before the stop string that was complete first, and that stop string.

    The whole text and "" where there is none; empty stop strings do not count. The first to be complete, not the first
    to begin: whoever stops at once and whoever generates on and cuts later must get the same text. Where two end
    together, the one that began first counts.
    """
    found = [(text.find(stop) + len(stop), text.find(stop), stop) for stop in until if stop and stop in text]
    if not found:
        return text, ""
    _, begin, stop = min(found)
    return text[:begin], stop
