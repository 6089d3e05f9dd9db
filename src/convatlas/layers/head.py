"""Classifier heads: global pooling and a linear layer, as most families end, or a convolution."""

from __future__ import annotations

from torch import nn

from convatlas.layers.conv import named

__all__ = ["classifier", "convolved_classifier", "pooled_classifier"]


def classifier(in_features: int, num_classes: int) -> nn.Module:
    """Return the last linear layer, or an identity when ``num_classes`` is 0."""
    return nn.Linear(in_features, num_classes) if num_classes else nn.Identity()


def convolved_classifier(in_channels: int, num_classes: int) -> nn.Sequential:
    """Return a 1×1 convolution to class maps, rectified and averaged to logits.

    With ``num_classes`` 0 the features themselves are averaged.
    Source: Lin, Chen, Yan, "Network in Network", 2013, arXiv 1312.4400, section 3.2.
    """
    pooled = named(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    if not num_classes:
        return pooled
    conv = nn.Conv2d(in_channels, num_classes, 1)
    return named(conv=conv, act=nn.ReLU(), **dict(pooled.named_children()))


def pooled_classifier(
    in_channels: int, num_classes: int, dropout: float = 0.0, **before: nn.Module
) -> nn.Sequential:
    """Return global average pooling, dropout and a linear classifier, after what stands before.

    Source: Lin, Chen, Yan, "Network in Network", 2013, arXiv 1312.4400 (the pooling).
    """
    return named(
        **before,
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(dropout),
        classifier=classifier(in_channels, num_classes),
    )
