"""``convatlas fit``: does a network fit into this much memory, and how large a batch?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.completion import words
from convatlas.cli.flags import ChannelsLast, Json
from convatlas.cli.networks import (
    Classes,
    InputSize,
    Network,
    network_to_look_at,
)
from convatlas.cli.numbers import parse_bytes, parser

if TYPE_CHECKING:
    from convatlas.analysis.memory import MemoryReport

__all__ = ["fit"]


def fit(
    name: Network,
    memory: Annotated[
        int | None,
        typer.Option(
            parser=parser(parse_bytes, "--memory"),
            metavar="<bytes>",
            help="Find the largest batch that fits: 8GB, 512MiB; --batch if left out.",
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Say what this batch needs; --memory if left out.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="A training step; else inference.")
    ] = False,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="With --train: sgd, momentum, adam or adamw; momentum if left out.",
            autocompletion=words("sgd momentum adam adamw"),
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="float32, or autocast to bfloat16 or float16.",
            autocompletion=words("float32 bfloat16 float16"),
        ),
    ] = "float32",
    freeze: Annotated[
        bool, typer.Option("--freeze", help="With --train: train the head alone; else all.")
    ] = False,
    checkpointing: Annotated[
        bool,
        typer.Option(
            "--checkpointing",
            help="With --train: compute blocks again in the backward; else keep them.",
        ),
    ] = False,
    ema: Annotated[
        bool,
        typer.Option("--ema", help="With --train: keep averaged weights too; else none."),
    ] = False,
    channels_last: ChannelsLast = False,
    device: Annotated[
        str,
        typer.Option(help="Where it will run: cpu or cuda.", autocompletion=words("cpu cuda")),
    ] = "cpu",
    input_size: InputSize = None,
    classes: Classes = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Also list it layer by layer; else the peak.")
    ] = False,
    json: Json = False,
) -> None:
    """Predict the peak memory of a network, or the largest batch that fits, without running it."""
    from convatlas.errors import OptionError

    if (memory is None) == (batch is None):
        raise OptionError("expected either --memory or --batch, got both or neither: give one")
    if not train and (optimizer or freeze or checkpointing or ema):
        raise OptionError(
            "--optimizer, --freeze, --checkpointing and --ema are about training: add --train"
        )
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
    if memory is None:
        report = predict_memory(model, size, batch=1 if batch is None else batch, **options)
    else:
        report = max_batch(model, memory, size, tried=_say, **options)
    if json:
        from convatlas.render.data import to_json

        sys.stdout.write(to_json(report))
    else:
        _show(report, memory, timeline)


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
