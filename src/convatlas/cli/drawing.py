"""Where a drawing goes: a file with the right ending, or a folder."""

from __future__ import annotations

from pathlib import Path

from convatlas.errors import OptionError
from convatlas.files import require_writable

__all__ = ["drawing_file"]


def drawing_file(path: Path, name: str, flag: str, suffix: str = ".svg") -> Path:
    """Return the file to draw into, before time is spent on the drawing.

    Args:
        path: The file, or a folder that gets a file called ``name``.
        name: Name of the file in a folder, without its ending.
        flag: The flag that asked for it, for the message.
        suffix: The ending that the file must have.

    Raises:
        OptionError: Another ending.
        OutputError: The folder cannot be made or written.
    """
    file = path / f"{name}{suffix}" if path.is_dir() else path
    if file.suffix.lower() != suffix:
        raise OptionError(f"{flag} expects a file that ends in {suffix}, or a folder, got {path}")
    require_writable(file)
    return file
