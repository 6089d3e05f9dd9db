"""Weight initialisation by the papers' rules."""

from __future__ import annotations

from typing import Literal

from torch import nn

__all__ = ["faint_class_maps", "he_normal", "truncated_normal"]


def he_normal(model: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """Draw convolutions from N(0, 2 / fan), set norms to 1 and 0, biases to 0.

    ``fan_out`` keeps the variance of the gradients; ``fan_in`` that of the maps, for nets without
    normalisation whose widths go up and down. As in torchvision, ``fan_out`` counts all output
    channels, also those of other groups, so that grouped filters begin smaller than that.

    Linear layers keep torch's own initialisation. A network on the meta device is left alone:
    it has no values, and torch would take as long over them as over building it.
    Source: He et al., "Delving Deep into Rectifiers", 2015, arXiv 1502.01852, equations 14 and 10.
    """
    if next(model.parameters()).is_meta:
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def faint_class_maps(classifier: nn.Module) -> None:
    """Draw the convolution of a ``convolved_classifier`` from N(0, 0.01²).

    By He's rule few classes mean large logits, and rectified ones that a first step pushes below
    zero stay there. Source: torchvision's SqueezeNet.
    """
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.01)


def truncated_normal(model: nn.Module, *kinds: type[nn.Conv2d | nn.Linear]) -> None:
    """Draw the weights of ``kinds`` of layers from N(0, 0.02²), cut off at ±2; set biases to 0.

    Source: the authors' code of Swin Transformer (arXiv 2103.14030) and ConvNeXt (2201.03545).
    """
    if next(model.parameters()).is_meta:
        return
    for module in model.modules():
        if isinstance(module, kinds):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
