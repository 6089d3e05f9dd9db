"""What was found in large tar shards, kept in the user's cache, so that it is found only once.

An entry holds for a path, a size and a time of change. It is a convenience: one that is missing,
damaged or cannot be written costs nothing but the time to look again. It knows no tar.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from convatlas.errors import OutputError
from convatlas.fetch import cache_folder
from convatlas.files import write_text

__all__ = ["remembered"]

_VERSION = 1  # of what rows mean
_FEWEST = 1000  # rows; fewer are found again as fast


def remembered(path: Path, find: Callable[[], Sequence[Sequence[Any]]]) -> Sequence[Sequence[Any]]:
    """Return the rows that ``find`` gives for the file at ``path``, or gave while it was the same.

    Args:
        path: The file.
        find: Returns rows of JSON values.

    Raises:
        OSError: There is no such file.
    """
    entry = cache_folder() / "shards" / f"{sha256(str(path.resolve()).encode()).hexdigest()}.json"
    found = path.stat()  # before it is read: what changes meanwhile is looked at again
    state = [_VERSION, found.st_size, found.st_mtime_ns]
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(entry.read_bytes())
        if known["state"] == state:
            return list(known["rows"])
    rows = find()
    if len(rows) >= _FEWEST:
        with suppress(OutputError):
            write_text(entry, json.dumps({"state": state, "rows": rows}, separators=(",", ":")))
    return rows
