"""The first convolution for another number of input channels, with what it has learned."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["adapt_channels"]


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Return a convolution's weight for another number of input channels.

    Invariant: for every filter and every position in it, the sum over the input channels stays.
    On an image whose channels are all equal, the convolution thus answers as before, up to
    rounding, whatever the two numbers of channels are.

    Fewer channels fold: channel j gets the sum of the stored channels j, j + M, j + 2M, …
    More channels repeat: channel j gets the stored channel j mod N, divided by its number of
    copies. In a grouped convolution both numbers are those of one group.

    Args:
        weight: Filters of shape (out_channels, N, height, width).
        channels: M, the input channels that each filter shall see.

    Returns:
        Filters of shape (out_channels, M, height, width).
    """
    stored = weight.shape[1]
    if channels < stored:
        folded = weight.new_zeros((weight.shape[0], channels, *weight.shape[2:]))
        return folded.index_add(1, torch.arange(stored, device=weight.device) % channels, weight)
    source = torch.arange(channels, device=weight.device) % stored
    copies = torch.tensor([len(range(i, channels, stored)) for i in range(stored)])
    scale = copies.to(weight)[source].reciprocal()
    return weight[:, source] * scale[:, None, None]
