"""One process at a time in a folder, tried with real processes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from convatlas.errors import CheckpointError
from convatlas.pipeline.preparation import pick, prepare
from convatlas.pipeline.race import RaceSettings, race
from convatlas.pipeline.run import resume
from convatlas.pipeline.settings import RunSettings
from convatlas.pipeline.sole import alone_in
from small_digits import Quiet, write_digits

HOLD = """
import sys, time
from pathlib import Path
from convatlas.pipeline.sole import alone_in

with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """A process that is at work in the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "in\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_in_one_line(other, tmp_path):
    with pytest.raises(CheckpointError) as caught, alone_in(tmp_path):
        pass
    assert str(caught.value) == (
        f"another process is at work in {tmp_path}: wait for it, stop it, or choose another folder"
    )


def test_a_process_that_was_killed_stands_in_nobodys_way(other, tmp_path):
    other.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    other.wait()
    for _ in range(2):
        with alone_in(tmp_path):
            pass


def test_a_run_that_is_going_on_is_not_gone_on_with_twice(other, tmp_path, monkeypatch):
    monkeypatch.setattr("convatlas.pipeline.run.read_record", lambda _: (RunSettings(), {}))
    with pytest.raises(CheckpointError, match="another process is at work in"):
        resume(tmp_path, Quiet())


def test_two_races_do_not_use_one_folder(other, tmp_path):
    settings = RunSettings(data=str(write_digits(tmp_path / "images")), model="lenet5")
    prepared = prepare(settings.data)
    racers = [pick(settings, prepared).chosen]
    with pytest.raises(CheckpointError, match="another process is at work in"):
        race(racers, prepared, RaceSettings(epochs=1), tmp_path, Quiet())
    assert not (tmp_path / "race.sqlite3").exists()


def test_where_nothing_can_be_locked_work_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("fcntl")

    def unsupported(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with alone_in(tmp_path):
        pass
