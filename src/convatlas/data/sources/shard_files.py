"""Where tar shards come from: patterns of names, files, gzipped files, pipes and addresses.

Whatever is no plain file becomes a temporary one, complete, before anything is read of it.
It knows nothing of what is in a shard.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convatlas.data.decode import printable, why_unreadable
from convatlas.download import UnreachableError, download
from convatlas.errors import DataError
from convatlas.fetch import is_offline

__all__ = ["Borrower", "Shard", "bring", "expand", "folder_of", "is_plain", "is_shard_name"]

_PIPE = "pipe:"
_ADDRESSES = ("http://", "https://")
_GZIPPED = (".tar.gz", ".tgz")
_ENDINGS = (".tar", *_GZIPPED)
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
_JOINT = "::"


@dataclass(frozen=True, slots=True)
class Shard:
    """A complete tar on this disk.

    Attributes:
        name: What to call it, printable: its path, command or address.
        path: Where it lies.
        copied_by: The process that copied it there for a while, or None for a file of the user.
    """

    name: str
    path: Path
    copied_by: int | None = None

    def discard(self) -> None:
        """Remove a copy of this process; a forked worker must not take its parent's away."""
        if self.copied_by == os.getpid():
            self.path.unlink(missing_ok=True)


def is_shard_name(spec: str) -> bool:
    """Tell a pipe, or names and addresses that end like tars."""
    if spec.startswith(_PIPE):
        return True
    last = spec.split(_JOINT)[-1]
    return last.split("?")[0].lower().endswith(_ENDINGS) and not Path(spec).is_dir()


def expand(spec: str) -> list[str]:
    """Return the names that a pattern stands for.

    ``{000..003}`` counts, keeping the zeros in front; ``{a,b}`` lists; ``::`` joins patterns.

    Raises:
        DataError: A range that counts down, or braces that are neither.
    """
    names: list[str] = []
    for pattern in spec.split(_JOINT):
        names += _expand_one(pattern)
    return names


def folder_of(url: str) -> Path | None:
    """Return the folder of a shard on this disk, or None for a pipe or address."""
    return None if url.startswith((_PIPE, *_ADDRESSES)) else Path(url).expanduser().parent


def is_plain(url: str) -> bool:
    """Tell a tar on this disk, which is read where it lies, from what is copied first."""
    return folder_of(url) is not None and not url.lower().endswith(_GZIPPED)


def bring(url: str) -> Shard:
    """Return the shard behind a path, ``pipe:command`` or address, on this disk.

    Raises:
        DataError: It cannot be had; the message says why in one line.
    """
    shown = printable(url)
    if url.startswith(_PIPE):
        return _copied(shown, lambda path: _run(url.removeprefix(_PIPE), path))
    if url.startswith(_ADDRESSES):
        return _copied(shown, lambda path: _download(url, path))
    path = Path(url).expanduser()
    if not path.is_file():
        raise DataError(f"expected the shard {shown}, got no such file: correct the name")
    if path.name.lower().endswith(_GZIPPED):
        return _copied(shown, lambda copy: _unzip(path, copy))
    return Shard(shown, path)


class Borrower:
    """Gives shards for a while, and copies the one that comes next while another is read."""

    def __init__(self) -> None:
        self._coming: dict[str, Future[Shard]] = {}
        self._pool = ThreadPoolExecutor(1)
        weakref.finalize(self, _drop, self._coming)

    def expect(self, url: str) -> None:
        """Begin to copy the shard behind ``url``, and give up any other that was expected."""
        if url not in self._coming:
            _drop(self._coming)
            if not is_plain(url):
                self._coming[url] = self._pool.submit(bring, url)

    @contextmanager
    def borrowed(self, url: str) -> Iterator[Shard]:
        """Give the shard like :func:`bring`, and remove the copy, if there is one, afterwards."""
        coming = self._coming.pop(url, None)
        shard = bring(url) if coming is None else coming.result()
        try:
            yield shard
        finally:
            shard.discard()


def _drop(coming: dict[str, Future[Shard]]) -> None:
    """Remove the copies, those that are not complete yet as soon as they are."""
    for future in coming.values():
        if not future.cancel():
            future.add_done_callback(_discard)
    coming.clear()


def _discard(future: Future[Shard]) -> None:
    if future.exception() is None:
        future.result().discard()


def _expand_one(pattern: str) -> list[str]:
    if match := _RANGE.search(pattern):
        first, last = match.groups()
        if int(last) < int(first):
            raise DataError(
                f"expected a range that counts up in {printable(pattern)}, got {match.group()}: "
                "swap its ends"
            )
        width = len(first) if first.startswith("0") else 0
        items = [f"{number:0{width}}" for number in range(int(first), int(last) + 1)]
    elif match := _CHOICE.search(pattern):
        items = match.group(1).split(",")
    else:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [name for item in items for name in _expand_one(f"{head}{item}{tail}")]


def _copied(name: str, fill: Callable[[Path], None]) -> Shard:
    handle, path = tempfile.mkstemp(prefix="convatlas-", suffix=".tar")
    os.close(handle)
    shard = Shard(name, Path(path), os.getpid())
    try:
        fill(shard.path)
    except BaseException as error:
        shard.discard()
        if isinstance(error, OSError | EOFError | zlib.error | UnreachableError):
            raise DataError(
                f"expected a tar from {name}, got none because {why_unreadable(error)}: try it by "
                "itself first"
            ) from error
        raise
    return shard


def _run(command: str, path: Path) -> None:
    """Write what the user's own command prints; it is a line for the shell, as in webdataset."""
    with path.open("wb") as file:
        result = subprocess.run(  # noqa: S602  # a pipe: is a shell command by definition
            command, shell=True, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE
        )
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        raise UnreachableError(
            f"the command ended with status {result.returncode}"
            + (f" ({printable(said[-1])})" if said else "")
        )


def _download(url: str, path: Path) -> None:
    if is_offline():
        raise UnreachableError("the network is closed (CONVATLAS_OFFLINE or HF_HUB_OFFLINE)")
    download(url, path)


def _unzip(path: Path, copy: Path) -> None:
    with gzip.open(path) as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target)
