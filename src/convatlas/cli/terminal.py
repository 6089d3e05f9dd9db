"""The run's news in the terminal: lines, and bars for what takes long."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convatlas.pipeline.preparation import Progress
    from convatlas.train.reports import Observer

__all__ = ["Terminal"]

_QUIET_SECONDS = 1.0


class Terminal:
    """Writes to standard error, so that standard output holds only the result."""

    def say(self, text: str) -> None:
        """Print one line."""
        sys.stderr.write(f"{text}\n")

    def progress(self, what: str) -> Progress:
        """Return a function that shows (done, total) once a second has passed."""
        start = time.perf_counter()
        shown = False

        def show(done: int, total: int) -> None:
            nonlocal shown
            if not sys.stderr.isatty() or time.perf_counter() - start < _QUIET_SECONDS:
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
