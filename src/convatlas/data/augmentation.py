"""What training varies at random: one record, which recipes and runs keep as plain values.

``augment`` applies it. It needs neither torch nor images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from convatlas.errors import OptionError, nearest

__all__ = ["Augmentation", "Padding", "Policy"]

Padding = Literal["edge", "zeros"]
Policy = Literal["none", "randaugment", "trivialaugment"]

HIGHEST_MAGNITUDE = 30  # of the scale in RandAugment, section 3

_MOST = {  # of each option that is a number from 0
    **dict.fromkeys(("shift", "brightness", "contrast", "saturation"), 1.0),
    **dict.fromkeys(("random_erase", "mix_probability"), 1.0),
    **dict.fromkeys(("zoom", "mixup", "cutmix", "pca_colour"), math.inf),
    "rotate_degrees": 180.0,
    "policy_magnitude": float(HIGHEST_MAGNITUDE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Which random changes a training image goes through; without arguments, none.

    In this order: crop (or the centre), zoom, rotation, shift and flip in one resampling; the
    policy; brightness, contrast, saturation and the colours of the light; mixing; erasing.

    Attributes:
        crop_scale: Range of the cropped share of the area (Inception's random resized crop);
            None for the centre at the scale of evaluation.
        crop_ratio: Range of the crop's width / height, drawn on a log scale.
        shift: Largest shift along each axis as a share of the input's side, rounded to whole
            pixels but at least one: 0.125 is the 4 pixels of 32 usual on CIFAR.
        rotate_degrees: Largest rotation either way.
        zoom: The view is enlarged or reduced by up to 1 + zoom, drawn on a log scale.
        flip: Whether half of the images are mirrored left to right.
        brightness: Values are multiplied by 1 ± brightness.
        contrast: Distance from the mean grey is multiplied by 1 ± contrast.
        saturation: Distance from grey is multiplied by 1 ± saturation.
        random_erase: Probability that a rectangle is covered with the mean.
        padding: What lies outside an image: its ``"edge"`` pixels, or black (``"zeros"``).
        policy: ``"randaugment"`` (Cubuk et al. 2020, arXiv 1909.13719) or ``"trivialaugment"``
            (Müller and Hutter 2021, arXiv 2103.10158).
        policy_operations: Operations that RandAugment applies to an image, its N.
        policy_magnitude: Strength of each on a scale of 0…30, RandAugment's M.
        mixup: α of the Beta(α, α) that shares two images are blended in; 0 for none
            (Zhang et al. 2018, arXiv 1710.09412).
        cutmix: α of the Beta(α, α) that shares of the area are pasted in; 0 for none
            (Yun et al. 2019, arXiv 1905.04899). With ``mixup`` too, each has half of the batches.
        mix_probability: Share of the batches that are mixed at all.
        pca_colour: Standard deviation, on each principal axis of ImageNet's colours, of the
            light's change (Krizhevsky et al. 2012, section 4.1: 0.1).
        repeats: Views of an image in a batch (repeated augmentation: Hoffer et al. 2020, arXiv
            1901.09335); an epoch keeps its length, and sees 1/repeats of the images.

    Raises:
        OptionError: An impossible value.
    """

    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    shift: float = 0.0
    rotate_degrees: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    random_erase: float = 0.0
    padding: Padding = "edge"
    policy: Policy = "none"
    policy_operations: int = 2
    policy_magnitude: float = 9.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    pca_colour: float = 0.0
    repeats: int = 1

    def __post_init__(self) -> None:
        scale = (1.0, 1.0) if self.crop_scale is None else self.crop_scale
        fits = _is_range(scale) and scale[1] <= 1
        _require(fits, "0 < crop_scale ≤ 1, low before high", self.crop_scale)
        fits = _is_range(self.crop_ratio)
        _require(fits, "crop_ratio > 0, low before high", self.crop_ratio)
        for name, most in _MOST.items():
            value = getattr(self, name)
            fits = _is_number(value) and 0 <= value <= most and math.isfinite(value)
            _require(fits, f"0 ≤ {name}{f' ≤ {most:g}' if most < math.inf else ''}", value)
        for name in ("policy_operations", "repeats"):
            value = getattr(self, name)
            _require(_is_whole(value) and value >= 1, f"a whole {name} ≥ 1", value)
        _require(isinstance(self.flip, bool), "flip true or false", self.flip)
        for name, kind in (("padding", Padding), ("policy", Policy)):
            known = get_args(kind)
            _require(getattr(self, name) in known, f"{name} of {known}", getattr(self, name))

    def shift_pixels(self, size: int) -> int:
        """Return the largest shift of an input of ``size`` pixels."""
        return max(1, round(self.shift * size)) if self.shift else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; ``crop_scale`` may be None."""
        values = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Augmentation:
        """Build the record from :meth:`to_dict`'s values; what is missing is not varied.

        Raises:
            OptionError: A field is unknown or impossible.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                hint = nearest(str(name), known)
                raise OptionError(f"an augmentation has no field {name!r}{hint}")
        lists = {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **lists})


def _is_range(value: object) -> bool:
    if not (isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))):
        return False
    low, high = value
    return bool(0 < low <= high)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or isinstance(value, float)


def _require(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise OptionError(f"expected an augmentation with {expected}, got {got!r}: correct it")
