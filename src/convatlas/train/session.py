"""How one start of a run goes about its work: nothing in it changes what the run learns.

It knows neither files nor tensors; what a run learns with is in its recipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convatlas.errors import CheckpointError, OptionError

__all__ = ["CheckpointClock", "Session"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """How one start of a run goes about it.

    Attributes:
        resume: Whether to go on from the run's last checkpoint.
        checkpoint_minutes: Minutes between two checkpoints inside an epoch; 0 for none. One
            is always written after each epoch.
        checkpoint_steps: Optimizer steps between two of them; 0 leaves it to the minutes.
        stop_after_steps: Step of the whole run after which to stop as Ctrl-C does; 0 for none.
        out_of_time: Asked between two steps, after the first of the run. Where it says yes the
            training ends, and the recipe's ``keep`` decides among the weights until then.
        data: What the images look like now, as JSON values; it goes into the checkpoints.
        data_changes: Given ``data`` as a checkpoint holds it, says in words what has changed
            since; when open, any difference counts.
        accept_changed_data: Whether to go on although they looked different before.
        describe: Says what an image is, by its index, in an error message: its file.
    """

    resume: bool = False
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0
    stop_after_steps: int = 0
    out_of_time: Callable[[], bool] | None = None
    data: Mapping[str, Any] | None = None
    data_changes: Callable[[Mapping[str, Any]], Sequence[str]] | None = None
    accept_changed_data: bool = False
    describe: Callable[[int], str] | None = None

    def __post_init__(self) -> None:
        for name in ("checkpoint_minutes", "checkpoint_steps", "stop_after_steps"):
            if getattr(self, name) < 0:
                raise OptionError(f"expected {name} of 0 or more, got {getattr(self, name)}")

    def data_changed(self, saved: Mapping[str, Any] | None) -> bool:
        """Tell whether the images changed since the checkpoint that holds ``saved``.

        Raises:
            CheckpointError: They did, and that was not accepted.
        """
        if self.data is None or saved is None:
            return False
        if self.data_changes is not None:
            changes = self.data_changes(saved)
        else:
            now, names = self.data, sorted(self.data.keys() | saved.keys())
            changes = [name for name in names if now.get(name) != saved.get(name)]
        if changes and not self.accept_changed_data:
            raise CheckpointError(
                f"the data set has changed since the run's checkpoint ({'; '.join(changes)}): put "
                "it back or start a new run; convatlas train goes on all the same with "
                "--accept-changed-data"
            )
        return bool(changes)


class CheckpointClock:
    """Says after which steps a checkpoint is due.

    Args:
        session: Where the distances come from.
        now: Seconds since some moment.
    """

    def __init__(self, session: Session, now: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._now = now
        self.restart()

    def restart(self) -> None:
        """Take a checkpoint that was just written as the latest."""
        self._since = self._now()
        self._steps = 0

    def due(self) -> bool:
        """Count one step, and tell whether a checkpoint should follow it."""
        self._steps += 1
        minutes, steps = self._session.checkpoint_minutes, self._session.checkpoint_steps
        late = minutes > 0 and self._now() - self._since >= 60 * minutes
        return late or 0 < steps <= self._steps
