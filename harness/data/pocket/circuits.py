"""The starting weights of the pocket model: random, but with heads that already look back and copy.

Owns the structured start. Does not see any text: every choice here is about positions and about token
identity in general, so the start knows no word and no fact. Why: all four families need heads that copy
(Olsson et al. 2022, arXiv 2209.11895); from N(0, 0.05) weights a tenth of the programs were right after 0.54
million tokens, from these all of them after 0.61 million (55 items, nearly the same text, one run each).
After the mimetic starts of
Trockman & Kolter 2023 (arXiv 2305.09828).
Invariant: equal seeds and shapes give equal weights.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: The mean that all embeddings share, in units of their spread: what a positional head reads.
SHARED = 0.5
#: Rotary pairs that a positional head uses: the fast ones tell neighbours apart.
FAST_PAIRS = 6
#: Score advantage of the wanted offset, in units of one cosine.
SHARPNESS = 6.0
EMBEDDING, MATCH, COPY, SIMILAR = 0.5, 1.5, 1.0, 0.8


def structure(model: Any, seed: int) -> None:
    """Overwrite the embeddings, the output layer and the attention of a LlamaForCausalLM in place."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    config = model.config
    width, heads, size = config.hidden_size, config.num_attention_heads, config.head_dim
    with torch.no_grad():
        table = torch.randn(config.vocab_size, width, generator=draw)
        # Equal means and norms: else a positional head's scores would vary by token more than by place.
        table -= table.mean(dim=1, keepdim=True)
        table *= math.sqrt(width) / table.norm(dim=1, keepdim=True)
        model.model.embed_tokens.weight.copy_(EMBEDDING * (table + SHARED))
        model.lm_head.weight.copy_(0.05 * table)
        basis = _orthogonal(width, draw).reshape(-1, size, width)
        for number, layer in enumerate(model.model.layers):
            attention = layer.self_attn
            own = _orthogonal(width, draw).reshape(-1, size, width)
            for head in range(heads):
                rows = slice(head * size, (head + 1) * size)
                query, key, value, out = _mimetic(own[head % len(own)], draw)
                if number == 0 and head < 2:
                    query, key = _offset(head + 1, width, size, float(config.rope_parameters["rope_theta"]))
                    value, out = basis[0], basis[head + 1].T
                elif number == 1 and head < 2:
                    query, key = MATCH * basis[0], MATCH * basis[head + 1]
                elif number == 1 and head == 2:
                    # Finds what stands one back; returns what stood two before it: a label before its text.
                    query, key, value, out = MATCH * basis[1], MATCH * basis[0], basis[2], basis[0].T
                attention.q_proj.weight[rows] = query
                attention.k_proj.weight[rows] = key
                attention.v_proj.weight[rows] = value
                attention.o_proj.weight[:, rows] = COPY * out


def _orthogonal(width: int, draw: torch.Generator) -> torch.Tensor:
    """Return a random orthogonal matrix [width, width]."""
    import torch

    basis: torch.Tensor = torch.linalg.qr(torch.randn(width, width, generator=draw))[0]
    return basis


def _mimetic(rows: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Return query, key, value [size, width] and output [width, size]: like finds and copies like."""
    import torch

    noise = torch.randn(rows.shape, generator=draw) / math.sqrt(rows.shape[1])
    key = SIMILAR * rows + math.sqrt(1 - SIMILAR**2) * noise
    return rows, key, rows, 0.3 * rows.T


def _offset(back: int, width: int, size: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return query and key [size, width] of a head that looks `back` tokens back, whatever they are.

    Both read only the shared mean; the key is turned by `back` steps of each rotary frequency, so that the
    score is the sum of cos(f * (distance - back)).
    """
    import torch

    pair = torch.arange(FAST_PAIRS)
    angle = back * theta ** (-2 * pair / size)
    read = SHARED / math.sqrt(1 + SHARED**2)
    gain = math.sqrt(SHARPNESS * math.sqrt(size)) / read / width
    query, key = torch.zeros(size, width), torch.zeros(size, width)
    query[pair] = gain
    key[pair] = gain * torch.cos(angle)[:, None]
    key[pair + size // 2] = gain * torch.sin(angle)[:, None]
    return query, key
