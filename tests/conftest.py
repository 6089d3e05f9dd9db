"""What no test's outcome may depend on: the number of cores, and how pytest was started."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background jobs ignore Ctrl-C, and hand that down; tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)
