"""Weight initialisation by the papers' rules."""

from __future__ import annotations

from typing import Literal

from torch import nn

__all__ = ["faint_class_maps", "he_normal", "truncated_normal"]


def he_normal(model: nn.Module, mode: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """Draw convolutions from N(0, 2 / fan), set norms to 1 and 0, biases to 0.

    ``fan_out`` keeps the variance of the gradients; ``fan_in`` that of the maps, for nets without
    normalisation: nothing else would stop their maps from fading or growing from layer to layer.
    As in torchvision, ``fan_out`` counts all output channels, also those of other groups, so that
    grouped filters begin smaller than that.

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
    """Draw the convolution of a ``convolved_classifier`` from N(0, 0.01²); set its biases to 1.

    A rectified logit that is below zero for every image learns no more, and with few classes the
    first steps push all of them there. From 1 nothing is rectified yet, and softmax's gradients
    add up to zero over the classes: some logits sink, but not their mean.
    Sources: torchvision's SqueezeNet (0.01); Krizhevsky et al. 2012, section 5 (biases of 1, so
    that ReLUs begin with positive inputs).
    """
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.weight, std=0.01)
            nn.init.ones_(module.bias)


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
