"""Names of the shipped filter packs by their digests.

Owns the one look-up. Invariant: a pack that was edited has another digest, so no name is given to other rules.
"""

from __future__ import annotations

import functools
from typing import Any

from harness import fingerprints, layout


def pack_named(digest: Any) -> str | None:
    """Return the name of the shipped pack of a digest, as keys hold it; None where no pack here has it."""
    return _packs().get(str(digest))


@functools.cache
def _packs() -> dict[str, str]:
    return {fingerprints.filter_pack(name): name for name in layout.names("training", "filters")}
