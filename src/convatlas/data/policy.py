"""RandAugment and TrivialAugment: fourteen operations of Pillow, drawn for each image.

RandAugment (Cubuk et al., "Practical automated data augmentation with a reduced search space",
2020, arXiv 1909.13719) applies N operations of one strength, within the ranges of AutoAugment
(Cubuk et al. 2019, arXiv 1805.09501, table 6). TrivialAugment (Müller and Hutter, "Tuning-free
yet state-of-the-art data augmentation", 2021, arXiv 2103.10158) applies one, of a strength drawn
from 0…30, within the wide ranges of its table 1.

Differences from the papers: 30 is the end of every range for both, so that a magnitude on the
scale to 10 of RandAugment's section 3 counts three times here; the factors of colour, contrast,
brightness and sharpness are 1 ± strength, where the authors' code runs from dark to bright; what
comes into view is filled with the mean colour, there with grey.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from convatlas.data.augmentation import HIGHEST_MAGNITUDE, Augmentation
from convatlas.data.draws import Draws
from convatlas.data.parallel import ordered_map

__all__ = ["OPERATIONS", "RANDAUGMENT", "TRIVIALAUGMENT", "Ranges", "Step", "apply_policy"]


@dataclass(frozen=True, slots=True)
class Ranges:
    """What full strength means.

    Attributes:
        shear: Pixels along one axis for each pixel along the other.
        shift_share: Translation as a share of the side, added to ``shift_pixels``.
        shift_pixels: Translation in pixels.
        degrees: Rotation.
        enhancement: Distance of a factor from 1.
        bits: Bits that posterising takes of eight.
    """

    shear: float
    shift_share: float
    shift_pixels: float
    degrees: float
    enhancement: float
    bits: int


RANDAUGMENT = Ranges(
    shear=0.3, shift_share=150 / 331, shift_pixels=0, degrees=30, enhancement=0.9, bits=4
)
TRIVIALAUGMENT = Ranges(
    shear=0.99, shift_share=0, shift_pixels=32, degrees=135, enhancement=0.99, bits=6
)


@dataclass(frozen=True, slots=True)
class Step:
    """One operation's strength.

    Attributes:
        strength: 0…1 of the range.
        sign: 1 or -1: which way, where there are two.
        ranges: The ranges.
        fill: Colour of what comes into view, one value of 0…255 for each channel.
    """

    strength: float
    sign: int
    ranges: Ranges
    fill: tuple[int, ...]

    def moved(self, image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
        """Return the image whose pixel (x, y) is the old one's at the affine matrix · (x, y, 1)."""
        bilinear = Image.Resampling.BILINEAR
        affine = Image.Transform.AFFINE
        return image.transform(image.size, affine, matrix, bilinear, fillcolor=self.color)

    @property
    def color(self) -> int | tuple[int, ...]:
        """The fill as Pillow wants it for one channel, or for three."""
        return self.fill if len(self.fill) > 1 else self.fill[0]

    @property
    def factor(self) -> float:
        """What an enhancement multiplies by."""
        return 1 + self.sign * self.strength * self.ranges.enhancement

    @property
    def slope(self) -> float:
        """The shear."""
        return self.sign * self.strength * self.ranges.shear

    def shift(self, side: int) -> int:
        """Return the translation along a side, in pixels."""
        farthest = self.ranges.shift_share * side + self.ranges.shift_pixels
        return self.sign * round(self.strength * farthest)


def _rotated(image: Image.Image, step: Step) -> Image.Image:
    degrees = step.sign * step.strength * step.ranges.degrees
    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=step.color)


def _solarized(image: Image.Image, step: Step) -> Image.Image:
    return ImageOps.solarize(image, round(256 * (1 - step.strength)))


def _posterized(image: Image.Image, step: Step) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(step.strength * step.ranges.bits))


OPERATIONS: dict[str, Callable[[Image.Image, Step], Image.Image]] = {
    "identity": lambda image, _step: image,
    "autocontrast": lambda image, _step: ImageOps.autocontrast(image),
    "equalize": lambda image, _step: ImageOps.equalize(image),
    "rotate": _rotated,
    "solarize": _solarized,
    "colour": lambda image, step: ImageEnhance.Color(image).enhance(step.factor),
    "posterize": _posterized,
    "contrast": lambda image, step: ImageEnhance.Contrast(image).enhance(step.factor),
    "brightness": lambda image, step: ImageEnhance.Brightness(image).enhance(step.factor),
    "sharpness": lambda image, step: ImageEnhance.Sharpness(image).enhance(step.factor),
    "shear-x": lambda image, step: step.moved(image, (1, step.slope, 0, 0, 1, 0)),
    "shear-y": lambda image, step: step.moved(image, (1, 0, 0, step.slope, 1, 0)),
    "translate-x": lambda image, step: step.moved(image, (1, 0, -step.shift(image.width), 0, 1, 0)),
    "translate-y": lambda image, step: step.moved(
        image, (1, 0, 0, 0, 1, -step.shift(image.height))
    ),
}
"""In the order of RandAugment's section 3."""

_IN_ORDER = tuple(OPERATIONS.values())


def apply_policy(
    augmentation: Augmentation, u: Draws, x: Tensor, fill: tuple[float, ...]
) -> Tensor:
    """Return each image after its operations, with values of eight bits.

    Args:
        augmentation: The policy.
        u: The numbers that chance gave each image.
        x: (N, C, H, W) on the 0…1 scale.
        fill: Value of each channel of what comes into view, on the 0…1 scale.
    """
    pixels = x.mul(255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    colour = tuple(round(255 * value) for value in fill)

    def one(place: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        image = Image.fromarray(pixels[place].squeeze(-1) if x.shape[1] == 1 else pixels[place])
        for number in range(_operations(augmentation)):
            which = int(u[f"operation_{number}"][place] * len(_IN_ORDER))
            image = _IN_ORDER[which](image, _step(augmentation, u, number, place, colour))
        return np.array(image).reshape(pixels.shape[1:])

    changed = list(ordered_map(one, len(pixels)))
    stacked = np.stack(changed) if changed else pixels
    return torch.from_numpy(stacked).to(x.device).permute(0, 3, 1, 2).contiguous().to(x.dtype) / 255


def _operations(augmentation: Augmentation) -> int:
    return 1 if augmentation.policy == "trivialaugment" else augmentation.policy_operations


def _step(
    augmentation: Augmentation, u: Draws, number: int, place: int, fill: tuple[int, ...]
) -> Step:
    sign = -1 if u[f"sign_{number}"][place] < 0.5 else 1
    if augmentation.policy == "trivialaugment":
        level = int(u[f"level_{number}"][place] * (HIGHEST_MAGNITUDE + 1))
        return Step(level / HIGHEST_MAGNITUDE, sign, TRIVIALAUGMENT, fill)
    return Step(augmentation.policy_magnitude / HIGHEST_MAGNITUDE, sign, RANDAUGMENT, fill)
