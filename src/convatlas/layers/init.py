"""Weight initialisation by the papers' rules."""

from __future__ import annotations

from torch import nn

__all__ = ["he_normal"]


def he_normal(model: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / fan_out), set norms to 1 and 0, biases to 0.

    Linear layers keep torch's own initialisation.
    Source: He et al., "Delving Deep into Rectifiers", 2015, arXiv 1502.01852, equation 14.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
