from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convatlas.errors import CheckpointError, OutputError
from convatlas.train.reports import EpochReport, Plan, StepReport
from convatlas.train.tracking import MetricsFile, TensorBoard, is_training


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


def test_bytes_that_are_no_text_are_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    run(path, Plan(3, 4), 8)
    whole = path.read_bytes()
    path.write_bytes(b'\x00\xff\n3\n{"kind": "step"}\n[1]\n' + whole + b'{"kind": "\xc3')
    run(path, Plan(3, 4, 2, 8), 8)
    assert path.read_bytes() == whole


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl", every=1)
    monkeypatch.setattr(metrics, "_file", os.fdopen(os.open("/dev/full", os.O_WRONLY), "w"))
    board = TensorBoard(tmp_path)
    monkeypatch.setattr(board, "_file", open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    for observer in (metrics, board):
        with pytest.raises(OutputError, match="No space left"):
            observer.step(step(1))
        observer.stop()  # does not hide that error behind another


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert is_training(path) is None
    first = MetricsFile(path, every=1)
    first.start(Plan(1, 4))
    first.step(step(1))
    assert is_training(path) is True
    with pytest.raises(CheckpointError, match="another process is training in"):
        MetricsFile(path).start(Plan(1, 4))
    assert len(lines(path)) == 1  # untouched
    first.stop()
    assert is_training(path) is False


STEPS_FOR_EVER = """
import sys
from pathlib import Path
from convatlas.train.reports import Plan, StepReport
from convatlas.train.tracking import MetricsFile, TensorBoard
folder = Path(sys.argv[1])
observers = [MetricsFile(folder / "metrics.jsonl", every=1), TensorBoard(folder / "tensorboard")]
for observer in observers:
    observer.start(Plan(1, 10**9))
number = 0
while True:
    number += 1
    for observer in observers:
        observer.step(StepReport(1, number, 1 / number, 0.1, 8))
    print(number, flush=True)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_loses_no_step(tmp_path: Path, ending: signal.Signals) -> None:
    command = [sys.executable, "-c", STEPS_FOR_EVER, str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    told = [int(child.stdout.readline()) for _ in range(40)]
    assert is_training(tmp_path / "metrics.jsonl") is True
    child.send_signal(ending)
    told += [int(line) for line in child.stdout]
    child.wait()
    child.stdout.close()
    assert is_training(tmp_path / "metrics.jsonl") is False
    written = [e["step"] for e in lines(tmp_path / "metrics.jsonl")]
    shown = scalars(tmp_path / "tensorboard", "train/loss")
    for steps in (written, [number for number, _ in shown]):
        assert steps[: len(told)] == told
    assert shown[39][1] == pytest.approx(1 / 40)


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_tensorboard_gets_every_step_and_metric(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.start(Plan(1, 4))
    for number in range(1, 5):
        board.step(step(number))
    board.epoch(epoch(1))
    board.stop()
    assert scalars(tmp_path, "train/loss") == [(n, pytest.approx(1 / n)) for n in range(1, 5)]
    assert scalars(tmp_path, "train/lr")[0] == (1, pytest.approx(0.1))
    assert scalars(tmp_path, "eval/accuracy") == [(4, pytest.approx(0.9))]
    assert scalars(tmp_path, "train/images_per_second") == [(4, 32.0)]


def test_a_resumed_board_forgets_the_steps_after_the_checkpoint(tmp_path: Path) -> None:
    for done in (0, 2):
        board = TensorBoard(tmp_path)
        board.start(Plan(1, 4, 0, done))
        for number in range(done + 1, 5):
            board.step(step(number))
        board.stop()
    assert [number for number, _ in scalars(tmp_path, "train/loss")] == [1, 2, 3, 4]


def test_event_files_start_without_tensorflow_and_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from convatlas.train.reports import Plan;"
        "from convatlas.train.tracking import TensorBoard;"
        "assert 'tensorboard' not in sys.modules;"
        "board = TensorBoard(Path(sys.argv[1])); board.start(Plan(1, 1)); board.stop();"
        "assert not {'torch', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1


def test_a_file_where_the_events_should_go_is_told(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").touch()
    with pytest.raises(OutputError, match="cannot write"):
        TensorBoard(tmp_path / "tensorboard").start(Plan(1, 4))
