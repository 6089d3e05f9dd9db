"""``convatlas choose``: which network for these images, within these limits, and why.

Without images, a latency limit and ``--measure``, it does not import torch.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.completion import words
from convatlas.cli.drawing import drawing_file
from convatlas.cli.flags import Json, Seed, SkipBad, refuse_without
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
from convatlas.cli.numbers import parse_bytes, parser
from convatlas.errors import OptionError

if TYPE_CHECKING:
    from convatlas.pipeline.choosing import Answer
    from convatlas.pipeline.race import RaceSettings
    from convatlas.search.halving import RaceReport

__all__ = ["choose"]


def choose(
    ctx: typer.Context,
    data: Annotated[
        str | None,
        typer.Option(
            help="'digits', a folder, a table of paths, shards; the catalogue alone if left out.",
            autocompletion=words("digits"),
        ),
    ] = None,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_latency_ms: MaxLatency = None,
    on: Annotated[
        str,
        typer.Option(
            help="Where latency counts: cpu, or with --measure cuda.",
            autocompletion=words("cpu cuda"),
        ),
    ] = "cpu",
    max_memory: MaxMemory = None,
    train_memory: Annotated[
        int | None,
        typer.Option(
            parser=parser(parse_bytes, "--train-memory"),
            metavar="<bytes>",
            help="Most memory to train, 16 images a step: 8GB; no limit if left out.",
        ),
    ] = None,
    max_size_mb: MaxSize = None,
    min_top1: MinTop1 = None,
    min_input: Annotated[
        int | None,
        typer.Option(help="Pixels of an image that it must still take; any if left out."),
    ] = None,
    family: Family = None,
    licence: Licence = None,
    needs_weights: NeedsWeights = False,
    pretrained: Annotated[
        bool, typer.Option(help="Whether pretrained weights may be used.")
    ] = True,
    export: Annotated[
        str | None,
        typer.Option(
            help="'onnx' or 'int8': say what shipping it so takes; nothing if left out.",
            autocompletion=words("onnx int8"),
        ),
    ] = None,
    objective: Objective = "accuracy",
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Time the first eight here; else what limits of time need."),
    ] = False,
    race: Annotated[
        bool,
        typer.Option("--race", help="Also train the first of them briefly; else train none."),
    ] = False,
    race_networks: Annotated[int, typer.Option(help="With --race: how many take part.")] = 9,
    race_epochs: Annotated[
        int | None,
        typer.Option(
            help="With --race: epochs of the first round; as many as the images want if left out."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="With --race: the folder that keeps it; goes on with what is there."),
    ] = Path("runs/race"),
    seed: Seed = 0,
    skip_bad: SkipBad = False,
    every: Annotated[
        bool,
        typer.Option("--all", help="List every network, also the dropped; else the first ten."),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page with sliders into this HTML file or folder; else none."),
    ] = None,
    json: Json = False,
) -> None:
    """Choose a network within limits, for images if given, and say why; the others beside it."""
    page = drawing_file(html, "choice", "--html", ".html") if html else None
    from convatlas.cli.terminal import Terminal
    from convatlas.pipeline.choosing import answer
    from convatlas.search.budget import Budget

    settings = _race_settings(ctx, data, race_networks, race_epochs, seed, race=race)
    with told_in_flags():
        budget = Budget(
            max_params=max_params,
            max_macs=max_macs,
            max_latency_ms=max_latency_ms,
            on=on,
            max_memory=max_memory,
            train_memory=train_memory,
            max_size_mb=max_size_mb,
            min_top1=min_top1,
            min_input=min_input,
            family=family,
            licence=licence,
            needs_weights=needs_weights,
            export=export,
            objective=objective,
        )
        ask = partial(answer, budget, data, Terminal(), pretrained=pretrained)
        found = ask(measure=measure, skip_bad=skip_bad, seed=seed)
    if not json:
        _show(found, every=every)
    report = None
    if settings is not None and data is not None:
        report = _raced(found, data, settings, out, skip_bad=skip_bad)
    if report is not None and not json:
        _show_race(report)
    if page is not None:
        flags = _flags(seed, pretrained=pretrained, measure=measure, skip_bad=skip_bad)
        _write(found, report, data, page, flags)
        typer.echo(f"page: {page}", err=json)
    if json:
        _print_json(found, report)


def _flags(seed: int, *, pretrained: bool, measure: bool, skip_bad: bool) -> list[str]:
    """Return what was asked beside the limits, as it was typed."""
    given = {
        f"--seed {seed}": seed != 0,
        "--no-pretrained": not pretrained,
        "--measure": measure,
        "--skip-bad": skip_bad,
    }
    return [flag for flag, is_given in given.items() if is_given]


def _race_settings(
    ctx: typer.Context,
    data: str | None,
    networks: int,
    epochs: int | None,
    seed: int,
    *,
    race: bool,
) -> RaceSettings | None:
    """Return how the race goes, if there is to be one, before anything else is done."""
    if data is None:
        refuse_without(ctx, "--data", "seed", "skip_bad")
    if not race:
        refuse_without(ctx, "--race", "race_networks", "race_epochs", "out")
        return None
    if data is None:
        raise OptionError("--race trains on your images, got no --data: name them, or leave it out")
    from convatlas.pipeline.race import RaceSettings

    return RaceSettings(networks=networks, epochs=epochs, seed=seed)


def _raced(
    found: Answer, data: str, settings: RaceSettings, out: Path, *, skip_bad: bool
) -> RaceReport:
    from convatlas.cli.terminal import Terminal
    from convatlas.pipeline.race import race_shortlist

    return race_shortlist(found.choice, data, out, Terminal(), settings, skip_bad=skip_bad)


def _show_race(report: RaceReport) -> None:
    from rich.console import Console

    from convatlas.render.race import race_sentences, race_table, rungs_sentence

    console = Console()
    console.print()
    console.print(rungs_sentence(report), highlight=False, markup=False)
    console.print()
    console.print(race_table(report))
    console.print()
    for sentence in race_sentences(report):
        console.print(sentence, highlight=False, markup=False)


def _write(
    found: Answer, report: RaceReport | None, data: str | None, page: Path, flags: list[str]
) -> None:
    from convatlas.files import write_text
    from convatlas.render.choice_page import choice_html
    from convatlas.render.race import race_sentences, rungs_sentence

    notes = _training_lines(found)
    if report is not None:
        notes += [rungs_sentence(report), *race_sentences(report)]
    html = choice_html(found.choice, data=data, task=found.task, notes=notes, flags=flags)
    write_text(page, html)


def _print_json(found: Answer, report: RaceReport | None) -> None:
    from convatlas.pipeline.choosing import answer_record
    from convatlas.render.data import to_json

    sys.stdout.write(to_json({**answer_record(found), "race": report}))


def _training_lines(found: Answer) -> list[str]:
    from dataclasses import asdict

    from convatlas.render.choice import training_sentence

    return [training_sentence(asdict(found.training))] if found.training else []


def _show(found: Answer, *, every: bool) -> None:
    from rich.console import Console

    from convatlas.render.choice import (
        choice_notes,
        choice_sentences,
        dropped_sentence,
        dropped_table,
        ranking_table,
    )

    console, choice = Console(), found.choice

    def say(*lines: str, **style: Any) -> None:
        for line in lines:
            console.print(line, highlight=False, markup=False, **style)

    say(choice.reason, style="bold")
    console.print()
    console.print(ranking_table(choice, every=every))
    console.print()
    say(*choice_sentences(choice), *_training_lines(found), dropped_sentence(choice))
    if every:
        console.print()
        console.print(dropped_table(choice))
    console.print()
    say(*choice_notes(choice), style="dim")
