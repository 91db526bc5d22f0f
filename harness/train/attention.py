"""Which attention implementation a run uses, and xformers' one for transformers' registry.

Owns the choice (xformers on CUDA when installed, SDPA otherwise) and the adapter. Invariant: the
choice is returned, so that the record can name it; nothing falls back silently.
"""

from __future__ import annotations

import importlib.util
from typing import Any


def choose(*, cuda: bool) -> str:
    """Return the name to pass as `attn_implementation`, after registering it where needed."""
    if cuda and importlib.util.find_spec("xformers") is not None:
        register_xformers()
        return "xformers"
    return "sdpa"


def register_xformers() -> None:
    """Register xformers' memory-efficient attention and, just as needed, its mask.

    transformers hands a custom attention no mask at all unless a mask function is registered under the
    same name; left-padded prompts are then silently wrong.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register("xformers", memory_efficient)
    AttentionMaskInterface.register("xformers", sdpa_mask)


def memory_efficient(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Any, None]:
    """Attend with xformers.

    Args:
        query: (batch, heads, tokens, width); key and value may have fewer heads (grouped queries).
        attention_mask: None for plain causal attention, or a boolean or additive mask that broadcasts
            to (batch, heads, tokens, keys).

    Returns:
        (batch, tokens, heads, width), and None for the attention weights.
    """
    import torch
    from xformers.ops import LowerTriangularMask, memory_efficient_attention

    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    bias: Any
    if attention_mask is None:
        bias = LowerTriangularMask() if query.shape[2] > 1 else None
    else:
        if attention_mask.dtype == torch.bool:
            additive = torch.zeros_like(attention_mask, dtype=query.dtype)
            attention_mask = additive.masked_fill(~attention_mask, torch.finfo(query.dtype).min)
        keys = key.shape[2]
        shape = (*query.shape[:2], query.shape[2], keys)
        # The kernels want rows that are aligned to 8 elements.
        padded = torch.zeros((*shape[:3], -(-keys // 8) * 8), dtype=query.dtype, device=query.device)
        padded[..., :keys] = attention_mask[..., :keys].expand(shape)
        bias = padded[..., :keys]
    output = memory_efficient_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_bias=bias, p=dropout, scale=scaling
    )
    return output, None
