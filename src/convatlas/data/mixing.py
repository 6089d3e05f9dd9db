"""Mixup and CutMix: two images of a batch in one, and the share of each.

Every image is mixed with the one half a batch away; the order of an epoch is random, so that
partner is as well. What is drawn depends on (seed, epoch, step) alone, once for the batch, as
in both papers' listings.

Sources: Zhang et al., "mixup: beyond empirical risk minimization", 2018, arXiv 1710.09412;
Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable
features", 2019, arXiv 1905.04899.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convatlas.data.augmentation import Augmentation
from convatlas.data.sampling import batch_uniforms

__all__ = ["Mix", "drawn_mix", "mixed", "mixes", "partner_places", "symmetric_beta"]

_DRAWS = 7


@dataclass(frozen=True, slots=True)
class Mix:
    """How the images of a batch are mixed with their partners.

    Attributes:
        share: What is left of each image, 0…1.
        box: Top, left, bottom and right of what is pasted, in pixels; None to blend.
    """

    share: float
    box: tuple[int, int, int, int] | None = None


def mixes(augmentation: Augmentation) -> bool:
    """Tell whether batches are mixed at all."""
    return bool(augmentation.mixup or augmentation.cutmix) and augmentation.mix_probability > 0


def partner_places(count: int) -> NDArray[np.int64]:
    """Return whom each of ``count`` images of a batch is mixed with."""
    return (np.arange(count, dtype=np.int64) + count // 2) % max(count, 1)


def drawn_mix(augmentation: Augmentation, seed: int, epoch: int, step: int, size: int) -> Mix:
    """Return how a batch of ``size``×``size`` pixels is mixed; a share of 1 where it is not."""
    u = batch_uniforms(seed, epoch, step, _DRAWS)
    if u[0] >= augmentation.mix_probability or not mixes(augmentation):
        return Mix(1.0)
    if augmentation.cutmix and (u[1] < 0.5 or not augmentation.mixup):
        return _pasted(symmetric_beta(augmentation.cutmix, u[2:5]), u[5:7], size)
    return Mix(symmetric_beta(augmentation.mixup, u[2:5]))


def mixed(x: Tensor, partners: Tensor, mix: Mix) -> Tensor:
    """Return ``x`` (N, C, H, W) blended with ``partners``, or with a box of them pasted in."""
    if mix.box is None:
        return torch.lerp(partners, x, mix.share) if mix.share < 1 else x
    top, left, bottom, right = mix.box
    pasted = x.clone()
    pasted[:, :, top:bottom, left:right] = partners[:, :, top:bottom, left:right]
    return pasted


def symmetric_beta(alpha: float, uniform: NDArray[np.float64]) -> float:
    """Return a number distributed as Beta(α, α), of three uniform ones.

    Source: Ulrich's method, in Devroye, "Random variate generation in one line of code", 1996.
    """
    radius = math.expm1(min(-math.log1p(-float(uniform[0])) / alpha, 700.0))  # e^710 is too large
    squared = radius * math.cos(2 * math.pi * float(uniform[1])) ** 2
    reach = 0.5 / math.sqrt(1 + 1 / squared) if squared > 0 else 0.0
    return 0.5 + math.copysign(reach, 0.5 - float(uniform[2]))


def _pasted(share: float, uniform: NDArray[np.float64], size: int) -> Mix:
    """Return a box about a uniform centre, cut off at the edges; its area decides the share."""
    half = int(size * math.sqrt(1 - share)) // 2
    ends = []
    for value in uniform:
        middle = int(size * value)
        ends.append((max(middle - half, 0), min(middle + half, size)))
    (top, bottom), (left, right) = ends
    area = (bottom - top) * (right - left)
    return Mix(1 - area / size**2, (top, left, bottom, right))
