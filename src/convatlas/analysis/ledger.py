"""From a trace to rows: each operation's cost, parameters and receptive field.

Walks the operations once, in execution order. Knows nothing about how they were traced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from convatlas.analysis.backward import Gradients
from convatlas.analysis.field import Field, input_field, lost
from convatlas.analysis.field_rules import propagate
from convatlas.analysis.formulas import FORMULAS, cost_of
from convatlas.analysis.naming import name_operations
from convatlas.analysis.operation import Operation
from convatlas.analysis.operators import SHAPE_READERS
from convatlas.analysis.receptive_field import ReceptiveField, summarise
from convatlas.analysis.report import LayerCost, Uncounted
from convatlas.analysis.traffic import traffic_of

__all__ = ["Ledger", "uncounted_in"]


class Ledger:
    """Books the operations of one forward.

    Args:
        parameters: The model's parameters by id.
        originals: id of a meta twin → the tensor that it stands for.
        images: The model's inputs.
    """

    def __init__(
        self,
        parameters: Mapping[int, Tensor],
        originals: Mapping[int, Tensor],
        images: Iterable[Tensor],
    ) -> None:
        self._unbooked = {key: parameter.numel() for key, parameter in parameters.items()}
        self._fields = {id(image): input_field(image) for image in images}
        self._gradients = Gradients(parameters, originals)
        self._summaries: dict[Field, ReceptiveField] = {}
        # Tensor → the parameters that it was computed from, for weights that a forward
        # standardises or reshapes before the layer that uses them.
        self._carried = {key: [key] for key in parameters}
        for key, original in originals.items():
            self._carried[key] = self._carried.get(id(original), [])

    def rows(self, operations: Sequence[Operation]) -> tuple[LayerCost, ...]:
        """Return one row per operation, leaving out the free ones on weights alone."""
        rows = []
        for op, (name, module_type) in zip(operations, name_operations(operations), strict=True):
            (macs, flops), is_counted = cost_of(op), _is_counted(op)
            backward_macs, (read, written) = self._gradients.macs_of(op, macs), traffic_of(op)
            params, field = self._book(op)
            if field is None and _is_of_weights_alone(op) and is_counted and not flops:
                continue
            rows.append(
                LayerCost(
                    name,
                    op.operator,
                    module_type,
                    tuple(op.outputs[0].shape),
                    params,
                    macs,
                    flops,
                    backward_macs,
                    sum([tensor.nbytes for tensor in op.allocated]),
                    read,
                    written,
                    self._summary(field),
                    field.note if field else "does not depend on the input",
                    is_counted,
                )
            )
        return tuple(rows)

    def _book(self, op: Operation) -> tuple[int, Field | None]:
        """Return the parameters used here for the first time, and the output's field.

        The field is None when nothing that the operation reads depends on the input.
        """
        field = self._follow(op)
        keys = [key for tensor in op.inputs for key in self._carried.get(id(tensor), ())]
        if field is None:
            self._carried.update((id(output), keys) for output in op.outputs)
            return 0, None
        return sum([self._unbooked.pop(key, 0) for key in keys]), field

    def _follow(self, op: Operation) -> Field | None:
        """Pass the fields of an operation's inputs on to its outputs."""
        fields = self._fields
        known = [(tensor, fields.get(id(tensor))) for tensor in op.inputs]
        sources = [(tensor, field) for tensor, field in known if field is not None]
        if not sources or op.operator in SHAPE_READERS:
            return None
        if op.parts:
            for part in op.parts:
                self._follow(part)
            field = fields.get(id(op.outputs[0])) or lost(f"{op.operator} is not followed")
        else:
            field = propagate(op, sources)
        fields.update((id(output), field) for output in op.outputs)
        return field

    def _summary(self, field: Field | None) -> ReceptiveField | None:
        """Return the numbers of a field; layers that leave it as it is share them."""
        if field is None or not field.axes:
            return None
        known = self._summaries.get(field)
        if known is None:
            known = self._summaries[field] = summarise(field.axes)
        return known


def _is_counted(op: Operation) -> bool:
    """Whether an operation has a formula, or is made of parts that all have one."""
    return op.operator in FORMULAS or (bool(op.parts) and all(map(_is_counted, op.parts)))


def _is_of_weights_alone(op: Operation) -> bool:
    """Whether an operation that does not depend on the input only prepares weights."""
    return bool(op.inputs) and op.operator not in SHAPE_READERS


def uncounted_in(rows: Iterable[LayerCost]) -> tuple[Uncounted, ...]:
    """List the operators without a formula."""
    counts = Counter(row.operator for row in rows if not row.is_counted)
    return tuple(Uncounted(operator, count) for operator, count in counts.items())
