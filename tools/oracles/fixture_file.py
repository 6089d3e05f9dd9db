"""Write a fixture: JSON with one list item per line, replaced in one step.

It knows nothing about networks.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

LINE = 100


def encode(fixture: dict[str, Any]) -> str:
    """Return a fixture as JSON, one key per line and long lists one item per line."""
    fields = [f"{json.dumps(key)}: {_value(value)}" for key, value in fixture.items()]
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _value(value: Any) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, list) or len(line) <= LINE:
        return line
    return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in value) + "\n]"


def write(path: Path, text: str) -> None:
    """Write a file under a temporary name and move it to its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
