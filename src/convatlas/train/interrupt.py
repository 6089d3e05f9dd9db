"""Ctrl-C between two steps, or two imports, instead of in the middle of one.

Half an optimizer step cannot be resumed exactly, so the first Ctrl-C waits for a place
where the loop asks for it; a second one is not held back. In the middle of an import, torch takes
Ctrl-C for a missing package and fails much later: there too, the first one waits.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["BetweenImports", "Interrupted", "StopRequest"]

_PAUSE = 0.02  # seconds
_PATIENCE = 2.0  # seconds
_IMPORT = "<frozen importlib._bootstrap>"


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


class BetweenImports:
    """A handler of Ctrl-C that raises KeyboardInterrupt, but not in the middle of an import.

    The first one asks again until the import is done; a second one, or two seconds, end the process
    in the middle of it, with one line and status 130.
    """

    def __init__(self) -> None:
        self._waiting = False
        self._since: float | None = None

    def __call__(self, _number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, now or soon; with the arguments of any handler."""
        if not _is_importing(frame):
            self._waiting, self._since = False, None
            raise KeyboardInterrupt
        now = time.monotonic()
        self._since = self._since or now
        if self._waiting or now - self._since > _PATIENCE:
            os.write(2, b"convatlas: stopped\n")
            os._exit(130)
        self._waiting = True
        _thread.start_new_thread(self._ask_again, ())  # threading may be what is interrupted

    def _ask_again(self) -> None:
        time.sleep(_PAUSE)
        if self._waiting:
            self._waiting = False
            _thread.interrupt_main()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            return True
        frame = frame.f_back
    return False


class StopRequest:
    """While entered, remembers the first Ctrl-C until :meth:`check` is called.

    Only the main thread gets signals, and a handler that someone else has put in place
    stays there; otherwise ``check`` never raises.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: Callable[[int, FrameType | None], Any] | None = None

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
        before = signal.getsignal(signal.SIGINT)
        if in_main and (before is signal.default_int_handler or isinstance(before, BetweenImports)):
            signal.signal(signal.SIGINT, self._remember)
            self._before = before
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _remember(self, *_: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
