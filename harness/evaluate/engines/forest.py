"""Token sequences laid side by side so that a beginning they share is computed once.

Owns the layout of one forward pass: which tokens are new, at which positions, and which earlier tokens each may see.
Knows no model and no texts. Invariant: a token sees the tokens before it in its own sequence and no others, so what a
model computes for a sequence does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """New tokens of sorted sequences behind tokens that are already in the cache.

    Attributes:
        cached: length of the chain of tokens in the cache that the first sequence begins with.
        ids, positions: of the new tokens, shape (n,).
        paths: per sequence, the places of its tokens in cache and new tokens together, in order.
        begins, shared: per sequence, where its own new tokens begin, and how many tokens of its path lie before them.
    """

    cached: int
    ids: Ids
    positions: Ids
    paths: list[Ids]
    begins: list[int]
    shared: list[int]

    @property
    def is_chain(self) -> bool:
        """Whether all new tokens follow one another, so that an ordinary causal mask is right."""
        return all(begin == shared for begin, shared in zip(self.begins, self.shared, strict=True))

    def mask(self, begin: int, end: int) -> NDArray[np.bool_]:
        """Return what the new tokens from `begin` to `end` see: shape (end - begin, cached + end)."""
        seen = np.zeros((end - begin, self.cached + end), dtype=np.bool_)
        stops = [*self.begins[1:], self.cached + len(self.ids)]
        for path, first, last, shared in zip(self.paths, self.begins, stops, self.shared, strict=True):
            low, high = max(first, self.cached + begin), min(last, self.cached + end)
            if low >= high:
                continue
            rows = slice(low - self.cached - begin, high - self.cached - begin)
            seen[rows, path[:shared]] = True
            own = np.arange(first, high)
            seen[rows, first:high] = own[None, :] <= np.arange(low, high)[:, None]
        return seen


def shared_length(one: Ids, other: Ids) -> int:
    """Return the number of tokens that two sequences begin with in common."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length


def order(ids: Ids) -> bytes:
    """Return a sort key under which sequences that begin alike stand together."""
    return ids.astype(">u4").tobytes()


def pack(cache: Ids, sequences: Sequence[Ids]) -> Packed:
    """Lay out sorted sequences; `cache` holds a chain of tokens that the first one begins with.

    Equal sequences take no new tokens.
    """
    cached = len(cache)
    assert shared_length(cache, sequences[0]) == cached, "crop the cache to what the first sequence shares"
    paths: list[Ids] = []
    fresh, positions, begins, shares = [], [], [], []
    total, path, before = cached, np.arange(cached), cache
    for sequence in sequences:
        shared = shared_length(before, sequence)
        count = len(sequence) - shared
        path = np.concatenate([path[:shared], np.arange(total, total + count)])
        fresh.append(sequence[shared:])
        positions.append(np.arange(shared, len(sequence)))
        paths.append(path)
        begins.append(total)
        shares.append(shared)
        total, before = total + count, sequence
    return Packed(
        cached=cached,
        ids=np.concatenate(fresh),
        positions=np.concatenate(positions),
        paths=paths,
        begins=begins,
        shared=shares,
    )
