"""Files that are there completely or not at all. It knows nothing of what is in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from errno import EISDIR
from pathlib import Path
from typing import Any

from convatlas.errors import OutputError

__all__ = [
    "replace_file",
    "require_writable",
    "stage_file",
    "write_file",
    "write_json",
    "write_text",
]


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` aside, flush it to the disk, and rename it to ``path``.

    Raises:
        OutputError: The folder cannot be made or written.
    """
    staged = stage_file(path, lambda file: file.write_bytes(content))
    replace_file(staged, path)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 like :func:`write_file`."""
    write_file(path, text.encode("utf-8"))


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
        if staged.parent.is_dir():
            staged.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _cannot_write(path, error) from error
        raise
    return staged


def replace_file(staged: Path, path: Path) -> None:
    """Rename a staged file to ``path``, replacing what was there.

    Raises:
        OutputError: It cannot be renamed.
    """
    try:
        os.replace(staged, path)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"cannot write {path}: {reason}; choose a folder that can be written")
