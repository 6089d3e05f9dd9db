"""``convatlas features``: what any layer of a network answers to your images, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convatlas.cli.completion import networks, words

__all__ = ["features"]


def features(
    model: Annotated[
        str,
        typer.Argument(
            help="A run folder, or a network with weights at hand.", autocompletion=networks
        ),
    ],
    data: Annotated[
        str,
        typer.Option(help="Images, as for `convatlas train`.", autocompletion=words("digits")),
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Path of a layer: stages.3, repeatable; the last stage if left out."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The numpy archive to write.")] = Path("features.npz"),
    maps: Annotated[
        bool, typer.Option("--maps", help="Keep the places of maps; else average them.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides which images are held out.")] = 0,
) -> None:
    """Write the activations of layers for all images, both parts of them, with their classes."""
    from convatlas.cli.terminal import Terminal
    from convatlas.data.source import open_source
    from convatlas.files import require_writable
    from convatlas.pipeline.features import extract, write_features
    from convatlas.pipeline.prediction import load_network

    require_writable(out)
    watcher = Terminal()
    network = load_network(model)
    layers = layer or [network.model.feature_info[-1].name]
    splits = open_source(data, seed=seed)
    progress = watcher.progress("computing features")
    parts = [
        extract(network, source, layers, progress, pooled=not maps)
        for source in (splits.train, splits.validation)
    ]
    write_features(out, parts)
    for name in layers:
        shape = "×".join(str(side) for side in parts[0].layers[name].shape[1:])
        typer.echo(f"{name}: {sum(len(part.names) for part in parts):,} images × {shape}")
    typer.echo(f"features: {out}")
