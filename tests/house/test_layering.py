"""Imports between rooms go downwards only; rooms on one row do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import convatlas

SOURCE = Path(convatlas.__file__).parent

ROWS = [
    {"errors"},
    {"files", "download"},
    {"fetch"},
    {"layers", "data"},
    {"models"},
    {"analysis"},
    {"train", "tasks", "explain"},
    {"search", "deploy", "claims"},
    {"render"},
    {"pipeline"},
    {"cli"},
]
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
TORCH_FREE = {"render", "cli"}
TOP = {SOURCE / "__init__.py", SOURCE / "__main__.py"}
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path not in TOP)


def _room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(tree, *, only_at_import):
    """Yield the dotted names that a module imports, or only those it imports when loaded."""
    pending = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
        elif only_at_import and _runs_later(node):
            continue
        pending.extend(ast.iter_child_nodes(node))


def _runs_later(node):
    """Tell a function's body, and a block for type checkers alone."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _violation(importer, imported):
    mine, theirs = ROW_OF[importer], ROW_OF[imported]
    return importer != imported and (theirs > mine or theirs == mine)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_downwards(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name in _imports(tree, only_at_import=False):
        parts = name.split(".")
        if parts[0] == "convatlas" and len(parts) > 1:
            assert not _violation(_room(path), parts[1]), f"{_room(path)} must not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_rooms_that_only_show_things_do_not_import_torch(path):
    if _room(path) not in TORCH_FREE:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    heavy = {name.split(".")[0] for name in _imports(tree, only_at_import=True)}
    assert heavy.isdisjoint({"torch", "sklearn", "onnxruntime", "plotly", "accelerate"})


def test_every_room_has_a_row():
    rooms = {_room(path) for path in MODULES}
    assert rooms == set(ROW_OF)


def test_an_upward_import_would_be_noticed():
    tree = ast.parse("def f():\n    from convatlas.cli.main import main\n")
    assert [
        _violation("models", name.split(".")[1]) for name in _imports(tree, only_at_import=False)
    ] == [True]
