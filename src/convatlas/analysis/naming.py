"""Names of operations: the module's path where it is its module's only work, else path + operator.

Knows only which module call ran which operator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from convatlas.analysis.operation import Operation
from convatlas.analysis.operators import MOVES

__all__ = ["name_operations"]


def name_operations(operations: Sequence[Operation]) -> list[tuple[str, str]]:
    """Return a unique name and the module's type (``""`` for a functional call) for each."""
    works = Counter(id(op.call) for op in operations if op.operator not in MOVES)
    moves = Counter(id(op.call) for op in operations if op.operator in MOVES)
    taken: dict[str, int] = {}
    named = []
    for op in operations:
        call, key = op.call, id(op.call)
        alone = moves[key] == 1 and not works[key] if op.operator in MOVES else works[key] == 1
        of_module = call.is_leaf and alone
        name = call.path if of_module and call.path else f"{call.path}.{op.operator}".lstrip(".")
        named.append((_unique(name, taken), call.module_type if of_module else ""))
    return named


def _unique(name: str, taken: dict[str, int]) -> str:
    """Return the name, with ``#2``, ``#3``, … when it is taken."""
    count = taken[name] = taken.get(name, 0) + 1
    return name if count == 1 else f"{name}#{count}"
