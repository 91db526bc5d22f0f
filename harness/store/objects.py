"""Objects: folders of bytes under the digest of their content.

Owns where artifacts live and that they are what their name says. Does not know what they mean.
Invariant: an object's folder appears in one rename after its digest is known; `get` re-hashes it and
moves a damaged one aside, so that it is made again instead of being believed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import InputError
from harness.store.files import tree_digest, tree_files
from harness.store.ledger import Ledger

# Seconds that a stage is waited for which another process computes; writing down stored answers takes fewer.
PATIENCE = 20.0


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
        try:
            folder.rename(target)
        except OSError:
            # Another thread or process may have put the same bytes in the meantime.
            if self.get(object_digest) is None:
                raise
            shutil.rmtree(folder)
        self._verified.add(object_digest)
        return object_digest

    def get(self, object_digest: str) -> Path | None:
        """Return the folder of an object after checking its bytes once per process; None if absent or damaged."""
        path = self.path(object_digest)
        if not path.is_dir():
            return None
        if object_digest not in self._verified:
            try:
                whole = tree_digest(path) == object_digest
            except FileNotFoundError:
                return None  # set aside by another process while it was read
            if not whole:
                _set_aside(path)
                return None
            self._verified.add(object_digest)
        return path


def _set_aside(path: Path) -> None:
    """Move a damaged object out of the way; where nothing may be written it stays, and is not believed either."""
    try:
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{path.name}.damaged-"))
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return
    try:
        path.rename(aside)
    except FileNotFoundError:
        aside.rmdir()  # another process was faster


class Store:
    """A results folder: ledger/ (facts, committed), objects/ and work/ (ignored)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ledger = Ledger(root / "ledger")
        self.objects = Objects(root / "objects")

    @contextmanager
    def workspace(self, key: str) -> Iterator[Path]:
        """Yield the resumable work folder of a stage, held by this process alone.

        Two processes that asked a checkpoint together come to the stage that writes its answers down at the same time:
        a folder that another one holds is waited for a while.

        The folder survives a kill and an error, so a stage can continue from what it finds there; one in which
        nothing was written does not.

        Raises:
            InputError: when another process is computing the same stage, and goes on with it for `PATIENCE` seconds.
        """
        folder = self.root / "work" / key[:32]
        finished = folder.with_suffix(".finished")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with self._held(folder.with_suffix(".lock")):
            shutil.rmtree(finished, ignore_errors=True)
            folder.mkdir(exist_ok=True)
            try:
                yield folder
            except BaseException:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                raise
            # First away in one step: what a kill leaves of a folder that is being removed is nothing to resume from.
            with contextlib.suppress(FileNotFoundError):
                folder.rename(finished)
            shutil.rmtree(finished, ignore_errors=True)

    @contextmanager
    def _held(self, lock: Path) -> Iterator[None]:
        """Hold a lock file that is removed at the end, also when it was removed between its opening and its locking."""
        until = time.monotonic() + PATIENCE
        while True:
            with lock.open("w") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() < until:
                        time.sleep(0.05)
                        continue
                    raise InputError(
                        f"Another process is computing this stage in {self.root}. Wait for it, or give another"
                        " --results."
                    ) from None
                if not _is_at(lock, handle.fileno()):
                    continue
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
