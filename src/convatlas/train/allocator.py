"""The C library's allocator, told to keep the memory that a training step gives back.

glibc returns large blocks to the system as soon as they are free, and the system hands them out
again zeroed, one page fault per 4 KiB: in every step, for every activation. Kept memory is
written to at once. docs/benchmarks.md has what that gains and what it costs.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache

__all__ = ["keep_freed_memory"]

# numbers of mallopt's parameters, from glibc's malloc.h, and bytes
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_NEVER = -1
_PAD = 64 * 2**20  # bytes by which the heap grows at a time
_LARGE = 2**30  # bytes from which a block still goes back to the system
_LARGE_AT_MOST = 32 * 2**20  # what glibc before 2.35 accepts


@cache
def keep_freed_memory() -> bool:
    """Let this process keep freed blocks below 1 GiB for its next allocations.

    It holds for the whole process and until its end, and does nothing outside Linux with glibc.

    Returns:
        Whether the allocator took it.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another allocator in glibc's place
        return False
    large = mallopt(_MMAP_THRESHOLD, _LARGE) or mallopt(_MMAP_THRESHOLD, _LARGE_AT_MOST)
    return bool(large and mallopt(_TRIM_THRESHOLD, _NEVER) and mallopt(_TOP_PAD, _PAD))
