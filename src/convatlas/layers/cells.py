"""Cells that a search has found: blocks that add two operations on earlier feature maps.

A cell reads the outputs of the two cells before it. Which operations its blocks add, on which of
its states, is data; the cell itself knows no search and no paper.

Source: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", 2017,
arXiv 1707.07012, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from convatlas.layers.cell_operations import (
    FactorisedReduction,
    Norm,
    linear,
    operation,
    project,
    reduce,
)
from convatlas.layers.conv import named
from convatlas.layers.residual import DropPath

__all__ = ["Cell", "Map", "Step", "Wiring"]

# the name of an operation, and the state that it reads
Step: TypeAlias = tuple[str, int]


class Wiring(NamedTuple):
    """What a cell computes.

    Attributes:
        blocks: The two steps that each block adds. State 0 is the older of the cell's inputs,
            1 the newer, 2 the sum of the first block, and so on.
        output: The states that are concatenated.
    """

    blocks: tuple[tuple[Step, Step], ...]
    output: tuple[int, ...]


class Map(NamedTuple):
    """Channels of a feature map, and its stride relative to the stem's."""

    channels: int
    stride: int


class Cell(nn.Module):
    """``cat(s_i, …)``, s_j = f_j(s_a) + g_j(s_b), on the two maps before it (section 3, figure 3).

    Args:
        wiring: The operations f and g, the states that they read, and those of the output.
        older: The output of the cell before the last one; None makes state 0 the newer input
            as it is.
        newer: The output of the last cell.
        channels: Channels of the other states.
        stride: 2 halves the map in the operations that read an input.
        norm: Normalisation of so many channels.
        fit: Makes state 1 from the newer input; it gets both channels and ``norm``.
        drop_path: Probability of leaving out an operation, identities excepted, while training.
    """

    def __init__(
        self,
        wiring: Wiring,
        older: Map | None,
        newer: Map,
        channels: int,
        stride: int = 1,
        *,
        norm: Norm,
        fit: Callable[[int, int, Norm], nn.Module] = project,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.wiring, self.stride = wiring, stride
        fits: dict[str, nn.Module] = {"older": nn.Identity()}
        widths = [newer.channels if older is None else channels]
        widths += [channels] * (len(wiring.blocks) + 1)
        if older and older.stride < newer.stride:
            # Public checkpoints hold this one after the projection of the newer input.
            fits = {"newer": nn.Identity(), "older": reduce(older.channels, channels, norm)}
        elif older and older.channels != channels:
            fits = {"older": project(older.channels, channels, norm)}
        self.inputs = nn.ModuleDict({**fits, "newer": fit(newer.channels, channels, norm)})
        self.operations = nn.ModuleList()
        for name, state in (step for block in wiring.blocks for step in block):
            step = operation(name, widths[state], channels, stride if state < 2 else 1, norm)
            if drop_path and name != "identity":
                step = named(operation=step, drop_path=DropPath(drop_path))
            self.operations.append(step)
        self.joins = nn.ModuleDict()
        join = FactorisedReduction if stride > 1 else linear
        for state in wiring.output:
            if state < 2 and (stride > 1 or widths[state] != channels):
                self.joins[str(state)] = join(widths[state], channels, norm)

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        """Return (N, C, H', W') from the last two maps, the older of which may be larger."""
        fit_older, fit_newer = self.inputs["older"], self.inputs["newer"]
        if self.stride > 1:  # only the order of running, which is that of public checkpoints
            newer, older = fit_newer(newer), fit_older(older)
        else:
            older, newer = fit_older(older), fit_newer(newer)
        states = [older, newer]
        f, g = self.operations[::2], self.operations[1::2]
        for i, ((_, a), (_, b)) in enumerate(self.wiring.blocks):
            states.append(f[i](states[a]) + g[i](states[b]))
        for key, join in self.joins.items():
            states[int(key)] = join(states[int(key)])
        return torch.cat([states[i] for i in self.wiring.output], dim=1)
