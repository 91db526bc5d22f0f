"""The tensors that a model's configuration asks for, for the architectures that are fine-tuned most.

Owns names and shapes by config.json, as transformers 5.19 builds them. Reads no weights. Invariant: what it does not
know for certain it does not claim: an unknown architecture, or a quantized one, has no expectations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]
#: Buffers that older transformers versions saved beside the weights; every engine leaves them aside.
IGNORED = re.compile(r"(rotary_emb\.inv_freq|attn\.(masked_)?bias)$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """Tensors that must be there, and tensors that may be (a head that is tied to the embeddings)."""

    needed: dict[str, Shape]
    allowed: dict[str, Shape]


# model_type: (tied by default, head_dim by default, q/k/v bias, o bias, mlp bias, norms of q and k, norms after); a
# string names the setting that decides.
_LLAMA_LIKE: dict[str, tuple[bool, int | None, Any, Any, Any, bool, bool]] = {
    "llama": (False, None, "attention_bias", "attention_bias", "mlp_bias", False, False),
    "mistral": (False, None, False, False, False, False, False),
    "qwen2": (False, None, True, False, False, False, False),
    "qwen3": (False, 128, "attention_bias", "attention_bias", False, True, False),
    "smollm3": (True, None, "attention_bias", "attention_bias", "mlp_bias", False, False),
    "gemma": (True, 256, "attention_bias", "attention_bias", False, False, False),
    "gemma2": (True, 256, "attention_bias", "attention_bias", False, False, True),
    "gemma3_text": (True, 256, "attention_bias", "attention_bias", False, True, True),
}


def expected(config: Mapping[str, Any]) -> Expected | None:
    """Return what a configuration asks for; None where that is not known here."""
    if config.get("quantization_config"):
        return None
    try:
        if config["model_type"] == "gpt2":
            return _gpt2(config)
        return _llama_like(config) if config["model_type"] in _LLAMA_LIKE else None
    except (KeyError, TypeError):
        return None  # a number that the architecture's own default would fill


def _llama_like(config: Mapping[str, Any]) -> Expected:
    tied, head, bias, out_bias, mlp_bias, inner_norms, after = _LLAMA_LIKE[config["model_type"]]
    width, vocabulary, heads = config["hidden_size"], config["vocab_size"], config["num_attention_heads"]
    groups = heads if config["model_type"] == "llama" else 0
    groups = config.get("num_key_value_heads") or groups
    if not groups:
        raise KeyError("num_key_value_heads")
    head = config.get("head_dim") or head or width // heads
    inner, query, key = config["intermediate_size"], heads * head, groups * head

    def on(setting: Any) -> bool:
        return bool(config.get(setting, False)) if isinstance(setting, str) else bool(setting)

    linear = {
        "self_attn.q_proj": ((query, width), on(bias)),
        "self_attn.k_proj": ((key, width), on(bias)),
        "self_attn.v_proj": ((key, width), on(bias)),
        "self_attn.o_proj": ((width, query), on(out_bias)),
        "mlp.gate_proj": ((inner, width), on(mlp_bias)),
        "mlp.up_proj": ((inner, width), on(mlp_bias)),
        "mlp.down_proj": ((width, inner), on(mlp_bias)),
    }
    norms: dict[str, Shape] = {"input_layernorm": (width,), "post_attention_layernorm": (width,)}
    if after:
        norms |= {"pre_feedforward_layernorm": (width,), "post_feedforward_layernorm": (width,)}
    if inner_norms:
        norms |= {"self_attn.q_norm": (head,), "self_attn.k_norm": (head,)}
    needed: dict[str, Shape] = {"model.embed_tokens.weight": (vocabulary, width), "model.norm.weight": (width,)}
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}."
        needed |= {f"{layer}{name}.weight": shape for name, shape in norms.items()}
        for name, (shape, biased) in linear.items():
            needed[f"{layer}{name}.weight"] = shape
            if biased:
                needed[f"{layer}{name}.bias"] = shape[:1]
    return _with_head(needed, config.get("tie_word_embeddings", tied), (vocabulary, width))


def _gpt2(config: Mapping[str, Any]) -> Expected:
    width, vocabulary = config["n_embd"], config["vocab_size"]
    inner = config.get("n_inner") or 4 * width
    needed: dict[str, Shape] = {"wte.weight": (vocabulary, width), "wpe.weight": (config["n_positions"], width)}
    linear = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, inner),
        "mlp.c_proj": (inner, width),
    }
    norms = ["ln_f", *(f"h.{number}.{name}" for number in range(config["n_layer"]) for name in ("ln_1", "ln_2"))]
    for name in norms:
        needed |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    for number in range(config["n_layer"]):
        for name, shape in linear.items():
            needed |= {f"h.{number}.{name}.weight": shape, f"h.{number}.{name}.bias": shape[1:]}
    return _with_head(
        {f"transformer.{name}": shape for name, shape in needed.items()},
        config.get("tie_word_embeddings", True),
        (vocabulary, width),
    )


def _with_head(needed: dict[str, Shape], tied: bool, shape: Shape) -> Expected:
    head: dict[str, Shape] = {"lm_head.weight": shape}
    return Expected(needed=needed, allowed=head) if tied else Expected(needed=needed | head, allowed={})


def canonical(name: str, config: Mapping[str, Any]) -> str:
    """Return a tensor's full name: GPT-2's first checkpoints left the prefix out."""
    if config.get("model_type") == "gpt2" and not name.startswith(("transformer.", "lm_head.")):
        return f"transformer.{name}"
    return name
