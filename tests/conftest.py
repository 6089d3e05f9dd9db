"""What no test's outcome may depend on: the number of cores, and how pytest was started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background jobs ignore Ctrl-C, and hand that down; tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Weights at hand decide what is chosen: none but those of installed packages.
os.environ["CONVATLAS_CACHE"] = os.path.join(os.devnull, "convatlas")
os.environ["CONVATLAS_OFFLINE"] = "1"
os.environ.pop("CONVATLAS_MIRROR", None)
os.environ["no_proxy"] = "127.0.0.1"


@pytest.fixture(autouse=True)
def _ctrl_c_goes_on_working() -> Iterator[None]:
    """Undo what the command line leaves behind, whose process would end: a handler of its own."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler)
