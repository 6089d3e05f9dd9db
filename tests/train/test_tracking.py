from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from convatlas.errors import MissingExtraError, OutputError
from convatlas.train.reports import EpochReport, Plan, StepReport
from convatlas.train.tracking import MetricsFile, TensorBoard


def step(number: int) -> StepReport:
    return StepReport(epoch=(number - 1) // 4 + 1, step=number, loss=1 / number, lr=0.1, images=8)


def epoch(number: int) -> EpochReport:
    return EpochReport(
        epoch=number,
        step=4 * number,
        loss=0.5,
        lr=0.1,
        headline=0.9,
        metrics={"accuracy": 0.9, "images": 8},
        best=True,
        seconds=1.0,
        images_per_second=32.0,
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(path: Path, plan: Plan, last_step: int) -> None:
    metrics = MetricsFile(path, every=2)
    metrics.start(plan)
    for number in range(plan.steps_done + 1, last_step + 1):
        metrics.step(step(number))
        if number % 4 == 0:
            metrics.epoch(epoch(number // 4))
    metrics.stop()


def test_one_line_per_epoch_and_per_so_many_steps(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    run(path, Plan(3, 4), 12)
    entries = lines(path)
    assert [e["step"] for e in entries if e["kind"] == "step"] == [2, 4, 6, 8, 10, 12]
    assert [e["epoch"] for e in entries if e["kind"] == "epoch"] == [1, 2, 3]
    assert entries[0] == {"kind": "step", "epoch": 1, "step": 2, "loss": 0.5, "lr": 0.1}
    assert entries[2]["metrics"] == {"accuracy": 0.9, "images": 8}


@pytest.mark.parametrize("wrote", range(13))
@pytest.mark.parametrize("resumed", range(9))
def test_a_resumed_file_equals_an_uninterrupted_one(
    tmp_path: Path, wrote: int, resumed: int
) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    run(whole, Plan(3, 4), 12)
    resumed = min(resumed, wrote)
    run(cut, Plan(3, 4), wrote)
    with cut.open("a") as file:
        file.write('{"kind": "st')  # killed in the middle of a line
    run(cut, Plan(3, 4, resumed // 4, resumed), 12)
    assert cut.read_text() == whole.read_text()


def test_an_epoch_that_was_not_evaluated_at_the_checkpoint_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    run(path, Plan(1, 4), 4)
    metrics = MetricsFile(path, every=2)
    metrics.start(Plan(1, 4, epochs_done=0, steps_done=4))
    metrics.epoch(epoch(1))
    metrics.stop()
    assert [e["kind"] for e in lines(path)] == ["step", "step", "epoch"]


def test_each_line_is_on_disk_at_once(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl", every=1)
    metrics.start(Plan(1, 4))
    metrics.step(step(1))
    assert len(lines(tmp_path / "metrics.jsonl")) == 1
    metrics.stop()


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        MetricsFile(tmp_path / "metrics.jsonl").start(Plan(1, 4))


def test_tensorboard_gets_every_step_and_metric(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoard(tmp_path)
    board.start(Plan(1, 4))
    for number in range(1, 5):
        board.step(step(number))
    board.epoch(epoch(1))
    board.stop()
    events = EventAccumulator(str(tmp_path)).Reload()
    losses = [(e.step, e.value) for e in events.Scalars("train/loss")]
    assert losses == [(n, pytest.approx(1 / n)) for n in range(1, 5)]
    assert [e.value for e in events.Scalars("eval/accuracy")] == [pytest.approx(0.9)]


def test_a_resumed_board_forgets_the_steps_after_the_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for done in (0, 2):
        board = TensorBoard(tmp_path)
        board.start(Plan(1, 4, 0, done))
        for number in range(done + 1, 5):
            board.step(step(number))
        board.stop()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3, 4]


def test_without_tensorboard_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'convatlas\[tensorboard\]'"):
        TensorBoard(tmp_path)
