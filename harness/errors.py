"""Errors that a user can act on, and the nearest-name suggestion they carry.

Owns the exception types that the command line turns into one message and an exit code. Does not
print. Invariant: an `InputError` always says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """Base of the errors that are shown without a traceback."""

    exit_code = 1


class InputError(HarnessError):
    """Bad input or usage: exit code 2, nothing half-written."""

    exit_code = 2


class MissingPackageError(InputError):
    """A package that this stage needs is not installed; the message names the extra that brings it."""


class WorkerError(HarnessError):
    """A worker process (training or inference) died; the message carries the tail of its log."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the closest known name, or lists what there is.

    The sentence starts with a space, so it can follow a message directly; empty when nothing is known.
    """
    options = sorted(set(known))
    if not options:
        return ""
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(options)}."
