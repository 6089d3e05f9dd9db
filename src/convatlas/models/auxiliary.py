"""Auxiliary classifiers: a loss in the middle of the network, beside its path.

Training with ``forward_with_auxiliary`` pushes gradients into early layers; everything else
takes the logits of ``forward`` and never runs them. Knows no family.

Source: Szegedy et al., "Going Deeper with Convolutions", 2014, arXiv 1409.4842, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from convatlas.models.anatomy import ConvNet

__all__ = ["AuxiliaryConvNet", "Beside"]


class Beside(nn.Module):
    """Classifiers that belong to the network but not to its path: maps pass unchanged.

    Where it stands decides where its parameters stand in the state dict, and nothing else.
    """

    def __init__(self, *classifiers: nn.Module) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(classifiers)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` itself."""
        return x


class AuxiliaryConvNet(ConvNet):
    """A ``ConvNet`` with classifiers that read maps from the middle of its path.

    Args:
        stem: As in ``ConvNet``.
        stages: As in ``ConvNet``, each a sequence of blocks.
        head: As in ``ConvNet``.
        taps: Path of each block whose output a classifier reads, such as ``"stages.2.a"``.
        beside: The classifiers in the same order; the module also stands in a stage or the head.
        **anatomy: The other arguments of ``ConvNet``.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        head: nn.Module,
        *,
        taps: Sequence[str],
        beside: Beside,
        **anatomy: Any,
    ) -> None:
        super().__init__(stem, stages, head, **anatomy)
        self.taps = tuple(taps)
        self._place = next(name for name, module in self.named_modules() if module is beside)

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the logits, and those of each auxiliary classifier: all ``(N, num_classes)``.

        Raises:
            InputSizeError: As ``forward_features``.
        """
        self._check_input(x)
        x = self.stem(x)
        tapped = []
        for i, stage in enumerate(self.stages):
            for name, block in stage.named_children():
                x = block(x)
                if f"stages.{i}.{name}" in self.taps:
                    tapped.append(x)
        classifiers = self.get_submodule(self._place).get_submodule("classifiers").children()
        pairs = zip(classifiers, tapped, strict=False)  # built without them, there are none
        return self.head(x), tuple(classifier(tap) for classifier, tap in pairs)
