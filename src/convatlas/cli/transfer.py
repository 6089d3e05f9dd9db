"""``convatlas transfer``: what pretraining is worth on your images."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from convatlas.cli.completion import networks, words
from convatlas.cli.flags import Json, Seed

__all__ = ["transfer"]


def transfer(
    model: Annotated[
        str,
        typer.Argument(
            help="A network with weights at hand; with --layers, or a run folder.",
            autocompletion=networks,
        ),
    ],
    data: Annotated[
        str,
        typer.Option(help="Images, as for `convatlas train`.", autocompletion=words("digits")),
    ],
    layers: Annotated[
        str | None,
        typer.Option(help="Probe 'all' layers, or stages.2,stages.3; --methods if left out."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Train by 'all', or of scratch, linear-probe, freeze-then-finetune, "
            "finetune-all with commas between; --layers if left out.",
            autocompletion=words("all scratch linear-probe freeze-then-finetune finetune-all"),
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="With --methods: passes of each; those of fine-tuning if left out."),
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path, typer.Option(help="With --methods: folder that gets a run folder for each.")
    ] = Path("runs/transfer"),
    html: Annotated[
        Path | None,
        typer.Option(help="With --layers: draw them into this HTML file or folder; else not."),
    ] = None,
    json: Json = False,
) -> None:
    """Probe every layer of a pretrained network, or train it in four ways, side by side."""
    from convatlas.errors import OptionError

    if (layers is None) == (methods is None):
        raise OptionError("expected either --layers or --methods, got both or neither: give one")
    if layers is not None and epochs is not None:
        raise OptionError(f"--epochs {epochs} belongs to --methods: leave it out with --layers")
    if layers is None and html is not None:
        raise OptionError(f"--html {html} belongs to --layers: leave it out with --methods")
    if layers is not None:
        _layers(model, data, _listed(layers), seed, html, json)
        return
    from convatlas.cli.terminal import Terminal
    from convatlas.pipeline.transfer import METHODS, compare_methods
    from convatlas.render.transfer import methods_table, verdict_lines

    names = list(METHODS) if methods == "all" else _listed(str(methods))
    found = compare_methods(model, data, out, Terminal(), methods=names, epochs=epochs, seed=seed)
    _print(found, methods_table, json)
    if not json:
        typer.echo("\n".join(verdict_lines(found)))


def _listed(text: str) -> list[str]:
    """Return the names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _layers(
    model: str, data: str, layers: list[str], seed: int, html: Path | None, json: bool
) -> None:
    from convatlas.cli.drawing import drawing_file

    page = None if html is None else drawing_file(html, "transfer", "--html", ".html")
    from convatlas.cli.terminal import Terminal
    from convatlas.pipeline.probing import probe_layers
    from convatlas.render.transfer import layers_table, transfer_html

    found = probe_layers(model, data, layers, Terminal(), seed=seed)
    if page is not None:
        from convatlas.files import write_text

        write_text(page, transfer_html(_name(model), _name(data), found))
        typer.echo(f"page: {page}", err=json)
    _print(found, layers_table, json)


def _name(text: str) -> str:
    """Return the name of a file or folder without the way to it; other words as they are."""
    path = Path(text)
    return path.resolve().name if path.exists() else text


def _print(found: list[Any], table: Any, json: bool) -> None:
    if json:
        from convatlas.render.data import to_json

        sys.stdout.write(to_json([asdict(each) for each in found]))
        return
    from rich.console import Console

    Console().print(table(found))
