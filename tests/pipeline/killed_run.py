"""A run that is killed in every stage: run by test_killed_run.py in a process of its own.

    python killed_run.py FOLDER

Everything is imported once; each start is a fork that gets SIGKILL in the middle of a stage.
Prints what each of them told, and how it ended.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

import torch

from convatlas.files import write_text
from convatlas.pipeline import run_stages
from convatlas.pipeline.run import resume, run
from convatlas.pipeline.settings import RunSettings
from small_digits import Quiet, write_digits

# What each stage calls to do its work; training is killed in its second epoch.
CALLS = {
    "describe": "data_record",
    "plan": "make_plan",
    "train": "",
    "evaluate": "predict",
    "explain": "explain",
    "ship": "ship",
    "report": "write_report",
}


class Teller(Quiet):
    """A listener that prints what it is told at once, and may end the process in an epoch."""

    def __init__(self, last_epoch=0):
        super().__init__()
        self.last_epoch = last_epoch

    def say(self, text):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def step(self, report):
        if report.epoch == self.last_epoch:
            die()


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def export(_trained, _job, folder, *_):
    """Stand for the export, which takes seconds."""
    write_text(folder / "model.onnx", "onnx")
    return {"top1_agreement": 1.0, "images": 1, "conclusive": True}


def page(folder):
    """Stand for the report and the model card, which need what the export tells."""
    write_text(folder / "report.html", "page")
    return folder / "report.html"


def start(parent: Path, data: Path, stage: str = "") -> None:
    """Begin or go on with the run below ``parent`` in a child, and print how that ended."""
    settings = RunSettings(data=str(data), model="lenet5", epochs=2)
    child = os.fork()
    if not child:
        code = 1
        try:
            torch.set_num_threads(1)
            if call := CALLS.get(stage):
                setattr(run_stages, call, die)
            listener = Teller(2 if stage == "train" else 0)
            (folder,) = list(parent.glob("digits-*")) or [None]
            if folder is None:
                run(settings, parent, listener)
            else:
                resume(folder, listener)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.stdout.write(f"ended {code}\n")
    sys.stdout.flush()


def main(folder: Path) -> None:
    torch.optim.SGD([torch.zeros(1)])  # imports a second's worth, once for all children
    run_stages.ship = export
    run_stages.write_report = run_stages.write_model_card = page
    data = write_digits(folder / "digits")
    start(folder / "straight", data)
    for stage in (*CALLS, ""):
        start(folder / "killed", data, stage)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
