"""``convatlas calibrate``: time this machine's operators once, for predictions."""

from __future__ import annotations

from typing import Annotated

import typer

from convatlas.cli.flags import Precision, Threads

__all__ = ["calibrate"]

_BUSY = 0.5  # programs per core


def calibrate(
    precision: Precision = "float32",
    threads: Threads = None,
    minutes: Annotated[float, typer.Option(help="How long, at most 3; longer is better.")] = 3.0,
) -> None:
    """Time primitive operators on this machine, so that latency can be predicted."""
    from convatlas.analysis.calibration import calibrate as run
    from convatlas.analysis.calibration import save_calibration
    from convatlas.analysis.machine import load_per_core, threads_set
    from convatlas.cli.terminal import Terminal
    from convatlas.render.latency import ceilings_text

    terminal = Terminal()
    load = load_per_core()  # before this one adds to it
    show = terminal.progress("calibrating, seconds")
    with threads_set(threads):
        calibration = run(
            precision,
            minutes=minutes,
            progress=lambda done, total: show(min(round(done), round(total)), round(total)),
        )
        path = save_calibration(calibration)
    typer.echo(f"{len(calibration.samples):,} samples: {path}")
    typer.echo(ceilings_text(calibration.ceilings))
    if load > _BUSY:
        terminal.say(
            f"warning: {load:.1f} programs per core were busy just before, which makes "
            "times too long: calibrate again when the machine is idle"
        )
