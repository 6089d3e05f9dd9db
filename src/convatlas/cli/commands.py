"""All commands of ``convatlas`` and the options before them."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from convatlas import __version__
from convatlas.cli.bench import bench
from convatlas.cli.calibrate import calibrate
from convatlas.cli.choose import choose
from convatlas.cli.claims import claims
from convatlas.cli.compare import compare
from convatlas.cli.data import data
from convatlas.cli.evaluate import evaluate
from convatlas.cli.features import features
from convatlas.cli.fit import fit
from convatlas.cli.lint import lint
from convatlas.cli.list import list_networks
from convatlas.cli.main import leave_stopped
from convatlas.cli.predict import predict
from convatlas.cli.recipes import recipes
from convatlas.cli.run import run
from convatlas.cli.runs import runs
from convatlas.cli.see import see
from convatlas.cli.show import show
from convatlas.cli.timeline import timeline
from convatlas.cli.train import train
from convatlas.cli.transfer import transfer

__all__ = ["UsageError", "app", "state"]

UsageError: Any = typer.BadParameter.__base__
"""A command line that cannot be read; typer shows one kind of it alone."""


class _Commands(TyperGroup):
    """The commands; Ctrl-C in one of them is told, which typer would only exit for."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # typer hides its click
        """Run the command; after Ctrl-C, print a line and exit with status 130."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            error.ctx = getattr(error, "ctx", None) or ctx  # typer forgets it for a missing value
            raise
        except KeyboardInterrupt as error:
            leave_stopped(error)


app = typer.Typer(
    name="convatlas",
    cls=_Commands,
    help="The atlas of convolutional networks.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("list")(list_networks)
app.command("show")(show)
app.command("compare")(compare)
app.command("choose")(choose)
app.command("timeline")(timeline)
app.command("fit")(fit)
app.command("bench")(bench)
app.command("calibrate")(calibrate)
app.command("see")(see)
app.command("lint")(lint)
app.command("claims")(claims)
app.command("run")(run)
app.command("runs")(runs)
app.command("train")(train)
app.command("transfer")(transfer)
app.command("features")(features)
app.command("evaluate")(evaluate)
app.command("predict")(predict)
app.command("recipes")(recipes)
app.command("data")(data)

state = {"debug": False}


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks of errors; else one line.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Build, measure, choose, train, explain and ship convolutional networks."""
    state["debug"] = debug
