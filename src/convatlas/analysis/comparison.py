"""Networks beside each other: costs, memory, measured time, and who is beaten by nobody.

It knows what was counted or published, not how it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convatlas.analysis.latency import Latency
from convatlas.analysis.memory import MemoryReport
from convatlas.analysis.receptive_field import ReceptiveField
from convatlas.analysis.report import SUMMED, CostReport, GroupCost, LayerCost
from convatlas.models.catalogue import Entry

__all__ = ["Compared", "Comparison", "pareto_front", "weighted_layers"]

_WEIGHTED = ("conv", "linear")  # beginnings of the operators that a layer is named after


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the networks, with everything that was found out about it.

    Attributes:
        entry: Its published facts.
        input_size: Height and width, in pixels, that the costs are for.
        cost: Its costs for one image.
        memory: Predicted memory of inference with one image.
        latency: Measured time of one image, or None when nothing was measured.
    """

    entry: Entry
    input_size: int
    cost: CostReport
    memory: MemoryReport
    latency: Latency | None

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return self.entry.name

    @property
    def receptive_field(self) -> ReceptiveField | None:
        """What the output of the last stage sees; None where that is not known."""
        fields = [e.receptive_field for e in self.cost.layers if e.name.startswith("stages")]
        return fields[-1] if fields else None

    @property
    def layers(self) -> tuple[GroupCost, ...]:
        """Its convolutions and linear layers, each with all that follows until the next."""
        return weighted_layers(self.cost)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Some networks, and the ones of the catalogue that they are seen among.

    Attributes:
        networks: The networks that were asked for, each once, in that order.
        published: All networks of the catalogue with a published top-1 accuracy on
            ImageNet-1k.
        front: Those of ``published`` that no other beats in MACs and accuracy at once, the
            cheapest first.
    """

    networks: tuple[Compared, ...]
    published: tuple[Entry, ...]
    front: tuple[Entry, ...]


def pareto_front(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the networks that are beaten by nobody, from the fewest MACs to the most.

    One beats another with no more MACs and no lower top-1 accuracy, when one of the two is
    better. Networks that are equal in both stand or fall together.

    Args:
        entries: Networks with a published accuracy; others are left out.
    """
    front: list[Entry] = []
    best = last_macs = -1.0
    known = [(e.macs, -e.top1, e) for e in entries if e.top1 is not None]
    for macs, negative, entry in sorted(known, key=lambda row: row[:2]):
        if -negative > best or (-negative == best and macs == last_macs):
            front.append(entry)
            best, last_macs = -negative, macs
    return tuple(front)


def weighted_layers(report: CostReport) -> tuple[GroupCost, ...]:
    """Sum the operations per convolution or linear layer and all that follows until the next.

    What runs before the first one belongs to the first; so every figure adds up to the sum
    over ``report.layers``.
    """
    groups: list[list[LayerCost]] = []
    waiting: list[LayerCost] = []
    for layer in report.layers:
        if layer.operator.startswith(_WEIGHTED):
            groups.append([layer, *waiting])
            waiting = []
        else:
            (groups[-1] if groups else waiting).append(layer)
    return tuple(_layer_sum(group) for group in groups or [waiting] if group)


def _layer_sum(group: Sequence[LayerCost]) -> GroupCost:
    return GroupCost(
        name=group[0].name,
        layers=len(group),
        output_shape=group[0].output_shape,
        **{field: sum([getattr(layer, field) for layer in group]) for field in SUMMED},
    )
