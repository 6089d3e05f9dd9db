"""Claims about depth and about what an output sees: ResNets and chains of 3×3 convolutions."""

from __future__ import annotations

from functools import partial

from torch import nn

from convatlas.claims.measuring import WEIGHTED, Measured, measure, network, path_length
from convatlas.claims.verdicts import Computed, Step

__all__ = ["chains", "depth_layers", "resnet_fields"]

_RESNETS = (18, 34, 50, 101)
_CHANNELS = 64


def resnet_fields() -> Computed:
    """Read the receptive field after the stem's two parts and after each stage."""
    figures, steps = {}, []
    for layers in _RESNETS:
        net = network(f"resnet{layers}")
        places = ("stem.conv", "stem.pool", *(f"stages.{i}" for i in range(4)))
        fields = [_field(net, place) for place in places]
        figures[f"r{layers}"] = fields
        steps += [
            Step(f"ResNet-{layers}: {place}", "counted", field)
            for place, field in zip(places, fields, strict=True)
        ]
    published = [_field(network("resnet50_v1"), f"stages.{i}") for i in range(4)]
    steps.append(Step("ResNet-50 with strides in the 1×1: stages", "counted", published))
    return Computed(
        figures,
        steps,
        remarks=[
            "Bottlenecks stride in their 3×3 convolution here, as public implementations do. With "
            "the paper's stride in the first 1×1, ResNet-50's stages see "
            f"{', '.join(map(str, published))} pixels."
        ],
    )


def _field(net: Measured, place: str) -> int:
    """Return the side of what the last layer below a path sees."""
    fields = [
        row.receptive_field
        for row in net.report.layers
        if row.name.startswith(place) and row.receptive_field is not None
    ]
    return fields[-1].size[0]


def chains() -> Computed:
    """Compare two and three 3×3 convolutions with the one filter that sees as much."""
    figures: dict[str, float | list[float]] = {}
    steps = []
    for length, side in ((2, 5), (3, 7)):
        chain, one = _chain(length, 3), _chain(1, side)
        unit = _CHANNELS * _CHANNELS
        weights = [_weights(net) / unit for net in (chain, one)]
        figures[f"field{length}"] = _field(chain, "")
        figures[f"weights{length}"] = weights
        figures[f"acts{length}"] = len(chain.rows("relu"))
        steps += [
            Step(f"{length} of 3×3: pixels seen", f"1 + {length}·(3 - 1)", _field(chain, "")),
            Step(f"1 of {side}×{side}: pixels seen", f"1 + 1·({side} - 1)", _field(one, "")),
            Step(
                f"{length} of 3×3: weights",
                f"{length}·3·3·{_CHANNELS}·{_CHANNELS}",
                _weights(chain),
            ),
            Step(
                f"1 of {side}×{side}: weights",
                f"{side}·{side}·{_CHANNELS}·{_CHANNELS}",
                _weights(one),
            ),
            Step(f"{length} of 3×3: non-linearities", "counted", len(chain.rows("relu"))),
        ]
    return Computed(figures, steps)  # fmt: skip


def _weights(net: Measured) -> int:
    return sum([row.params for row in net.rows("conv2d")])


def _chain(length: int, side: int) -> Measured:
    conv = partial(nn.Conv2d, _CHANNELS, _CHANNELS, side, padding=side // 2, bias=False)
    return measure(
        lambda: nn.Sequential(*[part for _ in range(length) for part in (conv(), nn.ReLU())]),
        (_CHANNELS, 32, 32),
    )


def depth_layers() -> Computed:
    """Count the layers with weights along the longest way of the deepest ResNets."""
    figures, steps = {}, []
    for name, size, how in (
        ("resnet152", 224, "1 + 3·(3 + 8 + 36 + 3) + 1"),
        ("cifar_resnet1202", 32, "1 + 2·3·200 + 1"),
    ):
        figures[name] = path_length(network(name).model, size, *WEIGHTED)
        steps.append(Step(name, how, figures[name]))
    return Computed(figures, steps)
