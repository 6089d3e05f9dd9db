"""Declare torchvision's compiled operators, so that its Python part imports without them.

The torchvision on PyPI is compiled against another build of torch than the CPU one, so
its library of operators does not load there. Importing the package still registers shape
functions for some of them, which fails for an operator that nobody declared. The
classification networks call none of them, so a schema without a kernel is enough.
"""

from __future__ import annotations

from ctypes import CDLL
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

SCHEMAS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@cache
def declare_operator_schemas() -> None:
    """Declare the schemas if need be; call it before the first ``import torchvision``."""
    if _compiled_operators_load():
        return
    for name, schema in SCHEMAS.items():
        torch.library.define(name, schema)


def _compiled_operators_load() -> bool:
    """Say whether torchvision's own operators fit this torch; declaring them too would clash."""
    package = find_spec("torchvision")
    folders = package.submodule_search_locations if package else None
    libraries = [path for folder in folders or () for path in Path(folder).glob("_C*")]
    try:
        for path in libraries:
            CDLL(str(path))
    except OSError:
        return False
    return bool(libraries)
