"""``convatlas run``: from images to a trained, explained and exported network with its report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.completion import networks, stages
from convatlas.cli.flags import Images, Out, Seed, SkipBad, refuse_beside_resume, refuse_without
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
    told_in_flags,
)
from convatlas.cli.numbers import parse_bytes, parse_seconds, parser
from convatlas.cli.terminal import Terminal
from convatlas.errors import UnknownNameError

if TYPE_CHECKING:
    from convatlas.pipeline.run import Outcome
    from convatlas.pipeline.settings import RunSettings

__all__ = ["run"]


def run(
    ctx: typer.Context,
    data: Images = "digits",
    max_macs: MaxMacs = None,
    max_params: MaxParams = None,
    max_latency_ms: MaxLatency = None,
    max_memory: MaxMemory = None,
    train_memory: Annotated[
        int | None,
        typer.Option(
            parser=parser(parse_bytes, "--train-memory"),
            metavar="<bytes>",
            help="Most memory of a training step: 8GB; what is free if left out.",
        ),
    ] = None,
    max_size_mb: MaxSize = None,
    min_top1: MinTop1 = None,
    family: Family = None,
    licence: Licence = None,
    needs_weights: NeedsWeights = False,
    objective: Objective = "accuracy",
    model: Annotated[
        str | None,
        typer.Option(
            help="Take this network; chosen within the budget if left out.",
            autocompletion=networks,
        ),
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
        float | None,
        typer.Option(
            parser=parser(parse_seconds, "--time-limit"),
            metavar="<time>",
            help="Time for the whole run: 90s, 10m, 1h30m; no limit if left out.",
        ),
    ] = None,
    max_drop: Annotated[
        float,
        typer.Option(help="Share of the images by which the 8-bit file's accuracy may fall."),
    ] = 0.01,
    out: Out = Path("runs"),
    compare_scratch: Annotated[
        bool,
        typer.Option("--compare-scratch", help="Train it from scratch too, to compare; else not."),
    ] = False,
    pretrained: Annotated[
        bool, typer.Option(help="Whether pretrained weights may be used.")
    ] = True,
    skip_bad: SkipBad = False,
    seed: Seed = 0,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this stopped run, by its own flags alone; a new one if left out."
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            help="With --resume: do this again, and what it changes; else what is missing.",
            autocompletion=stages,
        ),
    ] = None,
) -> None:
    """Choose, train, evaluate, explain and export a network; write one HTML report."""
    start = time.monotonic()  # what is imported from here on takes seconds
    if resume is None:
        refuse_without(ctx, "--resume FOLDER", "stage")
    else:
        refuse_beside_resume(ctx, "stage")
    _require_known(model, stage, resume)
    from convatlas.pipeline.settings import RunSettings
    from convatlas.search.budget import Budget

    with told_in_flags():
        budget = Budget(
            max_params=max_params,
            max_macs=max_macs,
            max_latency_ms=max_latency_ms,
            max_memory=max_memory,
            train_memory=train_memory,
            max_size_mb=max_size_mb,
            min_top1=min_top1,
            family=family,
            licence=licence,
            needs_weights=needs_weights,
            objective=objective,
        )
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
            time_limit=time_limit,
            max_drop=max_drop,
        )
    typer.echo(f"report: {_outcome(settings, out, resume, stage, start).report}")


def _outcome(
    settings: RunSettings, out: Path, resume: Path | None, stage: str | None, start: float
) -> Outcome:
    """Go on with a run, or begin one, now that all flags are read."""
    from convatlas.pipeline import run as job

    if resume is not None:
        return job.resume(resume, Terminal(), stage, spent=time.monotonic() - start)
    with told_in_flags():
        return job.run(settings, out, Terminal(), spent=time.monotonic() - start)


def _require_known(model: str | None, stage: str | None, resume: Path | None) -> None:
    """Refuse what no run can do, before torch is imported."""
    from convatlas.models.catalogue import find_entry

    if model is not None:
        find_entry(model)
    if stage is None or resume is None:
        return
    from convatlas.pipeline.stage_names import stages_of

    if stage not in (known := stages_of(resume)):
        raise UnknownNameError.of("stage", stage, known)
