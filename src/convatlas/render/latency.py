"""Measured and predicted times as tables for the terminal: networks, layers, trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from convatlas.render.columns import Column, fitted_table, terminal_width
from convatlas.render.units import (
    count,
    latency,
    percent,
    plural,
    quantity,
    seconds_text,
    whole,
)

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.analysis.forecast import LatencyEstimate
    from convatlas.analysis.layer_times import BenchReport
    from convatlas.analysis.machine import Ceilings
    from convatlas.analysis.training_time import TrainingEstimate

__all__ = [
    "bench_table",
    "bench_values",
    "ceilings_text",
    "estimate_table",
    "layers_table",
    "memory_bound_lines",
    "training_lines",
]

_SHOWN_SHARE = 0.01


def bench_table(reports: Sequence[tuple[str, BenchReport]], width: int | None = None) -> Table:
    """Return a row per measured network.

    Args:
        reports: Names and measurements, on one machine.
        width: Terminal cells; those of this terminal by default.
    """
    measured = [report for _, report in reports]
    first = measured[0]
    columns = [
        Column("network", [name for name, _ in reports]),
        Column("median", [latency(r.latency.median_ms) for r in measured], is_number=True),
        Column(
            "10–90 %",
            [f"{latency(r.latency.low_ms)} – {latency(r.latency.high_ms)}" for r in measured],
            3,
            is_number=True,
        ),
        Column("images/s", [f"{r.latency.images_per_s:.1f}" for r in measured], 4, is_number=True),
        Column("MACs", [count(r.macs) for r in measured], 0, is_number=True),
        Column("GFLOP/s", [f"{r.gflops:.1f}" for r in measured], 2, is_number=True),
        Column("of peak", [percent(r.peak_share) for r in measured], 1, is_number=True),
    ]
    title = (
        f"{plural(first.latency.batch, 'image')} per pass, "
        f"{plural(first.latency.threads, 'thread')}, {first.precision}"
    )
    return fitted_table(
        columns, width or terminal_width(), title=title, notes=[ceilings_text(first.ceilings)]
    )


def bench_values(report: BenchReport) -> dict[str, Any]:
    """Return a measurement and what follows from it, for JSON."""
    return {
        **asdict(report),
        "images_per_s": report.latency.images_per_s,
        "gflops": report.gflops,
        "peak_share": report.peak_share,
    }


def ceilings_text(ceilings: Ceilings) -> str:
    """Say what a machine reaches, and how FLOPs are counted."""
    return (
        f"This machine reaches {ceilings.convolution_gflops:.0f} GFLOP/s in dense convolutions "
        f"and moves {ceilings.bandwidth_gbs:.1f} GB/s. One MAC is 2 FLOPs; every other operation "
        "is 1."
    )


def layers_table(report: BenchReport, most: int | None = None, width: int | None = None) -> Table:
    """Return the layers by the time that they take, the longest first.

    Args:
        report: The measurement.
        most: Rows; without it, the layers with 1 % of the time or more.
        width: Terminal cells; those of this terminal by default.
    """
    ranked = sorted(report.layers, key=lambda layer: -layer.ms)
    shown = ranked[:most] if most else [each for each in ranked if each.share >= _SHOWN_SHARE]
    rest = len(ranked) - len(shown)
    columns = [
        Column("layer", [layer.name for layer in shown]),
        Column("operator", [layer.kind for layer in shown], 2),
        Column("time", [latency(layer.ms) for layer in shown], is_number=True),
        Column("share", [percent(layer.share) for layer in shown], is_number=True),
        Column("MACs", [count(layer.macs) for layer in shown], 1, is_number=True),
        Column("GFLOP/s", [f"{layer.gflops:.1f}" for layer in shown], 3, is_number=True),
        Column("GB/s", [f"{layer.gbs:.1f}" for layer in shown], 0, is_number=True),
        Column("bound by", ["memory" if layer.is_memory_bound else "" for layer in shown], 4),
    ]
    share = sum(layer.share for layer in ranked[len(shown) :])
    notes = [f"{plural(rest, 'other layer')}: {percent(share)} of the time."] if rest else []
    return fitted_table(columns, width or terminal_width(), notes=notes)


def memory_bound_lines(report: BenchReport) -> list[str]:
    """Say for each kind of memory-bound layers what it computes and what it takes."""
    return [
        f"{plural(each.layers, f'{each.kind} layer')}: {percent(each.macs_share, 0)} of the MACs, "
        f"{percent(each.time_share, 0)} of the time, bound by memory "
        f"({each.intensity:.2g} FLOPs per byte)"
        for each in report.memory_bound
        if each.time_share >= _SHOWN_SHARE
    ]


def estimate_table(
    estimates: Sequence[tuple[str, LatencyEstimate]], width: int | None = None
) -> Table:
    """Return a row per predicted network.

    Args:
        estimates: Names and predictions, for one machine.
        width: Terminal cells; those of this terminal by default.
    """
    predicted = [estimate for _, estimate in estimates]
    first = predicted[0]
    columns = [
        Column("network", [name for name, _ in estimates]),
        Column("predicted", [latency(e.median_ms) for e in predicted], is_number=True),
        Column(
            "90 % interval",
            [f"{latency(e.low_ms)} – {latency(e.high_ms)}" for e in predicted],
            1,
            is_number=True,
        ),
        Column(
            "images/s",
            [f"{1e3 * e.batch / e.median_ms:.1f}" for e in predicted],
            0,
            is_number=True,
        ),
    ]
    guessed = dict.fromkeys(operator for e in predicted for operator in e.guessed)
    notes = ["Predicted from single operators; the networks were not run."]
    if guessed:
        names = ", ".join(guessed)
        notes.append(f"Not calibrated, priced by a similar operator or by their bytes: {names}.")
    title = (
        f"{plural(first.batch, 'image')} per pass, {plural(first.threads, 'thread')}, "
        f"{first.precision}"
    )
    return fitted_table(columns, width or terminal_width(), title=title, notes=notes)


def training_lines(name: str, estimate: TrainingEstimate) -> list[str]:
    """Say how long a training takes, and warn when the data would be the bottleneck."""
    lines = [
        f"{name}: {latency(estimate.step_ms)} per step, "
        f"{quantity(estimate.images_per_s, 'images/s')}; {whole(estimate.steps)} steps take "
        f"{seconds_text(estimate.seconds)}"
    ]
    if estimate.is_loader_bound:
        lines.append(
            f"warning: the data loader gives {quantity(estimate.loader_images_per_s, 'images/s')}, "
            "fewer than the network takes: it is the bottleneck; add workers or a cache"
        )
    return lines
