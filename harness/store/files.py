"""Atomic writes and digests of files and folders.

Owns the two primitives that make the store trustworthy: a file appears whole or not at all, and a
folder's digest covers every byte and every relative path. Invariant: a digest never depends on
modification times, permissions, the order of a directory listing, or `__pycache__`.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.canonical import digest


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file so that a reader (or a kill) sees the old content or the new, never a part.

    Raises:
        OSError: that names the file, also where the system names none (a full disk) or the temporary one.
    """
    try:
        _write(path, data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode("utf-8") if isinstance(data, str) else data
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """Return the sha256 hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_files(folder: Path) -> Iterator[Path]:
    """Yield the regular files below a folder, sorted by relative path, without `__pycache__`."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.relative_to(folder).parts:
            yield path


def tree_digest(folder: Path) -> str:
    """Return the digest of a folder: relative paths and file bytes."""
    entries = [[path.relative_to(folder).as_posix(), sha256_of(path)] for path in tree_files(folder)]
    return digest("tree", entries)


def files_digest(files: Mapping[str, Path]) -> str:
    """Return the digest of named files; the names, not the places, take part."""
    return digest("files", {name: sha256_of(path) for name, path in files.items()})


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as UTF-8 JSON lines with sorted keys; return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=True, sort_keys=True) + "\n")
            count += 1
    return count


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON lines file that this program wrote."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
