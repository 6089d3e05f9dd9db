"""One function over 0, 1, … n-1 on a few threads, results in order, whatever the function does.

Pillow's decoders release the interpreter lock, so threads are enough to keep the cores busy.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Progress", "ordered_map"]

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)`` after each image."""

_Result = TypeVar("_Result")
_MOST_THREADS = 8


def ordered_map(
    function: Callable[[int], _Result],
    count: int,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
    ahead: int | None = None,
) -> Generator[_Result, None, None]:
    """Yield ``function(0)`` … ``function(count - 1)`` in that order, computed in parallel.

    Only a few results are ever held. An exception of ``function`` ends the work and is raised
    in its turn. When the iterator is closed, no thread of it is left.

    Args:
        function: What to compute.
        count: How often.
        progress: Called as ``progress(done, total)``.
        threads: How many work; None for one per core, but few.
        ahead: How many results may be under way or wait, beside the one in use; None for
            enough to keep the threads busy.
    """
    threads = threads or min(_MOST_THREADS, _cores())
    if threads == 1 and ahead is None:  # a thread to wait for would gain nothing
        yield from _one_by_one(function, count, progress)
        return
    most = 4 * threads if ahead is None else ahead + 1
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            submitted = 0
            for done in range(1, count + 1):
                while submitted < count and len(pending) < most:
                    pending.append(pool.submit(function, submitted))
                    submitted += 1
                yield pending.popleft().result()
                if progress is not None:
                    progress(done, count)
        finally:
            for future in pending:
                future.cancel()


def _one_by_one(
    function: Callable[[int], _Result], count: int, progress: Progress | None
) -> Generator[_Result, None, None]:
    for place in range(count):
        yield function(place)
        if progress is not None:
            progress(place + 1, count)


def _cores() -> int:
    """Return how many cores this process may use, where the system can tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
