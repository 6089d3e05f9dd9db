"""The flags of a budget for the commands that choose a network, and errors that name them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TypeAlias

import typer

from convatlas.cli.completion import families, words
from convatlas.cli.numbers import parse_bytes, parse_count, parser
from convatlas.errors import BudgetError, OptionError

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
    "told_in_flags",
]

_FIELD = re.compile(
    r"\b((?:max|min|train|needs)_[a-z0-9_]+|(?:epochs|seed|early_stop|time_limit)(?= must be))(=?)"
)

MaxParams: TypeAlias = Annotated[
    float | None,
    typer.Option(
        parser=parser(parse_count, "--max-params"),
        metavar="<count>",
        help="Largest parameter count: 5M; no limit if left out.",
    ),
]
MaxMacs: TypeAlias = Annotated[
    float | None,
    typer.Option(
        parser=parser(parse_count, "--max-macs"),
        metavar="<count>",
        help="Most multiply-accumulates per image: 300M; no limit if left out.",
    ),
]
MaxLatency: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Most milliseconds for one image, here; no limit if left out."),
]
MaxMemory: TypeAlias = Annotated[
    int | None,
    typer.Option(
        parser=parser(parse_bytes, "--max-memory"),
        metavar="<bytes>",
        help="Most memory for one image: 8GB, 512MiB; no limit if left out.",
    ),
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
    str | None,
    typer.Option(help="Name of a family; all of them if left out.", autocompletion=families),
]
Licence: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="'permissive': use only weights under Apache, MIT or BSD; any if left out.",
        autocompletion=words("permissive"),
    ),
]
NeedsWeights: TypeAlias = Annotated[
    bool,
    typer.Option("--needs-weights", help="Only networks with pretrained weights; else all."),
]
Objective: TypeAlias = Annotated[
    str,
    typer.Option(
        help="What ranks the networks: accuracy, latency or balanced.",
        autocompletion=words("accuracy latency balanced"),
    ),
]


@contextmanager
def told_in_flags() -> Iterator[None]:
    """Let errors name flags where they name fields of the budget."""
    try:
        yield
    except (BudgetError, OptionError) as error:
        from convatlas.render.limits import flag

        told = _FIELD.sub(lambda found: flag(found[1]) + (" " if found[2] else ""), str(error))
        raise type(error)(told) from error
