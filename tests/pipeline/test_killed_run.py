from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_run.py")
STAGES = ["describe", "choose", "plan", "train", "evaluate", "explain", "ship", "report"]
KILLED = [stage for stage in STAGES if stage != "choose"]
TIMED = {
    "run.json",
    "stages.json",
    "plan.json",
    "metrics.jsonl",
    "last.json",
    "previous.json",
    "best.json",
}

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def test_a_run_that_is_killed_in_every_stage_ends_like_one_left_in_peace(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    starts = [start.splitlines() for start in re.split(r"(?<=\n)(?=ended )", done.stdout)]
    endings = [start[0] for start in starts[1:]]
    assert endings == ["ended 0", *["ended -9"] * len(KILLED), "ended 0"], done.stderr
    skipped = [[line.split(":")[0] for line in lines if "skipped" in line] for lines in starts]
    for killed_before, found in zip(KILLED, skipped[2:], strict=False):
        assert found == STAGES[: STAGES.index(killed_before)]  # it goes on in that stage
    (straight,) = (tmp_path / "straight").iterdir()
    (killed,) = (tmp_path / "killed").iterdir()
    files = {path.relative_to(straight) for path in straight.rglob("*") if path.is_file()}
    ours = {path.relative_to(killed) for path in killed.rglob("*") if path.is_file()}
    assert {path for path in files ^ ours if "tensorboard" not in path.parts} == set()
    same = [p for p in files if p.name not in TIMED and p.parts[0] != "tensorboard"]
    assert len(same) > 20
    assert [p for p in same if (straight / p).read_bytes() != (killed / p).read_bytes()] == []
