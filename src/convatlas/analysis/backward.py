"""What the backward pass multiplies: the gradients that a training step needs, and no others.

A product of two operands that both need a gradient costs its forward's multiply-accumulates
twice more: once for the gradient of the weight, once for that of the input. The first
convolution needs none for the image, and a frozen layer none for its weight, which is why a
frozen backbone trains faster. Knows nothing about memory or time.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from convatlas.analysis.formulas import FORMULAS, cost_of
from convatlas.analysis.operation import Operation

__all__ = ["Gradients"]

# Where the two factors of a product are among the operands; the others are added.
_FACTORS = {**dict.fromkeys(("addmm", "baddbmm", "addmv"), (1, 2)), "bilinear": (0, 1, 2)}
_ATTENTION = "scaled_dot_product"


class Gradients:
    """Follows which tensors of one forward need a gradient.

    Args:
        parameters: The model's parameters by id.
        originals: id of a meta twin → the tensor that it stands for.
    """

    def __init__(self, parameters: Mapping[int, Tensor], originals: Mapping[int, Tensor]) -> None:
        self._needed = {key for key, p in parameters.items() if p.requires_grad}
        self._needed |= {twin for twin, p in originals.items() if id(p) in self._needed}

    def macs_of(self, op: Operation, forward: int) -> int:
        """Return the backward multiply-accumulates of ``op``; call it in execution order.

        Args:
            op: The operation.
            forward: Its forward multiply-accumulates.
        """
        if self._needed.isdisjoint(map(id, op.inputs)):
            return 0
        macs = self._macs(op, forward) if forward or op.parts else 0
        self._needed.update([id(output) for output in op.outputs if _can_need(output)])
        return macs

    def _macs(self, op: Operation, macs: int) -> int:
        if op.parts and op.operator not in FORMULAS:
            return sum([self.macs_of(part, cost_of(part).macs) for part in op.parts])
        if op.operator.lstrip("_").startswith(_ATTENTION):
            return 2 * macs  # the gradients of values, scores, queries and keys, nothing recomputed
        factors = [op.inputs[i] for i in _FACTORS.get(op.operator, (0, 1)) if i < len(op.inputs)]
        return macs * sum([id(tensor) in self._needed for tensor in factors])


def _can_need(tensor: Tensor) -> bool:
    return tensor.dtype.is_floating_point or tensor.dtype.is_complex
