"""The anatomy that every network of the atlas shares: stem → stages → head.

This file knows tensors and modules, but no family and no paper: what holds for
every architecture (features, input checks, logits) is written here once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul

from torch import Tensor, nn

from convatlas.errors import InputSizeError

__all__ = ["ConvNet", "Feature"]


@dataclass(frozen=True, slots=True)
class Feature:
    """What one stage hands to a head.

    Attributes:
        name: Module path of the stage, such as ``"stages.2"``.
        channels: Number of channels of its output.
        stride: Input pixels per output pixel along one axis.
    """

    name: str
    channels: int
    stride: int


class ConvNet(nn.Module):
    """A network as ``head(stages(stem(x)))``.

    Args:
        stem: Turns the image into the first feature map.
        stages: The stages, each ending where the paper's stage ends.
        head: Pooling and classifier; its last child is named ``classifier``.
        channels: Output channels of each stage.
        strides: Stride of each stage relative to the one before; the first one's
            includes the stem.
        in_channels: Channels of the input image.
        min_input_size: Smallest height and width, in pixels, that give a non-empty map.
    """

    feature_info: tuple[Feature, ...]

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        head: nn.Module,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        in_channels: int = 3,
        min_input_size: int = 1,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.head = head
        self.in_channels = in_channels
        self.min_input_size = min_input_size
        self.feature_info = tuple(
            Feature(f"stages.{i}", c, s)
            for i, (c, s) in enumerate(zip(channels, accumulate(strides, mul), strict=True))
        )

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Return the output of every stage, shapes ``(N, C_i, H / stride_i, W / stride_i)``.

        Raises:
            InputSizeError: The image is smaller than ``min_input_size``, or has other
                channels than the stem.
        """
        self._check_input(x)
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape ``(N, num_classes)``, for images ``(N, C, H, W)``."""
        return self.head(self.forward_features(x)[-1])

    def _check_input(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            advice = "build the model with in_channels equal to the images' channels"
            if x.ndim != 4:
                advice = "pass a batch; images[None] is one of a single image"
            raise InputSizeError(
                f"expected images of shape (N, {self.in_channels}, H, W), "
                f"got {tuple(x.shape)}: {advice}"
            )
        smallest = self.min_input_size
        height, width = x.shape[-2:]
        if height < smallest or width < smallest:
            raise InputSizeError(
                f"this network needs at least {smallest}×{smallest} pixels, got {height}×{width}: "
                'resize the images, or take the small stem if you do not yet: stem="small" in '
                "Python, --stem small on a command line"
            )
