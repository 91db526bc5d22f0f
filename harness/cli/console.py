"""The two streams: results go to stdout, everything else to stderr.

Owns the console for results, the form of JSON on stdout, and who else may write there. Invariant: nothing but a result
reaches stdout.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.cli.screen import Screen


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
