"""The two streams: results go to stdout, everything else to stderr.

Owns the console for results, the form of JSON on stdout, and what is asked of stdout and of output files before any
work. Invariant: nothing but a result reaches stdout.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.cli.screen import Screen
from harness.errors import InputError


def console() -> Screen:
    """Return the console for results: 80 columns wherever the width is unknown."""
    if sys.stdout.isatty():
        return Screen()
    columns = os.environ.get("COLUMNS", "")
    return Screen(width=int(columns) if columns.isdecimal() and int(columns) else 80)


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a result as one JSON document.

    Raises:
        ValueError: a number in it is not finite, which JSON cannot say; nothing is printed.
    """
    sys.stdout.write(json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what libraries print on stdout, also from C, to stderr: stdout is for the result alone."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


def require_file(option: str, path: Path) -> None:
    """Refuse a path at which no file can be written, before any work.

    Raises:
        InputError: it is a folder or no plain file, or what should be its folder is a file.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{option} {path} is no file that can be replaced; give the path of a file.")
    above = next(folder for folder in path.resolve().parents if folder.exists())
    if not above.is_dir():
        raise InputError(f"{option} {path}: {above} is a file; give a file in a folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(
            f"{option} {path}: nothing can be written to {above}. Give a file in a folder that can be written."
        )
