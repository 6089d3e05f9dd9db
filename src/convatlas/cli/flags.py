"""Flags that several commands have in common, and those that cannot stand together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from convatlas.cli.completion import words
from convatlas.errors import OptionError

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
    "refuse_beside_resume",
    "refuse_without",
]

Images: TypeAlias = Annotated[
    str,
    typer.Option(
        help="'digits', a folder, a table of paths, shards: see docs/data.md.",
        autocompletion=words("digits"),
    ),
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


def refuse_beside_resume(ctx: typer.Context, *honoured: str) -> None:
    """Refuse what a run that has begun would not look at.

    Args:
        ctx: The command line.
        honoured: Names of the parameters that it does look at.

    Raises:
        OptionError: Another one was given too; the message names it.
    """
    honoured = ("resume", *honoured)
    others = ", ".join(word for name, word in _given(ctx).items() if name not in honoured)
    if others:
        raise OptionError(
            f"a run that has begun keeps its own flags, got {others} beside --resume: "
            "leave that out, or start a new run"
        )


def refuse_without(ctx: typer.Context, needed: str, *names: str) -> None:
    """Refuse parameters that say nothing without ``needed``, as it is typed.

    Raises:
        OptionError: One of them was given; the message names it.
    """
    alone = ", ".join(word for name, word in _given(ctx).items() if name in names)
    if alone:
        raise OptionError(
            f"expected {needed} beside {alone}, got none: add it, or leave {alone} out"
        )


def _given(ctx: typer.Context) -> dict[str, str]:
    """Return the parameters on the command line by name, each as it is typed."""
    words = {}
    for parameter in ctx.command.params:
        name, source = str(parameter.name), ctx.get_parameter_source(str(parameter.name))
        if source is not None and source.name == "COMMANDLINE":
            is_off = ctx.params[name] is False and parameter.secondary_opts
            word = (parameter.secondary_opts if is_off else parameter.opts)[0]
            words[name] = word if word.startswith("-") else word.upper()
    return words
