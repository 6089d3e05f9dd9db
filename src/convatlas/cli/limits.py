"""The flags of a budget for the commands that choose a network, and errors that name them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
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

_SETTINGS = ("early_stop", "epochs", "max_drop", "seed", "time_limit")
_LEFT_OUT = re.compile(r"(?<=leave )[a-z0-9_]+(?: and [a-z0-9_]+)*(?= out\b)")

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
        raise type(error)(_in_flags(str(error))) from error


def _in_flags(told: str) -> str:
    """Return a sentence with flags for the fields that it names.

    Fields that are words of their own, such as family, are meant where they can be left out.
    """
    from convatlas.render.limits import flag
    from convatlas.search.budget import Budget

    names = {field.name for field in fields(Budget)}

    def left_out(found: re.Match[str]) -> str:
        return re.sub(r"\w+", lambda word: flag(word[0]) if word[0] in names else word[0], found[0])

    told = _LEFT_OUT.sub(left_out, told).replace("pretrained=False", "--no-pretrained")
    meant = "|".join([*(n for n in names if "_" in n), *(f"{n}(?= must be)" for n in _SETTINGS)])
    written = re.compile(rf"(?<![\w./\\-])({meant})(=|(?![\w/\\-]|\.\w))")
    return written.sub(lambda found: flag(found[1]) + (" " if found[2] else ""), told)
