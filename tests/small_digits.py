"""A folder with some of scikit-learn's digits, and who listens to a training on them."""

from __future__ import annotations

from pathlib import Path

from convatlas.data.sources.digits import Digits

CLASSES = 3


class Quiet:
    """A listener that remembers what it was told, and may press Ctrl-C after some steps."""

    def __init__(self, stop_after=None):
        self.lines = []
        self.stop_after = stop_after

    def say(self, text):
        self.lines.append(text)

    def progress(self, what):
        return lambda done, total: None

    def training(self):
        return self

    def start(self, plan):
        pass

    def step(self, report):
        if report.step == self.stop_after:
            raise KeyboardInterrupt

    def epoch(self, report):
        pass

    def stop(self):
        pass


def write_digits(folder: Path, classes: int = CLASSES, train: int = 16, val: int = 6) -> Path:
    """Write the first images of each class into ``train`` and ``val``, and return ``folder``."""
    digits = Digits()
    counts = dict.fromkeys(range(classes), 0)
    for index, label in enumerate(digits.labels):
        if label >= classes or counts[label] == train + val:
            continue
        part = "train" if counts[label] < train else "val"
        counts[label] += 1
        file = folder / part / f"class{label}" / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        digits.load(index).save(file)
    return folder
