"""Objects: folders of bytes under the digest of their content.

Owns where artifacts live and that they are what their name says. Does not know what they mean.
Invariant: an object's folder appears in one rename after its digest is known; `get` re-hashes it and
moves a damaged one aside, so that it is made again instead of being believed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import InputError
from harness.store.files import tree_digest, tree_files
from harness.store.ledger import Ledger


class Objects:
    """A folder of content-addressed folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._verified: set[str] = set()

    def path(self, object_digest: str) -> Path:
        """Return where the object of a digest is, or would be."""
        return self.root / object_digest[:2] / object_digest[:32]

    def put(self, folder: Path) -> str:
        """Move a finished folder into the store; return its digest."""
        object_digest = tree_digest(folder)
        target = self.path(object_digest)
        if self.get(object_digest) is not None:
            shutil.rmtree(folder)
            return object_digest
        for path in tree_files(folder):
            path.chmod(0o644)
            with path.open("rb") as file:
                os.fsync(file.fileno())
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
        self._verified.add(object_digest)
        return object_digest

    def get(self, object_digest: str) -> Path | None:
        """Return the folder of an object after checking its bytes once per process; None if absent or damaged."""
        path = self.path(object_digest)
        if not path.is_dir():
            return None
        if object_digest not in self._verified:
            if tree_digest(path) != object_digest:
                path.rename(path.with_name(f"{path.name}.damaged-{os.getpid()}"))
                return None
            self._verified.add(object_digest)
        return path


class Store:
    """A results folder: ledger/ (facts, committed), objects/ and work/ (ignored)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ledger = Ledger(root / "ledger")
        self.objects = Objects(root / "objects")

    @contextmanager
    def workspace(self, key: str) -> Iterator[Path]:
        """Yield the resumable work folder of a stage, held by this process alone.

        The folder survives a kill, so a stage can continue from what it finds there.

        Raises:
            InputError: when another process is computing the same stage.
        """
        folder = self.root / "work" / key[:32]
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder.parent / f"{key[:32]}.lock"
        with lock.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"Another process is computing this stage in {self.root}. Wait for it, or give another --results."
                ) from None
            yield folder
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
