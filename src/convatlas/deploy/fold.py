"""Batch normalisation folded into the convolution before it: one operator instead of two.

Which pairs belong together is observed, not guessed from names: one pass over a probe
image records which operator reads which tensor. Knows no family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convatlas.models.anatomy import ConvNet

__all__ = ["fold_batch_norm"]


def fold_batch_norm(model: ConvNet, input_size: tuple[int, int] | None = None) -> ConvNet:
    """Return a copy in evaluation mode whose foldable batch normalisations are identities.

    With ``s = γ / sqrt(σ² + ε)`` the convolution's weight becomes ``s·W`` and its bias
    ``s·(b - μ) + β``. A pair is folded only if the normalisation reads the convolution's
    output, nothing else reads it, the convolution uses its own weight as it is, and each
    of the two runs once. Others stay as they are, so the copy gives the same logits and
    the same features.

    Args:
        model: Left as it is.
        input_size: Height and width, in pixels, of the probe image; by default 64×64, or
            the network's smallest where that is larger.
    """
    folded = deepcopy(model).eval()
    side = max(64, folded.min_input_size)
    weight = next(folded.parameters())
    image = torch.zeros(
        (1, folded.in_channels, *(input_size or (side, side))),
        device=weight.device,
        dtype=weight.dtype,
    )
    with torch.no_grad(), _Dataflow() as flow:
        features = folded.forward_features(image)
        flow.note_reads(features)
        flow.note_reads(folded.head(features[-1]))
    names = {module: name for name, module in folded.named_modules()}
    for conv, norm in _pairs(folded, flow):
        _fold(conv, norm)
        folded.set_submodule(names[norm], nn.Identity().eval())
    return folded


class _Dataflow(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types no part of it
    """Record of the operators of one pass.

    Attributes:
        outputs: id of a convolution's weight → the tensors that it produced.
        norms: id of a normalisation's parameter or statistic → the tensors that it read.
        reads: id of a tensor → how many operators read it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch types no part of it
        self.outputs: dict[int, list[Tensor]] = {}
        self.norms: dict[int, list[Tensor]] = {}
        self.reads: Counter[int] = Counter()
        self._alive: list[Tensor] = []  # a freed tensor's id would be given to another one

    def note_reads(self, values: object) -> None:
        """Count one more reader of every tensor in ``values``."""
        seen = _tensors(values)
        self._alive += seen
        self.reads.update(id(tensor) for tensor in seen)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operator and record what it read."""
        result = func(*args, **(kwargs or {}))
        self.note_reads([args, kwargs])
        if func is torch.ops.aten.convolution.default:
            self.outputs.setdefault(id(args[1]), []).append(result)
        elif "batch_norm" in func.__name__:
            for parameter in _tensors(args[1:]):
                self.norms.setdefault(id(parameter), []).append(args[0])
        return result


def _tensors(values: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _pairs(model: nn.Module, flow: _Dataflow) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return every convolution together with the normalisation to fold into it."""
    convs: dict[int, nn.Conv2d] = {}
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d) and flow.reads[id(conv.weight)] == 1:
            for output in flow.outputs.get(id(conv.weight), []):
                if flow.reads[id(output)] == 1:
                    convs[id(output)] = conv
    pairs = []
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            read = flow.norms.get(id(norm.running_mean), [])
            if len(read) == 1 and id(read[0]) in convs:
                pairs.append((convs[id(read[0])], norm))
    return pairs


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Move ``norm`` into ``conv``, computed in double precision, which not every device has."""
    if norm.running_mean is None or norm.running_var is None:
        return
    mean, variance = norm.running_mean.cpu().double(), norm.running_var.cpu().double()
    gamma = norm.weight.cpu().double() if norm.affine else torch.ones_like(mean)
    beta = norm.bias.cpu().double() if norm.affine else torch.zeros_like(mean)
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.cpu().double()
    scale = gamma / torch.sqrt(variance + norm.eps)
    weight = conv.weight.cpu().double() * scale[:, None, None, None]
    bias = (bias - mean) * scale + beta
    old = conv.weight
    conv.weight, conv.bias = (
        nn.Parameter(new.detach().to(old.device, old.dtype), old.requires_grad)
        for new in (weight, bias)
    )
