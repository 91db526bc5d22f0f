"""The embedded study `pocket`: a small world that is generated, learnt and examined within minutes.

Owns everything the study needs that others would download: pretraining text, a tokenizer, an untrained
base model, raw chats and task items. Does not train, filter or evaluate. Invariant: everything is a
function of its arguments and of `VERSION`; importing this module imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.data.pocket.world import VERSION
from harness.nouns import Chat

__all__ = ["VERSION", "build_base", "chats", "documents", "items", "prompts"]


def chats(seed: int, count: int) -> Iterator[Chat]:
    """Yield `count` raw, uncleaned chats; about a third carry aligned answers, a few per cent are broken."""
    from harness.data.pocket.conversations import chats as draw

    return draw(seed, count)


def documents(seed: int, count: int) -> Iterator[str]:
    """Yield `count` pretraining rows of just under 256 tokens each; the trainer adds the end token."""
    from harness.data.pocket.pretraining import documents as draw

    return draw(seed, count)


def build_base(directory: Path, settings: Mapping[str, Any]) -> None:
    """Write an untrained model folder; see `harness.data.pocket.model.DEFAULTS` for the settings."""
    from harness.data.pocket.model import build_base as build

    build(directory, settings)


def items(family: str, split: str) -> list[dict[str, Any]]:
    """Return the items of a family ("pocket_mmlu", ...) in a split ("test" or "dev")."""
    from harness.data.pocket.families import rows

    return rows(family, split)


def prompts(kind: str) -> list[dict[str, str]]:
    """Return the prompts of a safety set ("harmful" or "safe"); see `harness.data.pocket.safety`."""
    from harness.data.pocket.safety import rows

    return rows(kind)
