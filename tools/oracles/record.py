"""Watch a network of any library: what it holds, what its layers give out, its logits.

It knows neither where the network came from nor how a fixture is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

SHOWN_LOGITS = 8

RecordedCall = Callable[..., Any]


class LayerShapes(TorchFunctionMode):
    """Collects the output shape of every 2-D convolution and linear map, as they run.

    The operators are watched rather than the modules: some networks hand a module's
    weight to the operator themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[str] = []

    def __torch_function__(
        self,
        func: RecordedCall,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (functional.conv2d, functional.linear):
            self.shapes.append(shape_text(tuple(result.shape[1:])))
        return result


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as the fixtures write it: ``"64x3x7x7"``."""
    return "x".join(str(size) for size in shape)


def entries(net: nn.Module) -> dict[str, Tensor]:
    """Return the floating-point entries of the state dict: all that decides the logits."""
    return {key: value for key, value in net.state_dict().items() if value.is_floating_point()}


def state_lines(net: nn.Module) -> list[str]:
    """Return one line per entry, key and shape, in the order of the state dict."""
    return [f"{key} {shape_text(tuple(value.shape))}" for key, value in entries(net).items()]


def count_params(net: nn.Module) -> int:
    """Return the number of parameters; buffers such as running means do not count."""
    return sum(parameter.numel() for parameter in net.parameters())


@torch.no_grad()
def watch(net: nn.Module, images: Tensor) -> tuple[Tensor, list[str]]:
    """Return the logits and the layers' output shapes, without the batch axis, in order."""
    with LayerShapes() as layers:
        logits: Tensor = net(images)
    return logits, layers.shapes


def logit_fields(logits: Tensor) -> dict[str, Any]:
    """Return the first logits of each image and the length of each image's logit vector."""
    return {
        "logits": [rounded(row[:SHOWN_LOGITS].tolist()) for row in logits],
        "logit_norm": rounded(logits.norm(dim=1).tolist()),
    }


def rounded(values: list[float]) -> list[float]:
    """Return the values with nine significant digits."""
    return [float(f"{value:.9g}") for value in values]
