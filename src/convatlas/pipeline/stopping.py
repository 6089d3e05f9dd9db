"""Ctrl-C in a run that has a folder: the line that the user reads says how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["resumable"]


@contextmanager
def resumable(command: str, folder: Path) -> Iterator[None]:
    """Add to the message of a Ctrl-C how the run in ``folder`` goes on.

    Args:
        command: The command that made the folder and takes ``--resume``.
        folder: The run folder.

    Raises:
        KeyboardInterrupt: The one that was raised inside.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        resume = f"convatlas {command} --resume {shlex.quote(str(folder))}"
        error.args = (f"{str(error) or 'stopped'}; go on with: {resume}",)
        raise
