"""NASNet-A, and the frame of two-input cells that other searched networks share.

"Learning Transferable Architectures for Scalable Image Recognition", Barret Zoph, Vijay
Vasudevan, Jonathon Shlens, Quoc V. Le, 2017, arXiv 1707.07012.

Differences from the paper: none in shape; what the paper leaves open (stem, inputs of unequal
size) is as in the authors' released code. Average poolings that halve a map count the zeros
beyond it, as public PyTorch checkpoints do. The drop path grows with depth, but not over the
training. The auxiliary classifier is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from convatlas.layers.cell_stages import Space, StageRow, cell_stages
from convatlas.layers.cells import Wiring
from convatlas.layers.conv import named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["CellNet", "cell_net", "nasnet"]


class CellNet(ConvNet):
    """A ``ConvNet`` whose stages hand on two maps, the newer of which is their feature map."""

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Return the output of every stage, shapes ``(N, C_i, H / stride_i, W / stride_i)``.

        Raises:
            InputSizeError: As ``ConvNet.forward_features``.
        """
        self._check_input(x)
        older = newer = self.stem(x)
        features = []
        for stage in self.stages:
            older, newer = stage(older, newer)
            features.append(newer)
        return features


def cell_net(
    space: Space,
    rows: Sequence[StageRow],
    common: Common,
    *,
    stem: int,
    stem_stride: int = 1,
    dropout: float,
    drop_path: float,
) -> CellNet:
    """Return a net of cells.

    Args:
        space: The cells.
        rows: One per stage.
        common: The options that every family takes.
        stem: Output channels of the 3×3 convolution before the cells.
        stem_stride: Its stride; 2 leaves it unpadded.
        dropout: The paper's probability before the classifier.
        drop_path: Probability of leaving out an operation of the last cell; it grows from 0.
    """
    stages, widths = cell_stages(space, rows, stem, drop_path)
    padding = 1 if stem_stride == 1 else 0
    conv = nn.Conv2d(common.in_channels, stem, 3, stem_stride, padding, bias=False)
    strides = [row.stride for row in rows]
    model = CellNet(
        named(conv=conv, norm=space.norm(stem)),
        stages,
        pooled_classifier(
            widths[-1], common.num_classes, common.dropout_or(dropout), act=nn.ReLU()
        ),
        channels=widths,
        strides=(stem_stride * strides[0], *strides[1:]),
        in_channels=common.in_channels,
        min_input_size=1 if padding else 3,
    )
    he_normal(model)
    return model


# Figure 4, left and right.
_NORMAL = Wiring(
    (
        (("sep5", 1), ("sep3", 0)),
        (("sep5", 0), ("sep3", 0)),
        (("avg3", 1), ("identity", 0)),
        (("avg3", 0), ("avg3", 0)),
        (("sep3", 1), ("identity", 1)),
    ),
    output=(0, 2, 3, 4, 5, 6),
)
_REDUCTION = Wiring(
    (
        (("sep5", 1), ("sep7", 0)),
        (("max3", 1), ("sep7", 0)),
        (("avg3", 1), ("sep5", 0)),
        (("identity", 3), ("avg3", 2)),
        (("sep3", 2), ("max3", 1)),
    ),
    output=(3, 4, 5, 6),
)


@dataclass(frozen=True, slots=True)
class Variant:
    """NASNet-A (``depth`` @ ``features``), as the paper names it.

    Attributes:
        depth: Normal cells per stage.
        features: Channels of the last map.
        stem_channels: Output channels of the first convolution.
        dropout: Probability before the classifier.
        drop_path: Probability of leaving out an operation of the last cell.
        skip: Whether the cell after a reduction reads what came before the reduction's inputs.
        cifar: Whether the net has no reduction cells in its stem, and the norm's ε for CIFAR.
    """

    depth: int
    features: int
    stem_channels: int
    dropout: float = 0.5
    drop_path: float = 0.0
    skip: bool = False
    cifar: bool = False


VARIANTS = {
    "nasnet_a_large": Variant(6, 4032, 96, drop_path=0.3, skip=True),
    "nasnet_a_mobile": Variant(4, 1056, 32),
    "cifar_nasnet_a_6_768": Variant(6, 768, 96, dropout=0.0, drop_path=0.4, cifar=True),
}


@register(VARIANTS)
def nasnet(variant: Variant, common: Common) -> CellNet:
    """Build a NASNet-A; ``stem="small"`` takes the strides out of its first three layers."""
    depth, width = variant.depth, variant.features // 24
    first = 1 if common.small else 2
    stem_rows = [StageRow(width // 4, first, 0, 0), StageRow(width // 2, first, width, depth)]
    rows = [StageRow(n * width, 2, n * width, depth, variant.skip) for n in (2, 4)]
    norm = partial(nn.BatchNorm2d, eps=1e-5 if variant.cifar else 1e-3)
    return cell_net(
        Space(_NORMAL, _REDUCTION, norm),
        [StageRow(0, 1, width, depth), *rows] if variant.cifar else [*stem_rows, *rows],
        common,
        stem=variant.stem_channels,
        stem_stride=1 if variant.cifar else first,
        dropout=variant.dropout,
        drop_path=variant.drop_path,
    )
