"""A training that is killed again and again: run by test_kill.py in a process of its own.

    python killed_training.py FOLDER SEED KILLS

Everything is imported once; each training is a fork that gets SIGKILL at a random moment.
Prints one JSON line: steps in the checkpoint after each kill, and how the child ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from convatlas.train.checkpoint import RunFolder
from convatlas.train.loop import fit
from convatlas.train.session import Session
from small_training import RECIPES, Batches, Held, Sign, net

STEPS = 12
WATCHED = os.WEXITED | os.WNOHANG | os.WNOWAIT
RECIPE = RECIPES["momentum and averaging"].override({"training.epochs": 12})


def train(folder: Path) -> int:
    """Start a process that trains in ``folder`` to the end, and return its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        torch.set_num_threads(1)
        run = RunFolder(folder)
        session = Session(resume=run.has_run(), checkpoint_steps=1)
        fit(net(), Sign(), Batches(STEPS), Held(), RECIPE, run=run, session=session)
        code = 0
    finally:
        os._exit(code)


def wait_for_checkpoint(folder: Path, child: int) -> None:
    """Wait until ``child``, which starts anew, has written one, or has ended."""
    before = stamp(folder)
    while stamp(folder) == before and os.waitid(os.P_PID, child, WATCHED) is None:
        time.sleep(0.001)


def stamp(folder: Path) -> int:
    try:
        return (folder / "last.safetensors").stat().st_ino
    except OSError:
        return 0


def steps_saved(folder: Path) -> int:
    run = RunFolder(folder)
    if not run.has_run():
        return 0
    meta = run.load_last().metadata
    return int(meta["epochs_done"] * STEPS + meta["step"])


def main(folder: Path, seed: int, kills: int) -> None:
    torch.optim.SGD([torch.zeros(1)])  # imports a second's worth, once for all children
    moments = np.random.default_rng(seed)
    straight = train(folder / "straight")
    codes = [os.waitstatus_to_exitcode(os.waitpid(straight, 0)[1])]
    saved = []
    for _ in range(kills):
        child = train(folder / "killed")
        wait_for_checkpoint(folder / "killed", child)
        time.sleep(moments.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        saved.append(steps_saved(folder / "killed"))
    last = train(folder / "killed")
    codes.append(os.waitstatus_to_exitcode(os.waitpid(last, 0)[1]))
    sys.stdout.write(json.dumps({"codes": codes, "saved": saved}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
