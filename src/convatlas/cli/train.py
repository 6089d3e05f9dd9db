"""``convatlas train``: one network on the user's images, by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.completion import networks, recipe_names, words
from convatlas.cli.flags import Images, Out, Seed, SkipBad, refuse_beside_resume, refuse_without
from convatlas.cli.terminal import Terminal
from convatlas.errors import OptionError

if TYPE_CHECKING:
    from convatlas.pipeline.train import RecipeOf, TrainOutcome
    from convatlas.search.choose import Candidate
    from convatlas.train.recipe import Recipe
    from convatlas.train.verification import ResumeReport

__all__ = ["train"]


def train(
    ctx: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="A network of `convatlas list`; that of --resume if left out.",
            autocompletion=networks,
        ),
    ] = None,
    data: Images = "digits",
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Name of a recipe or a .toml file; the fitting one if left out.",
            autocompletion=recipe_names,
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Another value: optimizer.lr=0.02, repeatable; the recipe's if left out.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the images; as many as the recipe's if left out.", min=1),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="'auto' (those at hand), 'none', or a source; see docs/weights.md.",
            autocompletion=words("auto none torchvision timm"),
        ),
    ] = "auto",
    seed: Seed = 0,
    out: Out = Path("runs"),
    skip_bad: SkipBad = False,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Read shards or hf:NAME as they come; else list all first."),
    ] = False,
    images_per_epoch: Annotated[
        int | None,
        typer.Option(help="Of a stream whose length nobody knows; its length if left out."),
    ] = None,
    validation: Annotated[
        str | None, typer.Option(help="Images to judge a stream by; its own split if left out.")
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(metavar="EXPERIMENT", help="Log to this MLflow experiment too; else not."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this stopped run, by its own flags alone; a new one if left out."
        ),
    ] = None,
    accept_changed_data: Annotated[
        bool,
        typer.Option(
            "--accept-changed-data",
            help="With --resume: go on although images changed; else refuse that.",
        ),
    ] = False,
    verify_resume: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS",
            help="Train so many steps straight and with a stop, and compare; else train.",
        ),
    ] = None,
) -> None:
    """Train one network on your images by a recipe; it can be stopped and resumed exactly."""
    from convatlas.models.catalogue import find_entry

    watcher = Terminal()
    if resume is not None:
        refuse_beside_resume(ctx, "accept_changed_data")
        _go_on(resume, watcher, accept_changed_data=accept_changed_data)
        return
    refuse_without(ctx, "--resume FOLDER", "accept_changed_data")
    if model is None:
        raise OptionError("expected the name of a network, got none: see `convatlas list`")
    find_entry(model)
    from convatlas.pipeline import train as job
    from convatlas.pipeline.settings import TrainSettings

    settings = TrainSettings(
        data=data,
        model=model,
        weights=job.find_weights(model, weights),
        seed=seed,
        skip_bad=skip_bad,
        experiment=mlflow,
        stream=stream,
        images_per_epoch=images_per_epoch,
        validation=validation,
    )
    recipe_of = _recipe_of(recipe, change or [], epochs, seed)
    if verify_resume is not None:
        _print_verified(job.verify(settings, verify_resume, watcher, recipe_of))
    else:
        _print_trained(job.train(settings, out, watcher, recipe_of), watcher)


def _go_on(folder: Path, watcher: Terminal, *, accept_changed_data: bool) -> None:
    from convatlas.pipeline.train import resume

    _print_trained(resume(folder, watcher, accept_changed_data=accept_changed_data), watcher)


def _print_trained(outcome: TrainOutcome, watcher: Terminal) -> None:
    if watcher.silent:
        return
    low, high = outcome.evaluation.accuracy_interval
    watcher.say(f"run: {outcome.folder}")
    typer.echo(f"accuracy {outcome.evaluation.accuracy:.2%} (95 %: {low:.2%} to {high:.2%})")


def _print_verified(report: ResumeReport) -> None:
    """Say whether the stopped run equals the other; exit with 1 where it does not."""
    steps = f"{report.steps} steps, stopped after {report.stopped_after}"
    if report.first is None:
        typer.echo(f"exact: {report.tensors} tensors equal bit for bit ({steps})")
        return
    largest = report.first.largest
    by = "" if largest is None else f", by up to {largest:.3g}"
    typer.echo(f"not exact: {report.differing} differ ({steps}), first {report.first.name}{by}")
    raise typer.Exit(1)


def _recipe_of(name: str | None, changes: list[str], epochs: int | None, seed: int) -> RecipeOf:
    """Return what gives the recipe, once the network and the number of images are known."""
    from convatlas.pipeline.preparation import fitting_recipe, lasting
    from convatlas.train.network import network_options
    from convatlas.train.recipe import find_recipe, parse_setting

    asked = None if name is None else find_recipe(name)  # a wrong name is told at once
    settings = dict(parse_setting(change) for change in changes)

    def recipe_of(candidate: Candidate, images: int) -> Recipe:
        recipe = asked or fitting_recipe(candidate, images)
        if epochs is not None:
            recipe = lasting(recipe, epochs)
        changed = recipe.override({"training.seed": seed, **settings})
        network_options(changed, candidate.name, settings)  # what was asked for must be possible
        return changed

    return recipe_of
