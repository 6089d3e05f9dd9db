"""Feature pyramids: any ``ConvNet`` without its head, returning several of its maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from convatlas.errors import OptionError
from convatlas.models.anatomy import ConvNet, Feature
from convatlas.models.auxiliary import Beside

__all__ = ["Pyramid", "stages_of"]


class Pyramid(nn.Module):
    """A network without its head; its output is one map per chosen stage.

    Level k is the last stage of stride 2^(k+1), as timm's ``out_indices`` count for most
    networks (in timm, ConvNeXt counts from stride 4 and VGG from stride 1). A network whose first
    stage has stride 1 is counted from there; -1 is the deepest level of any network. With an
    output stride, levels are those of the network before its strides became dilation.

    No parameter is left unused: the head, auxiliary classifiers and later stages are dropped.

    Args:
        network: The network, which loses the parts that no chosen stage needs.
        stages: Index of each stage whose map is returned, in that order.
    """

    def __init__(self, network: ConvNet, stages: Sequence[int]) -> None:
        super().__init__()
        network.head = nn.Identity()
        network.stages = nn.Sequential(*list(network.stages)[: max(stages) + 1])
        for name, module in list(network.named_modules()):
            if isinstance(module, Beside):
                network.set_submodule(name, nn.Identity())
        self.network = network
        self.feature_info = tuple(network.feature_info[i] for i in stages)
        self._chosen = tuple(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the map of each entry of ``feature_info``, (N, channels, H / stride, W / stride).

        Raises:
            InputSizeError: As ``ConvNet.forward_features``.
        """
        maps = self.network.forward_features(x)
        return [maps[i] for i in self._chosen]


def stages_of(levels: Sequence[int], features: Sequence[Feature]) -> tuple[int, ...]:
    """Return the index of the stage that ends each of the ``levels``, as ``Pyramid`` counts them.

    Raises:
        OptionError: No level was asked, or the network lacks one.
    """
    if isinstance(levels, int):
        raise OptionError(f"features must be a sequence of levels, got {levels}: write [{levels}]")
    counted_from = 1 if features[0].stride == 1 else 2
    known = {f.stride.bit_length() - counted_from: i for i, f in enumerate(features)}
    has = ", ".join(f"{level} (stride {features[i].stride})" for level, i in known.items())
    known |= dict(zip(range(-len(known), 0), list(known.values()), strict=True))
    lacking = [level for level in levels if level not in known]
    if lacking or not levels:
        raise OptionError(f"features must be among {has}, got {lacking or 'none'}")
    return tuple(known[level] for level in levels)
