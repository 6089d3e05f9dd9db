"""``convatlas run``: from images to a trained, explained and exported network with its report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from convatlas.cli.limits import (
    Family,
    Licence,
    MaxLatency,
    MaxMacs,
    MaxMemory,
    MaxParams,
    MaxSize,
    MinTop1,
    NeedsWeights,
    Objective,
    parse_memory,
    told_in_flags,
)
from convatlas.cli.numbers import parse_count, parse_seconds
from convatlas.cli.terminal import Terminal
from convatlas.errors import OptionError

__all__ = ["run"]


def run(
    data: Annotated[
        str, typer.Option(help="'digits', a folder, a table of paths, shards: see docs/data.md.")
    ] = "digits",
    max_macs: MaxMacs = None,
    max_params: MaxParams = None,
    max_latency_ms: MaxLatency = None,
    max_memory: MaxMemory = None,
    train_memory: Annotated[
        str | None,
        typer.Option(help="Most memory of a training step: 8GB; what is free if left out."),
    ] = None,
    max_size_mb: MaxSize = None,
    min_top1: MinTop1 = None,
    family: Family = None,
    licence: Licence = None,
    needs_weights: NeedsWeights = False,
    objective: Objective = "accuracy",
    model: Annotated[
        str | None, typer.Option(help="Take this network; chosen within the budget if left out.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of training at most; the recipe's if left out.")
    ] = None,
    early_stop: Annotated[
        int,
        typer.Option(
            help="Epochs without a gain, on a tenth of the training images, that end it; 0: none."
        ),
    ] = 0,
    time_limit: Annotated[
        str | None,
        typer.Option(help="Time for the whole run: 90s, 10m, 1h30m; no limit if left out."),
    ] = None,
    max_drop: Annotated[
        float,
        typer.Option(help="Share of the images by which the 8-bit file's accuracy may fall."),
    ] = 0.01,
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
        Path | None,
        typer.Option(help="Go on with this stopped run; flags but --stage are ignored."),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(help="With --resume: do this stage again, and then what it changes."),
    ] = None,
) -> None:
    """Choose, train, evaluate, explain and export a network; write one HTML report."""
    start = time.monotonic()  # what is imported from here on takes seconds
    _require_begun(stage, resume)
    from convatlas.pipeline import run as job
    from convatlas.pipeline.settings import RunSettings
    from convatlas.search.budget import Budget

    with told_in_flags():
        budget = Budget(
            max_params=parse_count(max_params, "--max-params"),
            max_macs=parse_count(max_macs, "--max-macs"),
            max_latency_ms=max_latency_ms,
            max_memory=parse_memory(max_memory, "--max-memory"),
            train_memory=parse_memory(train_memory, "--train-memory"),
            max_size_mb=max_size_mb,
            min_top1=min_top1,
            family=family,
            licence=licence,
            needs_weights=needs_weights,
            objective=objective,
        )
    if resume is not None:
        outcome = job.resume(resume, Terminal(), stage, spent=time.monotonic() - start)
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
            early_stop=early_stop,
            time_limit=parse_seconds(time_limit, "--time-limit"),
            max_drop=max_drop,
        )
        with told_in_flags():
            outcome = job.run(settings, out, Terminal(), spent=time.monotonic() - start)
    typer.echo(f"report: {outcome.report}")


def _require_begun(stage: str | None, resume: Path | None) -> None:
    if stage is not None and resume is None:
        raise OptionError("--stage is about a run that has begun: add --resume FOLDER")
