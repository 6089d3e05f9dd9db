"""The page on what can go wrong quotes messages; each must stand in the sources."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "troubleshooting.md"
FIRST_CELL = re.compile(r"^\| `([^`]*)`", re.MULTILINE)


def _template(node):
    """Return a text of the sources; what is put in where it is used reads …."""
    parts = (getattr(part, "value", None) for part in getattr(node, "values", [node]))
    return "".join(part if isinstance(part, str) else "…" for part in parts)


@pytest.fixture(scope="module")
def templates():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "src").rglob("*.py")]
    nodes = (node for tree in trees for node in ast.walk(tree))
    return "\n".join(_template(n) for n in nodes if isinstance(n, ast.JoinedStr | ast.Constant))


@pytest.mark.parametrize("message", FIRST_CELL.findall(PAGE.read_text(encoding="utf-8")))
def test_a_message_on_the_page_is_ours(message, templates):
    assert len(message.replace("…", "")) > 8, "too little to be told from others"
    pattern = ".*?".join(re.escape(part) for part in message.split("…"))
    assert re.search(pattern, templates), message
