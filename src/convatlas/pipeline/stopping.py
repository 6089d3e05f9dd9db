"""Ctrl-C or a full disk in a run that has a folder: the line that is read says how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convatlas.errors import OutputError
from convatlas.pipeline.settings import RUN_FILE

__all__ = ["resumable"]


@contextmanager
def resumable(command: str, folder: Path) -> Iterator[None]:
    """Add to the message of a Ctrl-C, or of a disk that is full, how the run in ``folder`` goes on.

    Args:
        command: The command that made the folder and takes ``--resume``.
        folder: The run folder.

    Raises:
        KeyboardInterrupt: The one that was raised inside.
        OutputError: The one that was raised inside.
    """
    resume = f"convatlas {command} --resume {shlex.quote(str(folder))}"
    try:
        yield
    except (KeyboardInterrupt, OutputError) as error:
        if (folder / RUN_FILE).is_file():  # or else there is nothing to go on from
            then = "then " if isinstance(error, OutputError) else ""
            error.args = (f"{str(error) or 'stopped'}; {then}go on with: {resume}",)
        raise
