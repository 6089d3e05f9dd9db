"""``convatlas bench``: what networks take on this machine, measured or predicted."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.flags import ChannelsLast, Json, Precision, Threads
from convatlas.cli.networks import InputSize, Networks, network_to_look_at

if TYPE_CHECKING:
    from torch import Tensor

    from convatlas.models.anatomy import ConvNet

__all__ = ["bench"]


@dataclass(frozen=True, slots=True)
class _Request:
    """What was asked for, apart from the networks."""

    batch: int
    precision: str
    input_size: int | None
    runs: int
    channels_last: bool


def bench(
    names: Networks,
    batch: Annotated[int, typer.Option(help="Images per pass.")] = 1,
    threads: Threads = None,
    precision: Precision = "float32",
    input_size: InputSize = None,
    runs: Annotated[int, typer.Option(help="Timed passes, after three to warm up.")] = 20,
    channels_last: ChannelsLast = False,
    layers: Annotated[
        int | None,
        typer.Option(help="Slowest layers of each to list; if left out, all of a single one."),
    ] = None,
    predict: Annotated[
        bool,
        typer.Option("--predict", help="Predict from `convatlas calibrate`; else measure."),
    ] = False,
    train: Annotated[
        bool,
        typer.Option("--train", help="Time training steps, estimate a training; else inference."),
    ] = False,
    images: Annotated[int, typer.Option(help="With --train: training images.")] = 1_281_167,
    epochs: Annotated[int, typer.Option(help="With --train: passes over the images.")] = 90,
    loader: Annotated[
        float | None,
        typer.Option(help="With --train: images/s of the data loader; enough if left out."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure what networks take here: milliseconds, GFLOP/s, and where the time goes."""
    from convatlas.errors import OptionError
    from convatlas.models.catalogue import find_entry

    for name in names:
        find_entry(name)
    if predict and (train or channels_last or layers):
        raise OptionError(
            "--predict takes no --train, --channels-last or --layers: leave one of them out"
        )
    from convatlas.analysis.machine import threads_set

    request = _Request(batch, precision, input_size, runs, channels_last)
    with threads_set(threads):
        if predict:
            _predicted(names, request, json)
        elif train:
            _trained(names, request, (images, epochs, loader), json)
        else:
            _measured(names, request, layers, json)


def _measured(names: list[str], request: _Request, layers: int | None, json: bool) -> None:
    from convatlas.analysis.calibration import load_calibration
    from convatlas.analysis.layer_times import bench as measure
    from convatlas.analysis.machine import measure_ceilings
    from convatlas.cli.terminal import Terminal
    from convatlas.errors import CalibrationError, OptionError

    if layers is not None and layers < 1:
        raise OptionError(f"--layers must be 1 or more, got {layers}")
    try:
        ceilings = load_calibration(request.precision).ceilings
    except CalibrationError:
        ceilings = measure_ceilings(request.precision)
    show = Terminal().progress("networks")
    reports = []
    for number, name in enumerate(names):
        show(number, len(names))
        model, tensor = _network(name, request)
        reports.append((name, measure(model.eval(), tensor, ceilings, runs=request.runs)))
    show(len(names), len(names))
    if json:
        from convatlas.render.latency import bench_values

        _print_json({name: bench_values(report) for name, report in reports})
        return
    from rich.console import Console

    from convatlas.render.latency import bench_table, layers_table, memory_bound_lines

    console = Console()
    console.print(bench_table(reports))
    for name, report in reports:
        console.print(f"\n{name}", highlight=False)
        if layers or len(reports) == 1:
            console.print(layers_table(report, layers))
        for line in memory_bound_lines(report):
            console.print(line, highlight=False)


def _predicted(names: list[str], request: _Request, json: bool) -> None:
    from convatlas.analysis.calibration import load_calibration
    from convatlas.analysis.forecast import predict_latency

    calibration = load_calibration(request.precision)
    estimates = []
    for name in names:
        model, size = network_to_look_at(name, input_size=request.input_size)
        estimate = predict_latency(
            model,
            size,
            batch=request.batch,
            precision=request.precision,
            calibration=calibration,
        )
        estimates.append((name, estimate))
    if json:
        _print_json(dict(estimates))
        return
    from rich.console import Console

    from convatlas.render.latency import estimate_table

    Console().print(estimate_table(estimates))


def _trained(
    names: list[str], request: _Request, schedule: tuple[int, int, float | None], json: bool
) -> None:
    from convatlas.analysis.training_time import estimate_training, measure_step
    from convatlas.render.latency import training_lines

    images, epochs, loader = schedule
    estimates = []
    estimate_training(1.0, images, request.batch, epochs, loader)  # refuses before minutes pass
    for name in names:
        model, tensor = _network(name, request)
        step = measure_step(model, tensor, runs=request.runs)
        estimate = estimate_training(step.median_ms, images, request.batch, epochs, loader)
        estimates.append((name, estimate))
    if json:
        _print_json(dict(estimates))
        return
    for name, estimate in estimates:
        for line in training_lines(name, estimate):
            typer.echo(line)


def _network(name: str, request: _Request) -> tuple[ConvNet, Tensor]:
    """Return a network with random weights, and images for it."""
    import torch

    from convatlas.analysis.latency import random_images
    from convatlas.analysis.machine import timed_dtype
    from convatlas.models.catalogue import find_entry
    from convatlas.models.registry import create_model

    dtype = timed_dtype(request.precision)
    size = request.input_size or find_entry(name).input_size
    model = create_model(name).to(dtype)
    tensor = random_images(model, size, model.in_channels, request.batch)
    if request.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it alone
        tensor = tensor.to(memory_format=torch.channels_last)
    return model, tensor


def _print_json(results: dict[str, Any]) -> None:
    from convatlas.render.data import to_json

    sys.stdout.write(to_json(results))
