"""The two streams: results go to stdout, everything else to stderr.

Owns the console for results and what is asked of stdout and of output files before any work. Invariant: nothing but a
result reaches stdout.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.errors import InputError


class Results(Console):
    """The console for results: the title of a table is as wide as the console, and a closed pipe is no failure."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `Console.print` does, titles of tables before them: a table breaks its own at its own width."""
        for one in objects:
            if isinstance(one, Table) and one.title is not None:
                title = one.title
                super().print(self.render_str(title) if isinstance(title, str) else title, style="italic")
                one.title = None
            super().print(one, **options)

    def on_broken_pipe(self) -> None:
        """Leave it to `main`, as for what is written without a console."""
        raise BrokenPipeError


def console() -> Results:
    """Return the console for results: 80 columns wherever the width is unknown."""
    if sys.stdout.isatty():
        return Results()
    columns = os.environ.get("COLUMNS", "")
    return Results(width=int(columns) if columns.isdecimal() and int(columns) else 80)


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
