"""Times as tables and sentences, from results written by hand."""

from __future__ import annotations

from rich.console import Console

from convatlas.analysis.forecast import LatencyEstimate
from convatlas.analysis.latency import Latency
from convatlas.analysis.layer_times import BETWEEN, BenchReport, LayerTiming, MemoryBound
from convatlas.analysis.machine import Ceilings
from convatlas.analysis.training_time import TrainingEstimate
from convatlas.render.latency import (
    bench_table,
    estimate_table,
    layers_table,
    memory_bound_lines,
    training_lines,
)

LAYERS = (
    LayerTiming("stem", "conv2d", 5.0, 0.5, 10**9, 2 * 10**9, 10**7, False),
    LayerTiming("stages.0", "depthwise conv2d", 4.1, 0.41, 9 * 10**7, 18 * 10**7, 10**8, True),
    LayerTiming("head", "linear", 0.05, 0.005, 10**6, 2 * 10**6, 10**6, True),
    LayerTiming(BETWEEN, "", 0.85, 0.085, 0, 0, 0, False),
)
REPORT = BenchReport(
    Latency(10.0, 9.5, 12.0, 2, 4),
    "float32",
    10**9,
    2 * 10**9,
    Ceilings(400.0, 20.0),
    LAYERS,
    (
        MemoryBound("depthwise conv2d", 17, 0.09, 0.41, 1.8),
        MemoryBound("linear", 1, 0.001, 0.005, 0.5),
    ),
)


def _text(table, width=120):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_a_measurement_in_a_row():
    row = next(
        line for line in _text(bench_table([("net", REPORT)], 120)).splitlines() if "net " in line
    )
    assert row.split() == [
        *("net", "10.0", "ms", "9.50", "ms", "–", "12.0", "ms"),
        *("200.0", "1.00", "G", "200.0", "50.0", "%"),
    ]  # fmt: skip


def test_the_slowest_layers_come_first_and_the_rest_is_summed():
    text = _text(layers_table(REPORT, width=120))
    names = [line.split()[0] for line in text.splitlines()[2:5]]
    assert names == ["stem", "stages.0", "between"]
    assert "1 other layer: 0.5 % of the time." in text
    assert text.count("memory") == 1
    assert "3 other layers: 50.0 % of the time." in _text(layers_table(REPORT, 1, 120))


def test_memory_bound_layers_in_a_sentence():
    assert memory_bound_lines(REPORT) == [
        "17 depthwise conv2d layers: 9 % of the MACs, 41 % of the time, bound by memory "
        "(1.8 FLOPs per byte)"
    ]


def test_a_prediction_names_what_it_guessed():
    estimate = LatencyEstimate(4.0, 3.0, 5.0, 1, 2, "float32", 0.1, (), ("roll", "fft"))
    text = _text(estimate_table([("net", estimate)], 120))
    assert "3.00 ms – 5.00 ms" in text
    assert "250.0" in text
    assert "by their bytes: roll, fft." in " ".join(text.split())


def test_a_training_and_its_bottleneck():
    (line,) = training_lines("net", TrainingEstimate(100.0, 320, 320.0, None, 32.0))
    assert line == "net: 100 ms per step, 320 images/s; 320 steps take 32.0 s"
    _, warning = training_lines("net", TrainingEstimate(100.0, 320, 320.0, 160.0, 64.0))
    assert warning.startswith("warning: the data loader gives 160 images/s")
