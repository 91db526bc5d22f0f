"""What does a change of the fine-tuning data really do to a model?

The package is imported by every command, so importing it imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.frames import Frames

__version__ = "0.1.0"


def load(results: str | Path = "results") -> Frames:
    """Return what a folder of results holds as pandas tables: `.runs`, `.items`, `.scores`, `.gaps`, `.arms`, ...

    Raises:
        InputError: no such folder.
    """
    from harness.report.frames import Frames

    return Frames(results)
