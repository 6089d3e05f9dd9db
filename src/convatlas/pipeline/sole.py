"""One process at a time in a run folder, so that two do not write over each other.

The operating system holds the lock and drops it with the process, however that ends: the file that
stays behind stands in nobody's way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convatlas.errors import CheckpointError

__all__ = ["LOCK_FILE", "alone_in"]

LOCK_FILE = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of ``folder`` for as long as the block takes.

    On a file system without locks nothing happens.

    Args:
        folder: A folder that is there, of a run or a race.

    Raises:
        CheckpointError: Another process is in it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_FILE, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise CheckpointError(
            f"another process is at work in {folder}: wait for it, stop it, or choose another "
            "folder"
        ) from error
    except (NotImplementedError, OSError):
        # Some network drives lock nothing, and no run shall fail for that; a folder that cannot
        # be written is told by the first file that the run writes into it.
        pass
    try:
        yield
    finally:
        lock.release()
