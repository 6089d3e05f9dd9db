"""A race that takes a second or two: four tiny networks on some digits, for 1, 2 and 4 epochs."""

from __future__ import annotations

from convatlas.pipeline.race import RaceSettings, race
from convatlas.pipeline.train import find_candidate
from small_digits import Quiet

NAMES = ("cifar_resnet20", "cifar_plain20", "cifar_resnet32", "cifar_plain32")
SETTINGS = RaceSettings(epochs=1, factor=2)


class Counting(Quiet):
    """A listener that counts the steps of all networks, and may press Ctrl-C at one."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.stop_at = stop_at
        self.steps = 0

    def step(self, report):
        self.steps += 1
        if self.steps == self.stop_at:
            self.at_the_step()

    def at_the_step(self):
        raise KeyboardInterrupt


def candidates(prepared, names=NAMES):
    return [find_candidate(prepared, name, None) for name in names]


def run_race(prepared, folder, listener, settings=SETTINGS, names=NAMES):
    return race(candidates(prepared, names), prepared, settings, folder, listener)
