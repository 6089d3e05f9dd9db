"""Small rooms: short functions, few parameters, files of one idea."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import convatlas
from convatlas.models.catalogue import list_entries

SOURCE = Path(convatlas.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
FAMILIES = {
    p
    for p in (SOURCE / "models").glob("*.py")
    if "register(VARIANTS)" in p.read_text(encoding="utf-8")
}


def _limit(path):
    if path.parent.name == "layers":
        return 150
    return 300 if path in FAMILIES else 400


def _functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def _lines(function):
    """Count the lines from ``def`` to the end, without the docstring."""
    total = function.end_lineno - function.lineno + 1
    first = function.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return total - (first.end_lineno - first.lineno + 1 if has_docstring else 0)


def _flag_lines(function):
    """Count the lines of a command's signature: its parameters are its flags."""
    return function.body[0].lineno - function.lineno - 1


def _parameters(function):
    names = [
        a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    ]
    return len([name for name in names if name not in ("self", "cls")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_are_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= _limit(path)
    for function in _functions(path):
        flags = _flag_lines(function) if path.parent.name == "cli" else 0
        assert _lines(function) - flags <= 40, function.name
        assert flags or _parameters(function) <= 8, function.name


def test_no_file_is_named_after_nothing():
    assert not {path.stem for path in FILES} & {"utils", "helpers", "misc", "common"}


def test_families_are_found():
    modules = {entry.module for entry in list_entries()}
    assert {path.stem for path in FAMILIES} == modules


def test_all_families_together_are_under_5000_lines():
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in FAMILIES) < 5000
