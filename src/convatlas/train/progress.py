"""A progress bar in the terminal, and plain lines where there is none.

It listens to the loop as an observer and knows no metric: it shows the task's headline
under the name it is told.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from convatlas.train.reports import EpochReport, Plan, StepReport

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ProgressBar"]


class ProgressBar:
    """One line that moves while an epoch runs, and one that stays when it is over.

    Args:
        headline: What the task's main metric is called.
        console: Where to write; None for standard error.
    """

    def __init__(self, headline: str = "accuracy", *, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._headline = headline
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.description}"),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, visible=False, epoch="")
        self._plan = Plan(0, 0)
        self._latest = ""
        self._start = 0.0
        self._images = 0

    def start(self, plan: Plan) -> None:
        """Show the bar, if the console is a terminal."""
        self._plan = plan
        self._start = time.perf_counter()
        self._images = 0
        if self._console.is_terminal:
            self._bar.start()

    def step(self, report: StepReport) -> None:
        """Move the bar."""
        self._images += report.images
        if not self._console.is_terminal:
            return
        plan = self._plan
        seconds = time.perf_counter() - self._start
        left = (plan.epochs * plan.steps_per_epoch - report.step) * seconds
        left /= report.step - plan.steps_done
        self._bar.update(
            self._task,
            visible=True,
            total=plan.steps_per_epoch,
            completed=report.step - (report.epoch - 1) * plan.steps_per_epoch,
            epoch=f"{report.epoch}/{plan.epochs}",
            description=f"loss {report.loss:.3f}  {self._latest}"
            f"{self._images / seconds:.0f} images/s  {_clock(left)} left",
        )

    def epoch(self, report: EpochReport) -> None:
        """Write the line that stays."""
        self._latest = f"{self._headline} {report.headline:.4f}  "
        self._console.print(
            f"epoch {report.epoch}/{self._plan.epochs}  loss {report.loss:.3f}  {self._latest}"
            f"{report.images_per_second:.0f} images/s{'  best' if report.best else ''}",
            highlight=False,
            soft_wrap=True,
        )

    def stop(self) -> None:
        """Take the bar away."""
        if self._console.is_terminal:
            self._bar.stop()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
