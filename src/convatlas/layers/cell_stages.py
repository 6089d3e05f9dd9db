"""Stages of cells that read two maps, and the table that a net of them is built from.

Source: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", 2017,
arXiv 1707.07012, figure 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from convatlas.layers.cell_operations import Norm, project
from convatlas.layers.cells import Cell, Map, Wiring

__all__ = ["CellStage", "Space", "StageRow", "cell_stages"]


class Space(NamedTuple):
    """The two cells that a search found, and how their inputs are brought to their channels."""

    normal: Wiring
    reduction: Wiring
    norm: Norm
    fit: Callable[[int, int, Norm], nn.Module] = project
    raw_start: bool = True  # whether the first cell's state 0 is the stem's output as it is


class StageRow(NamedTuple):
    """One stage: a reduction cell (of 0 channels: none), then normal cells."""

    reduction: int
    stride: int
    channels: int
    depth: int
    skip: bool = False


class CellStage(nn.Module):
    """Cells one after another, each on the outputs of the two before it.

    Args:
        cells: The cells; the first may halve the map.
        skip: Whether the second cell reads the older input of the first, not its newer one.
    """

    def __init__(self, cells: Sequence[Cell], skip: bool) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.skip = skip

    def forward(self, older: Tensor, newer: Tensor) -> tuple[Tensor, Tensor]:
        """Return the older and the newer map that the next stage reads."""
        for i, cell in enumerate(self.cells):
            older, newer = older if self.skip and i == 0 else newer, cell(older, newer)
        return older, newer


def cell_stages(
    space: Space, rows: Sequence[StageRow], stem: int, drop_path: float
) -> tuple[list[CellStage], list[int]]:
    """Return the stages and their output channels.

    Args:
        space: The cells.
        rows: One per stage.
        stem: Channels of the map that the first stage reads.
        drop_path: Probability of leaving out an operation of the last cell; it grows from 0.
    """
    newer = Map(stem, 1)
    older = None if space.raw_start else newer
    total = sum(row.depth + bool(row.reduction) for row in rows)
    stages, widths, built = [], [], 0
    for row in rows:
        plan = [(space.normal, row.channels, 1)] * row.depth
        if row.reduction:
            plan.insert(0, (space.reduction, row.reduction, row.stride))
        cells: list[Cell] = []
        for wiring, channels, stride in plan:
            built += 1
            make = partial(
                Cell, norm=space.norm, fit=space.fit, drop_path=drop_path * built / total
            )
            cells.append(make(wiring, older, newer, channels, stride))
            older = older if row.skip and len(cells) == 1 else newer
            newer = Map(len(wiring.output) * channels, newer.stride * stride)
        stages.append(CellStage(cells, row.skip))
        widths.append(newer.channels)
    return stages, widths
