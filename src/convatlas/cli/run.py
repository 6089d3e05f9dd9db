"""``convatlas run``: from images to a trained, explained and exported network with its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convatlas.cli.numbers import parse_count
from convatlas.cli.terminal import Terminal

__all__ = ["run"]


def run(
    data: Annotated[
        str, typer.Option(help="'digits', a folder, a table of paths, shards: see docs/data.md.")
    ] = "digits",
    max_macs: Annotated[
        str | None, typer.Option(help="Largest number of multiply-accumulates per image: 300M.")
    ] = None,
    max_params: Annotated[str | None, typer.Option(help="Largest parameter count: 5M.")] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Largest median time per image here, in milliseconds.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Take this network; chosen within the budget if left out.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of training; the recipe's if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that gets the run's own folder.")] = Path(
        "runs"
    ),
    compare_scratch: Annotated[
        bool, typer.Option("--compare-scratch", help="Also train from scratch, to compare.")
    ] = False,
    pretrained: Annotated[
        bool, typer.Option(help="Whether pretrained weights may be used.")
    ] = True,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave unreadable images out instead of stopping.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides split, weights, order and augmentation.")] = 0,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this stopped run; other flags are ignored.")
    ] = None,
) -> None:
    """Choose, train, evaluate, explain and export a network; write one HTML report."""
    from convatlas.search.budget import Budget

    budget = Budget(
        max_params=parse_count(max_params, "--max-params"),
        max_macs=parse_count(max_macs, "--max-macs"),
        max_latency_ms=max_latency_ms,
    )
    from convatlas.pipeline import run as job
    from convatlas.pipeline.settings import RunSettings

    watcher = Terminal()
    if resume is not None:
        outcome = job.resume(resume, watcher)
    else:
        settings = RunSettings(
            data=data,
            budget=budget,
            model=model,
            epochs=epochs,
            seed=seed,
            pretrained=pretrained,
            compare_scratch=compare_scratch,
            skip_bad=skip_bad,
        )
        outcome = job.run(settings, out, watcher)
    typer.echo(f"report: {outcome.report}")
