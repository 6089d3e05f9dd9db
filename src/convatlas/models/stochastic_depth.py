"""Stochastic depth in any network of residual blocks: another probability for all of them.

A block either has its ``DropPath``, or an empty place called ``branch_end`` where its branch ends.
Knows no family.

Source: Huang et al., "Deep Networks with Stochastic Depth", 2016, arXiv 1603.09382.
"""

from __future__ import annotations

from torch import nn

from convatlas.errors import OptionError
from convatlas.layers.residual import DropPath
from convatlas.models.anatomy import ConvNet

__all__ = ["set_drop_path"]


def set_drop_path(model: ConvNet, last: float) -> ConvNet:
    """Leave out the last block's branch with probability ``last``, and return the model.

    The other blocks follow in the proportions the network has, or, where it leaves nothing out,
    rise linearly from 0 at the first (equation 4). No name and no parameter changes.

    Raises:
        OptionError: The network has no such blocks, or ``last`` is no probability below 1.
    """
    if not 0 <= last < 1:
        raise OptionError(f"drop_path must be in [0, 1), got {last}")
    for module in list(model.modules()):
        if isinstance(getattr(module, "branch_end", None), nn.Identity):
            module.branch_end = DropPath()
    paths = [module for module in model.modules() if isinstance(module, DropPath)]
    if not paths:
        raise OptionError("this network has no branches to drop: leave drop_path out")
    own = max(path.probability for path in paths)
    for i, path in enumerate(paths):
        share = path.probability / own if own else i / max(len(paths) - 1, 1)
        path.probability = last * share
    return model
