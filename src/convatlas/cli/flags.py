"""Flags that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from convatlas.cli.completion import words

__all__ = [
    "ChannelsLast",
    "Csv",
    "Images",
    "Json",
    "Out",
    "Precision",
    "Seed",
    "SkipBad",
    "Threads",
    "Weights",
]

Images: TypeAlias = Annotated[
    str, typer.Option(help="'digits', a folder, a table of paths, shards: see docs/data.md.")
]
Out: TypeAlias = Annotated[Path, typer.Option(help="Folder that gets the run's own folder.")]
Seed: TypeAlias = Annotated[
    int, typer.Option(help="Decides split, weights, order and augmentation.")
]
SkipBad: TypeAlias = Annotated[
    bool, typer.Option("--skip-bad", help="Leave unreadable images out; else stop at them.")
]
Weights: TypeAlias = Annotated[
    str | None,
    typer.Option(help="'torchvision', 'timm' …: downloaded; those at hand if left out."),
]
Threads: TypeAlias = Annotated[
    int | None, typer.Option(help="Threads per operator; torch's default if left out.")
]
Precision: TypeAlias = Annotated[
    str, typer.Option(help="float32 or bfloat16.", autocompletion=words("float32 bfloat16"))
]
ChannelsLast: TypeAlias = Annotated[
    bool,
    typer.Option("--channels-last", help="Images and weights in that layout; else channels first."),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON; else text.")]
Csv: TypeAlias = Annotated[bool, typer.Option("--csv", help="Print CSV; else text.")]
