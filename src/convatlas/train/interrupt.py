"""Ctrl-C between two steps instead of in the middle of one.

Half an optimizer step cannot be resumed exactly, so the first Ctrl-C waits for a place
where the loop asks for it; a second one is not held back.
"""

from __future__ import annotations

import signal
import threading
from types import TracebackType

__all__ = ["Interrupted", "StopRequest"]


class Interrupted(KeyboardInterrupt):
    """A run was stopped by hand; its folder holds what is needed to go on.

    Attributes:
        epochs_done: Epochs finished in the checkpoint that a resumed run starts from.
        steps_done: Optimizer steps finished there, over the whole run.
    """

    def __init__(self, epochs_done: int, steps_done: int) -> None:
        super().__init__(f"stopped after {steps_done} steps ({epochs_done} whole epochs)")
        self.epochs_done = epochs_done
        self.steps_done = steps_done


class StopRequest:
    """While entered, remembers the first Ctrl-C until :meth:`check` is called.

    Only the main thread gets signals, and a handler that someone else has put in place
    stays there; otherwise ``check`` never raises.
    """

    def __init__(self) -> None:
        self._asked = False
        self._installed = False

    @property
    def asked(self) -> bool:
        """Whether a Ctrl-C is held back."""
        return self._asked

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was held back, if there is one."""
        if self._asked:
            raise KeyboardInterrupt

    def __enter__(self) -> StopRequest:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._remember)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False

    def _remember(self, *_: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
