"""A race that is killed again and again: run by test_race.py in a process of its own.

    python killed_race.py DATA FOLDER STEP...

Each race is a fork that gets SIGKILL at its n-th training step; the last one is left in peace.
Prints one JSON line: whether Optuna was imported before any race, and how each fork ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from convatlas.pipeline.preparation import prepare
from racing import Counting, run_race


class Killed(Counting):
    """Ends its process at a step, as a power cut would."""

    def at_the_step(self):
        os.kill(os.getpid(), signal.SIGKILL)


def main(data: str, folder: Path, kills: list[int]) -> None:
    early = "optuna" in sys.modules
    torch.optim.SGD([torch.zeros(1)])  # imports a second's worth, once for all children
    prepared = prepare(data)
    codes = []
    for step in [*kills, None]:
        child = os.fork()
        if not child:
            code = 1
            try:
                torch.set_num_threads(1)
                run_race(prepared, folder, Killed(step))
                code = 0
            finally:
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    sys.stdout.write(json.dumps([early, *codes]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [int(step) for step in sys.argv[3:]])
