"""temporary"""
from __future__ import annotations
from typing import Any


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    spaces = len(context) - len(context.rstrip())
    if spaces:
        continuation, context = context[-spaces:] + continuation, context[:-spaces]
    options = {"add_special_tokens": False} if _starts_with_bos(tokenizer, context) else {}
    whole = tokenizer.encode(context + continuation, **options)
    count = len(tokenizer.encode(context, **options))
    return whole[:count], whole[count:]


def encode_prompt(tokenizer: Any, text: str) -> list[int]:
    return tokenizer.encode(text, **({"add_special_tokens": False} if _starts_with_bos(tokenizer, text) else {}))


def windows(tokenizer: Any, text: str, room: int) -> list[tuple[list[int], list[int]]]:
    ids = tokenizer.encode(text)
    return [([tokenizer.eos_token_id], ids)]


def _starts_with_bos(tokenizer: Any, text: str) -> bool:
    prefix = tokenizer.bos_token or tokenizer.eos_token
    return bool(prefix) and text.startswith(prefix)
