"""The flags of a budget for the commands that choose a network, and errors that name them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TypeAlias

import typer

from convatlas.cli.numbers import parse_bytes
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
    "parse_memory",
    "told_in_flags",
]

_FIELD = re.compile(r"\b((?:max|min|train|needs)_[a-z0-9_]+)(=?)")

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
    str | None,
    typer.Option(help="'permissive': use only weights under Apache, MIT or BSD; any if left out."),
]
NeedsWeights: TypeAlias = Annotated[
    bool,
    typer.Option("--needs-weights", help="Only networks with pretrained weights; else all."),
]
Objective: TypeAlias = Annotated[
    str, typer.Option(help="What ranks the networks: accuracy, latency or balanced.")
]


def parse_memory(text: str | None, flag: str) -> int | None:
    """Return bytes for a flag such as 8GB; None where it is left out.

    Raises:
        OptionError: No number of bytes.
    """
    return None if text is None else parse_bytes(text, flag)


@contextmanager
def told_in_flags() -> Iterator[None]:
    """Let errors name flags where they name fields of the budget."""
    try:
        yield
    except (BudgetError, OptionError) as error:
        from convatlas.render.limits import flag

        told = _FIELD.sub(lambda found: flag(found[1]) + (" " if found[2] else ""), str(error))
        raise type(error)(told) from error
