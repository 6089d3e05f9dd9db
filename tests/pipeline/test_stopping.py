from __future__ import annotations

from pathlib import Path

import pytest

from convatlas.errors import OutputError
from convatlas.pipeline.stopping import resumable
from convatlas.train.interrupt import Interrupted


def test_ctrl_c_says_how_to_go_on_in_words_a_shell_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my ants", "x"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "run.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt) as bare, resumable("run", Path("runs/my ants")):
        raise KeyboardInterrupt
    assert str(bare.value) == "stopped; go on with: convatlas run --resume 'runs/my ants'"
    with pytest.raises(Interrupted) as told, resumable("train", Path("runs/x")):
        raise Interrupted(2, 31)
    assert str(told.value) == (
        "stopped after 31 steps (2 whole epochs); go on with: convatlas train --resume runs/x"
    )
    assert (told.value.epochs_done, told.value.steps_done) == (2, 31)


def test_ctrl_c_before_there_is_a_run_to_go_on_with_promises_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as bare, resumable("run", tmp_path):
        raise KeyboardInterrupt("stopped")
    assert str(bare.value) == "stopped"


def test_a_full_disk_says_how_to_go_on_once_there_is_a_run_to_go_on_with(tmp_path: Path) -> None:
    said = []
    for _ in range(2):
        with pytest.raises(OutputError) as full, resumable("run", tmp_path):
            raise OutputError("cannot write x: no space; free some")
        said.append(str(full.value))
        (tmp_path / "run.json").write_text("{}")
    again = f"; then go on with: convatlas run --resume {tmp_path}"
    assert said == ["cannot write x: no space; free some" + end for end in ("", again)]
