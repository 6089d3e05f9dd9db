"""Where the time of a forward pass goes: layers, what runs between them, and what bounds them.

Every leaf module is timed inside the same passes that are timed as a whole. Knows no family.

A layer is bound by memory when it does fewer FLOPs per byte than this machine can do in the
time in which it moves one (Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009). FLOPs
are those of ``analyze``: a multiply-accumulate is two.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convatlas.analysis.cost import Run, report_of, traced
from convatlas.analysis.isolation import lend, modules_of
from convatlas.analysis.latency import WARM_UP, Latency, latency_of, timed_runs
from convatlas.analysis.machine import Ceilings, Clock
from convatlas.analysis.naming import name_operations
from convatlas.analysis.report import LayerCost
from convatlas.analysis.work import kind_of, works_of

__all__ = ["BETWEEN", "BenchReport", "LayerTiming", "MemoryBound", "bench"]

BETWEEN = "between layers"
"""What is not inside any leaf: functions called in a forward, and Python itself."""


@dataclass(frozen=True, slots=True)
class LayerTiming:
    """The measured time of one layer.

    Attributes:
        name: Path of the module, or ``BETWEEN``.
        kind: What it runs: ``"conv2d"``, ``"depthwise conv2d"``, ``"batch_norm"``.
        ms: Milliseconds: its share of the median pass.
        share: Part of the whole pass.
        macs: Multiply-accumulates.
        flops: Arithmetic operations.
        moved_bytes: Bytes read and written at least.
        is_memory_bound: Whether moving its bytes takes this machine longer than its arithmetic.
    """

    name: str
    kind: str
    ms: float
    share: float
    macs: int
    flops: int
    moved_bytes: int
    is_memory_bound: bool

    @property
    def gflops(self) -> float:
        """GFLOP/s that were reached."""
        return self.flops / self.ms / 1e6 if self.ms else 0.0

    @property
    def gbs(self) -> float:
        """GB/s that were moved at least."""
        return self.moved_bytes / self.ms / 1e6 if self.ms else 0.0


@dataclass(frozen=True, slots=True)
class MemoryBound:
    """The memory-bound layers of one kind.

    Attributes:
        kind: What they run.
        layers: How many they are.
        macs_share: Their part of the network's multiply-accumulates.
        time_share: Their part of the pass.
        intensity: FLOPs per byte that they do.
    """

    kind: str
    layers: int
    macs_share: float
    time_share: float
    intensity: float


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What a network takes on this machine, and how much of the machine it uses.

    Attributes:
        latency: The whole pass.
        precision: Type of weights and activations.
        macs: Multiply-accumulates of the pass.
        flops: Arithmetic operations of the pass.
        ceilings: What this machine can do.
        layers: One entry per leaf module in the order of their first run, ``BETWEEN`` last.
        memory_bound: Kinds of layers that are bound by memory, the longest first.
    """

    latency: Latency
    precision: str
    macs: int
    flops: int
    ceilings: Ceilings
    layers: tuple[LayerTiming, ...]
    memory_bound: tuple[MemoryBound, ...]

    @property
    def gflops(self) -> float:
        """GFLOP/s at the median."""
        return self.flops / self.latency.median_ms / 1e6

    @property
    def peak_share(self) -> float:
        """Part of what dense convolutions reach on this machine."""
        return self.gflops / self.ceilings.convolution_gflops


def bench(
    model: nn.Module,
    images: Tensor,
    ceilings: Ceilings,
    *,
    runs: int = 20,
    clock: Clock = time.perf_counter,
) -> BenchReport:
    """Time ``model`` on ``images`` in the mode it is in, as a whole and layer by layer.

    Args:
        model: Any network; afterwards it is as it was.
        images: Its input, of the type of its weights.
        ceilings: What this machine can do.
        runs: Timed passes, after three to warm up.
        clock: Seconds; another one than the wall's for tests.

    Raises:
        OptionError: Fewer than one run, or a model that cannot be analysed.
    """
    run = traced(model, inputs=[images])
    modules, watch = modules_of(model), _Watch(clock)
    with torch.inference_mode(), lend(modules, watch.framed, training=None):
        times = timed_runs(lambda: watch.whole(model, images), runs, images.device, clock)
    latency = latency_of(times, images.shape[0])
    report = report_of(run)
    layers = _timings(watch.shares(), latency.median_ms, run, report.layers, ceilings)
    return BenchReport(
        latency,
        str(images.dtype).removeprefix("torch."),
        report.macs,
        report.flops,
        ceilings,
        layers,
        _memory_bound(layers, report.macs),
    )


class _Watch:
    """Adds up the time inside each leaf module, pass by pass."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._passes: list[dict[str, float]] = []

    def whole(self, model: nn.Module, images: Tensor) -> None:
        """Run one pass."""
        self._passes.append(defaultdict(float))
        start = self._clock()
        model(images)
        leaves = self._passes[-1]
        leaves[BETWEEN] = self._clock() - start - sum(leaves.values())

    def framed(
        self, path: str, module: nn.Module, forward: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return the module's forward, timed if it is a leaf."""
        if module._modules:
            return forward

        def run(*args: Any, **kwargs: Any) -> Any:
            start = self._clock()
            output = forward(*args, **kwargs)
            self._passes[-1][path] += self._clock() - start
            return output

        return run

    def shares(self) -> dict[str, float]:
        """Return each leaf's part of a pass, in the order of the first run, ``BETWEEN`` last.

        Taken over the faster half of the passes: a pass that other programs slow down says
        which layer was running then, and not what it takes.
        """
        timed = sorted(self._passes[WARM_UP:], key=lambda leaves: sum(leaves.values()))
        kept = timed[: (len(timed) + 1) // 2]
        sums = {path: sum([leaves[path] for leaves in kept]) for path in kept[0]}
        whole = sum(sums.values())
        return {path: seconds / whole for path, seconds in sums.items()}


def _timings(
    shares: dict[str, float],
    whole_ms: float,
    run: Run,
    rows: Iterable[LayerCost],
    ceilings: Ceilings,
) -> tuple[LayerTiming, ...]:
    costs: dict[str, list[LayerCost]] = defaultdict(list)
    for row in rows:
        costs[_leaf_of(row.name, shares)].append(row)
    operations = run.trace.operations
    kinds = {
        name: kind_of(works[0])
        for op, (name, _) in zip(operations, name_operations(operations), strict=True)
        if (works := works_of(op))
    }
    balance = ceilings.convolution_gflops / ceilings.bandwidth_gbs
    layers = []
    for path, share in shares.items():
        own = costs.get(path, [])
        flops = sum([row.flops for row in own])
        moved = sum([row.moved_bytes for row in own])
        heaviest = max(own, key=lambda row: (row.flops, row.moved_bytes), default=None)
        kind = kinds.get(heaviest.name, heaviest.operator) if heaviest else ""
        layers.append(
            LayerTiming(
                path,
                kind if path != BETWEEN else "",
                share * whole_ms,
                share,
                sum([row.macs for row in own]),
                flops,
                moved,
                is_memory_bound=moved > 0 and flops < balance * moved,
            )
        )
    return tuple(layers)


def _leaf_of(name: str, leaves: Container[str]) -> str:
    """Return the leaf that ran an operation: its name is the leaf's, or the leaf's and more."""
    path = name.partition("#")[0]
    if path in leaves:
        return path
    path = path.rpartition(".")[0]
    return path if path in leaves else BETWEEN


def _memory_bound(layers: Iterable[LayerTiming], macs: int) -> tuple[MemoryBound, ...]:
    kinds: dict[str, list[LayerTiming]] = defaultdict(list)
    for layer in layers:
        if layer.is_memory_bound and layer.kind:
            kinds[layer.kind].append(layer)
    found = [
        MemoryBound(
            kind,
            len(members),
            sum([layer.macs for layer in members]) / macs if macs else 0.0,
            sum([layer.share for layer in members]),
            sum([m.flops for m in members]) / sum([m.moved_bytes for m in members]),
        )
        for kind, members in kinds.items()
    ]
    return tuple(sorted(found, key=lambda each: -each.time_share))
