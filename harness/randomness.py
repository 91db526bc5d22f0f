"""Randomness that belongs to a place, not to a moment.

Every random draw comes from a generator derived from (seed, stage, item), so adding, removing or
reordering other items never changes it. No global generator, none shared between threads.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def keyed_hash(seed: int, *names: str) -> int:
    """Return a 64-bit integer that depends on the seed and all names, and on nothing else."""
    text = "\x1f".join([str(seed), *names])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def rng(seed: int, *names: str) -> np.random.Generator:
    """Return a numpy generator for one place, for example `rng(0, "variant", chat_id)`."""
    import numpy as np

    return np.random.default_rng(keyed_hash(seed, *names))
