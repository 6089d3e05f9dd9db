from __future__ import annotations

import io

from rich.console import Console

from convatlas.train.progress import ProgressBar
from convatlas.train.reports import EpochReport, Plan, StepReport


def show(console: Console) -> None:
    bar = ProgressBar("accuracy", console=console)
    bar.start(Plan(2, 3))
    for number in range(1, 7):
        bar.step(StepReport((number - 1) // 3 + 1, number, 0.25, 0.1, 8))
        if number % 3 == 0:
            bar.epoch(
                EpochReport(number // 3, number, 0.25, 0.1, 0.9, {}, number == 3, 2.0, 1234.5)
            )
    bar.stop()


def test_without_a_terminal_there_is_one_plain_line_per_epoch() -> None:
    out = io.StringIO()
    show(Console(file=out, force_terminal=False))
    assert out.getvalue().splitlines() == [
        "epoch 1/2  loss 0.250  accuracy 0.9000  1234 images/s  best",
        "epoch 2/2  loss 0.250  accuracy 0.9000  1234 images/s",
    ]


def test_in_a_terminal_a_bar_moves_and_the_lines_stay() -> None:
    out = io.StringIO()
    show(Console(file=out, force_terminal=True, width=100, color_system=None))
    text = out.getvalue()
    assert "images/s" in text
    assert "left" in text
    assert text.count("accuracy 0.9000  1234 images/s") == 2


def test_a_resumed_run_starts_in_the_middle() -> None:
    out = io.StringIO()
    bar = ProgressBar(console=Console(file=out, force_terminal=True, width=100))
    bar.start(Plan(2, 3, 1, 4))
    bar.step(StepReport(2, 5, 0.25, 0.1, 8))
    bar.stop()
    assert "2/2" in out.getvalue()
    assert "2/3" in out.getvalue()
