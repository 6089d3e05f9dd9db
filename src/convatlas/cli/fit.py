"""``convatlas fit``: does a network fit into this much memory, and how large a batch?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.networks import (
    Classes,
    InputSize,
    Network,
    network_to_look_at,
)

if TYPE_CHECKING:
    from convatlas.analysis.memory import MemoryReport

__all__ = ["fit"]


def fit(
    name: Network,
    memory: Annotated[
        str | None,
        typer.Option(help="Find the largest batch that fits: 8GB, 512MiB. Or give --batch."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Say what this batch needs.")] = None,
    train: Annotated[
        bool, typer.Option("--train", help="A training step instead of inference.")
    ] = False,
    optimizer: Annotated[
        str | None, typer.Option(help="With --train: sgd, momentum (if left out), adam or adamw.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="float32, or autocast to bfloat16 or float16.")
    ] = "float32",
    freeze: Annotated[
        bool, typer.Option("--freeze", help="With --train: train the head alone.")
    ] = False,
    checkpointing: Annotated[
        bool,
        typer.Option("--checkpointing", help="With --train: compute blocks again in the backward."),
    ] = False,
    ema: Annotated[
        bool, typer.Option("--ema", help="With --train: keep an averaged copy of the weights.")
    ] = False,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Images and weights in that layout.")
    ] = False,
    device: Annotated[str, typer.Option(help="Where it will run: cpu or cuda.")] = "cpu",
    input_size: InputSize = None,
    classes: Classes = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Also list the memory layer by layer.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict the peak memory of a network, or the largest batch that fits, without running it."""
    from convatlas.cli.numbers import parse_bytes
    from convatlas.errors import OptionError

    if (memory is None) == (batch is None):
        raise OptionError("expected either --memory or --batch, got both or neither: give one")
    if not train and (optimizer or freeze or checkpointing or ema):
        raise OptionError(
            "--optimizer, --freeze, --checkpointing and --ema are about training: add --train"
        )
    limit = None if memory is None else parse_bytes(memory, "--memory")
    model, size = network_to_look_at(name, input_size=input_size, classes=classes)
    if freeze:
        model.stem.requires_grad_(False)
        model.stages.requires_grad_(False)
    from convatlas.analysis.memory import TrainingMemory, max_batch, predict_memory

    training = None
    if train:
        training = TrainingMemory(optimizer or "momentum", ema=ema, checkpointing=checkpointing)
    options: dict[str, Any] = {"training": training, "precision": precision}
    options |= {"channels_last": channels_last, "device": device}
    if limit is None:
        report = predict_memory(model, size, batch=1 if batch is None else batch, **options)
    else:
        report = max_batch(model, limit, size, tried=_say, **options)
    if json:
        from convatlas.render.data import to_json

        sys.stdout.write(to_json(report))
    else:
        _show(report, limit, timeline)


def _say(tried: MemoryReport) -> None:
    from convatlas.cli.terminal import Terminal

    Terminal().say(f"batch {tried.batch}: {tried.peak_bytes:,} bytes")


def _show(report: MemoryReport, limit: int | None, timeline: bool) -> None:
    from rich.console import Console

    from convatlas.render.memory import memory_table, timeline_table

    console = Console()
    console.print(memory_table(report, limit))
    if timeline:
        console.print(timeline_table(report))
