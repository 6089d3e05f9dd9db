"""Start-up: what needs no torch, against a bare interpreter and `import torch`.

Median of ten processes each, in turns, so that a noisy machine slows them alike.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 10
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import convatlas": [sys.executable, "-c", "import convatlas"],
    "convatlas list": [sys.executable, "-m", "convatlas", "list"],
    "convatlas choose": [sys.executable, "-m", "convatlas", "choose", "--max-macs", "500M"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def main() -> None:
    """Print a table of medians and their ratios to the bare interpreter."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(RUNS + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if run:  # the first one fills the disk cache
                times[name].append(time.perf_counter() - start)
    bare = statistics.median(times["python -c pass"])
    print(f"{'command':20}{'median s':>10}{'fastest s':>11}{'ratio':>8}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:20}{median:10.3f}{min(values):11.3f}{median / bare:8.1f}")


if __name__ == "__main__":
    main()
