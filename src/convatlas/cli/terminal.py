"""The run's news in the terminal: lines, and bars for what takes long."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convatlas.pipeline.preparation import Progress
    from convatlas.train.reports import Observer

__all__ = ["Terminal"]

_QUIET_SECONDS = 1.0


class Terminal:
    """Writes to standard error, so that standard output holds only the result.

    Of several processes of one training, the first alone writes.

    Attributes:
        silent: Whether this is another one of them.
    """

    def __init__(self) -> None:
        self.silent = os.environ.get("RANK", "0") != "0"  # which torchrun and accelerate set

    def say(self, text: str) -> None:
        """Print one line."""
        if not self.silent:
            sys.stderr.write(f"{text}\n")

    def progress(self, what: str) -> Progress:
        """Return a function that shows (done, total) once a second has passed."""
        start = time.perf_counter()
        shown = False

        def show(done: int, total: int) -> None:
            nonlocal shown
            if (
                self.silent
                or not sys.stderr.isatty()
                or time.perf_counter() - start < _QUIET_SECONDS
            ):
                return
            shown = shown or done < total
            if shown:
                end = "\n" if done == total else ""
                sys.stderr.write(f"\r{what} {done}/{total}{end}")
                sys.stderr.flush()

        return show

    def training(self) -> Observer:
        """Return a progress bar for the training loop."""
        from convatlas.train.progress import ProgressBar

        return ProgressBar()
