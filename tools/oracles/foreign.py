"""Build a reference network of another library, without downloading anything.

The only place that imports torchvision and timm. They exist in the oracle environment
alone, so they are imported by name, when a network is asked for.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version

from operator_schemas import declare_operator_schemas
from table import Reference
from torch import nn

# The constructors of these two draw every weight from scipy, which takes a minute.
TORCHVISION_OPTIONS = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
}


def build(reference: Reference) -> nn.Module:
    """Return the network of one row of the table, with random weights."""
    net: nn.Module
    if reference.source == "torchvision":
        declare_operator_schemas()
        options = TORCHVISION_OPTIONS.get(reference.model, {})
        models = import_module("torchvision.models")
        net = models.get_model(reference.model, weights=None, **options)
    else:
        declare_operator_schemas()  # timm imports torchvision
        net = import_module("timm").create_model(reference.model, pretrained=False)
    return net


def library_version(source: str) -> str:
    """Return the version of a library, without the label of its build (``+cu130``)."""
    return version(source).split("+")[0]
