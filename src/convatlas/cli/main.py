"""The command ``convatlas``: errors as one line with status 2, Ctrl-C as one with status 130.

The commands are loaded when Ctrl-C is already looked after, for that takes a moment.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from convatlas.train.interrupt import BetweenImports

__all__ = ["leave_stopped", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the exit status is 2 after an error, 130 after Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, BetweenImports())
    try:
        _print_anything()
        _keep_messages_short()
        _command(arguments)
    except KeyboardInterrupt as error:
        leave_stopped(error)


def leave_stopped(error: KeyboardInterrupt) -> NoReturn:
    """Print what a Ctrl-C says, or that it was one, and exit with status 130."""
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # leaving needs no second one
    sys.stderr.write(f"convatlas: {str(error) or 'stopped'}\n")
    sys.exit(130)


def _print_anything() -> None:
    """Print a question mark for what the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _keep_messages_short() -> None:
    import logging
    import warnings

    warnings.formatwarning = _one_line
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("convatlas.download").setLevel(logging.INFO)  # how far it is
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it would tell each try; we, the last


def _one_line(message: Warning | str, *_where: Any, **_line: Any) -> str:
    """Return a warning as its message alone: the place in the code means nothing to a user."""
    return f"convatlas: {message}\n"


def _command(arguments: Sequence[str] | None) -> None:
    from convatlas.cli.advice import advised, usage_line
    from convatlas.cli.commands import UsageError, app, state
    from convatlas.errors import ConvAtlasError

    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = app(args=given or ["--help"], prog_name="convatlas", standalone_mode=False)
        sys.exit(status or 0)
    except UsageError as error:
        sys.stderr.write(f"convatlas: {usage_line(error)}\n")
    except ConvAtlasError as error:
        if state["debug"]:
            raise
        sys.stderr.write(f"convatlas: {advised(str(error))}\n")
    sys.exit(2)
