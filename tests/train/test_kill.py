from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convatlas.train.checkpoint import RunFolder
from convatlas.train.verification import compare_checkpoints

SCRIPT = Path(__file__).with_name("killed_training.py")
KILLS = 12

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]]]:
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, "5", str(KILLS)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_the_processes_really_were_killed_while_they_trained(
    killed: tuple[Path, dict[str, list[int]]],
) -> None:
    _, told = killed
    first, *kills, last = told["codes"]
    assert first == last == 0
    assert kills.count(-signal.SIGKILL) >= KILLS // 2
    assert len({steps for steps in told["saved"] if steps}) >= 3


def test_no_kill_lost_a_step_that_a_checkpoint_held(
    killed: tuple[Path, dict[str, list[int]]],
) -> None:
    _, told = killed
    assert told["saved"] == sorted(told["saved"])


def test_the_killed_run_ends_bit_for_bit_like_the_one_left_in_peace(
    killed: tuple[Path, dict[str, list[int]]],
) -> None:
    straight, stopped = (RunFolder(killed[0] / name) for name in ("straight", "killed"))
    assert compare_checkpoints(straight.load_last(), stopped.load_last()) == []
    assert compare_checkpoints(straight.load_best(), stopped.load_best()) == []


def test_no_figure_is_told_twice_or_left_out(
    killed: tuple[Path, dict[str, list[int]]],
) -> None:
    told = []
    for name in ("straight", "killed"):
        text = (killed[0] / name / "metrics.jsonl").read_text(encoding="utf-8")
        told.append([json.loads(line) for line in text.splitlines()])
        for line in told[-1]:
            for time in ("seconds", "images_per_second"):
                line.pop(time, None)
    straight, stopped = told
    assert straight == stopped
    assert [line["epoch"] for line in straight if line["kind"] == "epoch"] == list(range(1, 13))


def test_what_the_killed_processes_had_staged_is_gone(
    killed: tuple[Path, dict[str, list[int]]],
) -> None:
    assert not [p for p in (killed[0] / "killed").iterdir() if p.suffix == ".tmp"]
