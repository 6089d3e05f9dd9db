"""ENAS: the network of the micro search space, for CIFAR-10.

"Efficient Neural Architecture Search via Parameter Sharing", Hieu Pham, Melody Y. Guan, Barret
Zoph, Quoc V. Le, Jeff Dean, 2018, arXiv 1802.03268.

Differences from the paper: cells, depth and width are those of the authors' released code.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from convatlas.layers.cell_operations import Norm, project
from convatlas.layers.cell_stages import Space, StageRow
from convatlas.layers.cells import Step, Wiring
from convatlas.models.nasnet import CellNet, cell_net
from convatlas.models.registry import Common, register

__all__ = ["enas", "wiring_of"]

_OPERATIONS = ("sep3", "sep5", "avg3", "max3", "identity")


def wiring_of(arc: str) -> Wiring:
    """Return the cell of an arc: per block a state, its operation, a state, its operation.

    The cell gives the states that no block reads (section 2.4).
    """
    numbers = [int(word) for word in arc.split()]
    steps: list[Step] = [
        (_OPERATIONS[name], state) for state, name in zip(numbers[::2], numbers[1::2], strict=True)
    ]
    blocks = tuple(zip(steps[::2], steps[1::2], strict=True))
    unread = set(range(len(blocks) + 2)) - set(numbers[::2])
    return Wiring(blocks, tuple(sorted(unread)))


def _fit(in_channels: int, channels: int, norm: Norm) -> nn.Sequential:
    """Return two projections: one to the cell's channels where needed, one always."""
    needed = in_channels != channels
    first = [project(in_channels, channels, norm)] if needed else []
    return nn.Sequential(*first, project(channels, channels, norm))


# name → arcs of the normal and the reduction cell, cells between reductions, width, dropout,
# drop path
VARIANTS = {
    "cifar_enas_micro": (
        "0 2 0 0  0 4 0 1  0 4 1 1  1 0 0 1  0 2 1 1",
        "1 0 1 0  0 3 0 2  1 1 3 1  1 0 0 4  0 3 1 1",
        5,
        36,
        0.2,
        0.4,
    )
}


@register(VARIANTS)
def enas(variant: tuple[str, str, int, int, float, float], common: Common) -> CellNet:
    """Build the net of a pair of cells; its own stem is already small."""
    normal, reduction, depth, width, dropout, drop_path = variant
    norm = partial(nn.BatchNorm2d, eps=1e-5)
    rows = [StageRow(n * width, 2, n * width, depth) for n in (2, 4)]
    return cell_net(
        Space(wiring_of(normal), wiring_of(reduction), norm, _fit, raw_start=False),
        [StageRow(0, 1, width, depth), *rows],
        common,
        stem=3 * width,
        dropout=dropout,
        drop_path=drop_path,
    )
