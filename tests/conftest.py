"""One thread for every test: the figures do not depend on the machine's number of cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
