from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from convatlas.train.allocator import keep_freed_memory

PROBE = """
import ctypes, resource
from convatlas.train.allocator import keep_freed_memory
if {kept}:
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    size = 64 * 2**20  # 16,384 pages
    block = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(block, 1, size)
    libc.free(ctypes.c_void_p(block))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(min(use() for _ in range(9)))
"""


def page_faults(*, kept: bool) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(kept=kept)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    assert page_faults(kept=True) < 100
    assert page_faults(kept=False) > 1000


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory.__wrapped__() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))  # musl
    assert keep_freed_memory.__wrapped__() is False
