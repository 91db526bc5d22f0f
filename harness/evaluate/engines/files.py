"""What tells an engine that a model folder is not the one that it has taken.

Owns which files that depends on. Loads nothing. Invariant: other weights, or other ways to split and to end texts,
never pass for those that an engine has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.evaluate.checkpoint import TOKENIZER
from harness.store.files import sha256_of


def stamp(folder: str) -> list[Any]:
    """Return what changes when other files come to lie in a folder."""
    found = sorted(path for path in Path(folder).iterdir() if path.is_file())
    return [folder, *((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found)]


def about_texts(folder: str) -> dict[str, str]:
    """Return the digests of the files that say how texts are split and where they end."""
    found = [Path(folder) / name for name in ("generation_config.json", *TOKENIZER)]
    found += sorted(Path(folder).glob("chat_template*"))
    return {path.name: sha256_of(path) for path in found if path.is_file()}
