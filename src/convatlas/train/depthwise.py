"""The backward pass of depthwise convolutions in bfloat16 on CPUs, by quicker kernels.

oneDNN has no vectorised bfloat16 kernel for the image gradient of a strided depthwise
convolution nor for the weight gradient of kernels above 3×3, and falls back to loops that are
several times slower than fp32 (docs/benchmarks.md). Both gradients are linear maps that other
kernels compute as well:

- image: a convolution with stride 1 of the gradient, zeros put between its pixels where the
  convolution had a stride, with the kernel turned by 180° (Dumoulin & Visin 2016,
  arXiv:1603.07285, section 4);
- weights: the same sums in fp32, rounded to bfloat16 at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["QuickDepthwise", "depthwise_backward"]

_BACKWARD = torch.ops.aten.convolution_backward.default
_VECTORISED_KERNEL = 3  # the widest kernel whose weight gradient oneDNN vectorises in bfloat16


def depthwise_backward(model: nn.Module, *, in_bf16: bool) -> AbstractContextManager[object]:
    """Return the context for the backward pass of ``model``, which is often none at all."""
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    if in_bf16 and any(1 < each.groups == each.in_channels for each in convolutions):
        return QuickDepthwise()  # type: ignore[no-untyped-call]  # torch's is untyped
    return nullcontext()


class QuickDepthwise(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
    """While entered around ``backward()``, depthwise convolutions take the quicker kernels.

    Everything else, and any convolution that is not depthwise, in bfloat16, on the CPU and
    without dilation, goes its usual way.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run ``func``, or what stands in for it."""
        if func is _BACKWARD and _is_depthwise(*args):
            return _backward(*args)
        return func(*args, **(kwargs or {}))


def _is_depthwise(gradient: Tensor, images: Tensor, weight: Tensor, *rest: Any) -> bool:
    _, _, padding, dilation, transposed, _, groups, _ = rest
    return (
        images.ndim == 4
        and 1 < groups == images.shape[1] == weight.shape[0]
        and all(p < k for p, k in zip(padding, weight.shape[2:], strict=True))
        and not transposed
        and all(step == 1 for step in dilation)
        and all(each.dtype is torch.bfloat16 for each in (gradient, images, weight))
        and images.device.type == "cpu"
    )


def _backward(
    gradient: Tensor, images: Tensor, weight: Tensor, *rest: Any
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of images, weight and bias, as far as they are wanted."""
    bias_sizes, stride, padding, dilation, transposed, output_padding, groups, wanted = rest
    of_images = _of_images(gradient, images, weight, stride, padding) if wanted[0] else None
    parts = (gradient, images, weight)
    if max(weight.shape[2:]) > _VECTORISED_KERNEL and wanted[1]:
        parts = (gradient.float(), images.float(), weight.float())
    _, of_weight, of_bias = _BACKWARD(
        *parts,
        bias_sizes,
        stride,
        padding,
        dilation,
        transposed,
        output_padding,
        groups,
        [False, *wanted[1:]],
    )
    return of_images, _rounded(of_weight), _rounded(of_bias)


def _rounded(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.to(torch.bfloat16)


def _of_images(
    gradient: Tensor, images: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    kernel = weight.shape[2:]
    before = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
    if any(step > 1 for step in stride):
        # As large as it would be had the stride been 1.
        sides = [n - b + p for n, b, p in zip(images.shape[2:], before, padding, strict=True)]
        shape = (*images.shape[:2], *sides)
        spread = gradient.new_empty(shape).to(memory_format=torch.channels_last).zero_()
        spread[:, :, :: stride[0], :: stride[1]] = gradient
        gradient = spread
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, before, 1, images.shape[1])
