"""Progress bars on stderr with rich; silent where stderr is not a terminal.

Owns drawing only. Invariant: closing the display leaves the terminal as it was, also after an error.
"""

from __future__ import annotations

import sys
import threading
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Bars:
    """The running bars of one command; use as a context."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._live = self.console.is_terminal and sys.stderr.isatty()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self.console,
            transient=True,
            disable=not self._live,
        )
        self._lock = threading.Lock()

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def bar(self, title: str) -> _Bar:
        """Open a bar."""
        with self._lock:
            return _Bar(self._progress, self._progress.add_task(title, total=None, note=""))

    def note(self, text: str, *, wrap: bool = True) -> None:
        """Print one line that stays above the bars; without `wrap` a path in it can be copied as it stands."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=not wrap)


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def update(self, done: int, total: int, note: str = "") -> None:
        self._progress.update(self._task, completed=done, total=total, note=note)

    def close(self) -> None:
        self._progress.remove_task(self._task)
