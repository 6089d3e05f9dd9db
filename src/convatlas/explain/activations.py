"""What the layers of a network answer to images: the features that other classifiers build on.

It knows no task; a layer is any module by its path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convatlas.errors import DataError, OptionError, nearest

__all__ = ["activations", "require_layers"]


def activations(
    model: nn.Module, batches: Iterable[Tensor], layers: Sequence[str], *, pooled: bool = True
) -> dict[str, Tensor]:
    """Return what ``layers`` answer to all images, in evaluation mode; the model is left as it was.

    Args:
        model: The network.
        batches: Images, each (N, C, H, W).
        layers: Paths of modules, such as ``"stages.3"`` or ``"head"``.
        pooled: Whether maps are averaged over their places, the axes after the second.

    Returns:
        Layer → float32 on the CPU: (images, channels), or the shape of the layer's output.

    Raises:
        OptionError: No such layer, or one whose output is not one tensor with a row per image.
        DataError: No images.
    """
    require_layers(model, layers)
    modules = dict(model.named_modules())
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    seen: list[int] = []

    def keep(layer: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _inputs, output: found[layer].append(_kept(layer, output, pooled))

    with _listening(model, [(modules[layer], keep(layer)) for layer in found]):
        for images in batches:
            seen.append(len(images))
            model(images)
    if not seen:
        raise DataError("expected at least 1 image, got none: give more images")
    for layer, parts in found.items():
        if [len(part) for part in parts] != seen:
            raise OptionError(
                f"expected a layer that answers once to each image, got {layer}, which does so "
                f"{len(parts) / len(seen):g} times: take a stage or the head"
            )
    return {layer: torch.cat(parts) for layer, parts in found.items()}


def require_layers(model: nn.Module, layers: Sequence[str]) -> None:
    """Check the paths of ``layers`` before time is spent on images.

    Raises:
        OptionError: No such layer; the nearest are in the message.
    """
    modules = dict(model.named_modules())
    for layer in layers:
        if layer not in modules or not layer:
            raise OptionError(
                f"expected the path of a layer such as stages.0 or head, got {layer!r}"
                f"{nearest(layer, modules)}"
            )


@contextmanager
def _listening(
    model: nn.Module, hooks: Sequence[tuple[nn.Module, Callable[[nn.Module, Any, Any], None]]]
) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        model.eval()
        with torch.inference_mode():
            yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training


def _kept(layer: str, output: Any, pooled: bool) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim < 2:
        raise OptionError(
            f"expected a layer whose output is a tensor (N, …), got {layer} with "
            f"{type(output).__name__}: take a stage or the head"
        )
    answer = output.detach().float()
    if pooled and answer.ndim > 2:
        return answer.flatten(2).mean(2).cpu()
    # A copy, because the next layer may write over its input.
    return answer.to("cpu", copy=True)
