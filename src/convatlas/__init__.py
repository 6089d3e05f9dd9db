"""convatlas: the atlas of convolutional networks.

Public names are imported on first use, so that ``import convatlas`` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convatlas.analysis.comparison import Comparison
    from convatlas.analysis.cost import analyze
    from convatlas.analysis.forecast import predict_latency
    from convatlas.analysis.lint.check import lint
    from convatlas.analysis.lint.rule import LintReport
    from convatlas.analysis.memory import (
        MemoryReport,
        TrainingMemory,
        max_batch,
        predict_memory,
    )
    from convatlas.analysis.report import CostReport
    from convatlas.errors import ConvAtlasError
    from convatlas.models.anatomy import ConvNet, Feature
    from convatlas.models.catalogue import list_models
    from convatlas.models.pretrained.alignment import align_by_structure
    from convatlas.models.registry import create_model
    from convatlas.pipeline.comparison import compare
    from convatlas.search.budget import Budget
    from convatlas.search.candidate import Choice
    from convatlas.search.choose import choose

__all__ = [
    "Budget",
    "Choice",
    "Comparison",
    "ConvAtlasError",
    "ConvNet",
    "CostReport",
    "Feature",
    "LintReport",
    "MemoryReport",
    "TrainingMemory",
    "align_by_structure",
    "analyze",
    "choose",
    "compare",
    "create_model",
    "lint",
    "list_models",
    "max_batch",
    "predict_latency",
    "predict_memory",
]

__version__ = "0.1.0"

_HOMES = {
    "Budget": "convatlas.search.budget",
    "Choice": "convatlas.search.candidate",
    "Comparison": "convatlas.analysis.comparison",
    "ConvAtlasError": "convatlas.errors",
    "ConvNet": "convatlas.models.anatomy",
    "CostReport": "convatlas.analysis.report",
    "Feature": "convatlas.models.anatomy",
    "LintReport": "convatlas.analysis.lint.rule",
    "MemoryReport": "convatlas.analysis.memory",
    "TrainingMemory": "convatlas.analysis.memory",
    "align_by_structure": "convatlas.models.pretrained.alignment",
    "analyze": "convatlas.analysis.cost",
    "choose": "convatlas.search.choose",
    "compare": "convatlas.pipeline.comparison",
    "create_model": "convatlas.models.registry",
    "lint": "convatlas.analysis.lint.check",
    "list_models": "convatlas.models.catalogue",
    "max_batch": "convatlas.analysis.memory",
    "predict_latency": "convatlas.analysis.forecast",
    "predict_memory": "convatlas.analysis.memory",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'convatlas' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
