"""Files that are there completely or not at all. It knows nothing of what is in them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from errno import EDQUOT, EFBIG, EISDIR, ENAMETOOLONG, ENOSPC
from pathlib import Path
from typing import Any

from convatlas.errors import OutputError

__all__ = [
    "make_folder",
    "remove_file",
    "remove_staged",
    "replace_file",
    "require_writable",
    "stage_file",
    "write_file",
    "write_json",
    "write_text",
]

_STAGED = re.compile(r"\..+\.\d+\.tmp")
_REMEDIES = {
    **dict.fromkeys((ENOSPC, EDQUOT, EFBIG), "free some space or choose another disk"),
    ENAMETOOLONG: "choose a shorter name",
}


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` aside, flush it to the disk, and rename it to ``path``.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    staged = stage_file(path, lambda file: file.write_bytes(content))
    try:
        replace_file(staged, path)
    except BaseException:  # Ctrl-C too
        _drop(staged)
        raise


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 like :func:`write_file`.

    A file name with foreign bytes holds surrogates, which UTF-8 cannot carry: they are escaped, in
    a way that JSON reads back.
    """
    write_file(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON like :func:`write_file`."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def require_writable(path: Path) -> None:
    """Make the folder of ``path`` and try it, before time is spent on the content.

    Raises:
        OutputError: The folder cannot be made or written, or ``path`` is a folder itself.
    """
    if path.is_dir():
        raise _cannot_write(path, IsADirectoryError(EISDIR, os.strerror(EISDIR)))
    stage_file(path, lambda file: file.touch()).unlink()


def make_folder(path: Path) -> bool:
    """Make the folder, and those above it; return False if something of its name is there.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    except OSError as error:
        raise _cannot_write(path, error) from error
    return True


def stage_file(path: Path, fill: Callable[[Path], object]) -> Path:
    """Let ``fill`` write a temporary file beside ``path``, flush it to the disk, and return it.

    Whatever ``fill`` raises, nothing is left behind.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    staged = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(staged)
        with staged.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException as error:  # Ctrl-C too
        _drop(staged)
        if isinstance(error, OSError):
            raise _cannot_write(path, error) from error
        raise
    return staged


def replace_file(staged: Path, path: Path) -> None:
    """Rename a staged file to ``path``, replacing what was there, and flush the folder.

    Raises:
        OutputError: It cannot be renamed.
    """
    try:
        os.replace(staged, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


def remove_file(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        OutputError: It cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def remove_staged(folder: Path) -> None:
    """Remove what processes that were killed had staged in ``folder``; no other may write there."""
    for staged in folder.glob(".*.tmp"):
        if _STAGED.fullmatch(staged.name):
            _drop(staged)


def _drop(staged: Path) -> None:
    """Remove a staged file, if it is there and the file system lets anything be removed."""
    with suppress(OSError):
        staged.unlink()


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder, without which a power cut may undo a rename."""
    if os.name == "nt":  # a folder cannot be opened there, and renames are written through
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "choose a folder that can be written")
    return OutputError(f"cannot write {path}: {reason}; {remedy}")
