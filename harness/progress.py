"""What a long piece of work may say about itself while it runs.

Owns the interface only; the command line draws it. Invariant: work never depends on whether anybody looks.
"""

from __future__ import annotations

from typing import Protocol


class Bar(Protocol):
    """One running piece of work."""

    def update(self, done: int, total: int, note: str = "") -> None:
        """Say how far it is; `note` is short, such as "loss 1.23, 850 tok/s"."""

    def close(self) -> None:
        """Say that it ended."""


class Progress(Protocol):
    """Where work announces itself."""

    def bar(self, title: str) -> Bar:
        """Open a bar for one piece of work."""

    def note(self, text: str) -> None:
        """Say one line that stays."""


class _SilentBar:
    def update(self, done: int, total: int, note: str = "") -> None:
        pass

    def close(self) -> None:
        pass


class Silent:
    """A listener who ignores everything; the default of library use."""

    def bar(self, title: str) -> Bar:
        """Return a bar that draws nothing."""
        return _SilentBar()

    def note(self, text: str) -> None:
        """Drop the line."""
