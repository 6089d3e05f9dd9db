"""Stochastic depth: a residual branch that is left out at random while training.

Source: Huang et al., "Deep Networks with Stochastic Depth", 2016, arXiv 1603.09382.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["DropPath", "drop_path_rates"]


def drop_path_rates(depths: Sequence[int], last: float) -> list[list[float]]:
    """Return a probability per block of each stage, rising linearly from 0 to ``last``.

    This is the paper's linear decay of the probability to survive (equation 4).
    """
    total = sum(depths)
    rates = iter([last * i / (total - 1) for i in range(total)])
    return [[next(rates) for _ in range(depth)] for depth in depths]


class DropPath(nn.Module):
    """Zero the whole branch of a sample with ``probability``, and scale the others up.

    The expectation stays what it was, so evaluation needs no change.
    """

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (N, ...) with some samples zeroed, in training only."""
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * (x.new_empty(shape).bernoulli_(keep) / keep)

    def extra_repr(self) -> str:
        """Show the probability in the module's text."""
        return f"probability={self.probability:g}"
