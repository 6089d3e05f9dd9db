"""The flags of a budget, for every command that chooses a network."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

__all__ = [
    "Family",
    "Licence",
    "MaxLatency",
    "MaxMacs",
    "MaxMemory",
    "MaxParams",
    "MaxSize",
    "MinTop1",
    "NeedsWeights",
    "Objective",
]

MaxParams: TypeAlias = Annotated[
    str | None, typer.Option(help="Largest parameter count: 5M; no limit if left out.")
]
MaxMacs: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Most multiply-accumulates per image: 300M; no limit if left out."),
]
MaxLatency: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Most milliseconds for one image, here; no limit if left out."),
]
MaxMemory: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Most memory for one image: 8GB, 512MiB; no limit if left out."),
]
MaxSize: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Most megabytes of weights in float32; no limit if left out."),
]
MinTop1: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Least published top-1 accuracy, in per cent; no limit if left out."),
]
Family: TypeAlias = Annotated[
    str | None, typer.Option(help="Name of a family; all of them if left out.")
]
Licence: TypeAlias = Annotated[
    str | None, typer.Option(help="'permissive': Apache, MIT or BSD; any if left out.")
]
NeedsWeights: TypeAlias = Annotated[
    bool,
    typer.Option("--needs-weights", help="Only networks with pretrained weights; else all."),
]
Objective: TypeAlias = Annotated[
    str, typer.Option(help="What ranks the networks: accuracy, latency or balanced.")
]
