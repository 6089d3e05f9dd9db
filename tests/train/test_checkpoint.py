from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convatlas.errors import CheckpointError, OutputError
from convatlas.files import write_text
from convatlas.train.checkpoint import Checkpoint, RunFolder


def checkpoint(number: int) -> Checkpoint:
    return Checkpoint({"w": torch.full((4, 3), float(number))}, {"number": number})


def number(found: Checkpoint) -> int:
    assert found.tensors["w"].unique().tolist() == [found.metadata["number"]]
    return int(found.metadata["number"])


def test_a_checkpoint_comes_back_whatever_its_memory_format(tmp_path: Path) -> None:
    channels_last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tied = torch.arange(6.0)
    tensors = {"a": channels_last, "b": tied, "c": tied, "d": tied[::2], "n": torch.tensor(7)}
    run = RunFolder(tmp_path / "deep" / "run")
    run.save_best(Checkpoint(tensors, {"epoch": 3, "ä": 0.1}))
    found = run.load_best()
    assert found.metadata == {"epoch": 3, "ä": 0.1}
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[k], v) for k, v in tensors.items())


def test_the_files_are_plain_json_and_safetensors_that_carry_the_hash(tmp_path: Path) -> None:
    RunFolder(tmp_path).save_last(checkpoint(1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.json", "last.safetensors"]
    document = json.loads((tmp_path / "last.json").read_text())
    content = (tmp_path / "last.safetensors").read_bytes()
    assert document["tensors_sha256"] == hashlib.sha256(content).hexdigest()
    assert load_file(tmp_path / "last.safetensors")["w"].tolist() == [[1.0] * 3] * 4


class Killed(BaseException):
    """Stands for a process that ends without running any clean-up."""


def test_whenever_a_process_dies_the_newest_or_the_one_before_is_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # for speed alone
    replace = os.replace
    run = RunFolder(tmp_path)
    run.save_last(checkpoint(0))
    newest = 0
    # Every sequence of three crashes, each before the k-th rename of a save (4 = none left out).
    for crashes in [(a, b, c) for a in range(5) for b in range(5) for c in range(5)]:
        for renames in crashes:
            done: list[str] = []

            def dying(
                source: str, target: str, done: list[str] = done, renames: int = renames
            ) -> None:
                if len(done) == renames:
                    raise Killed
                replace(source, target)
                done.append(target)

            monkeypatch.setattr(os, "replace", dying)
            with suppress(Killed):
                run.save_last(checkpoint(newest + 1))
            monkeypatch.setattr(os, "replace", replace)
            found = number(run.load_last())
            assert found in (newest, newest + 1)
            newest = found


def test_a_changed_tensor_file_is_refused_and_the_one_before_is_offered(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save_last(checkpoint(1))
    tensors = tmp_path / "last.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.safetensors does not match") as caught:
        run.load_last()
    assert "kept" not in str(caught.value)
    run.save_last(checkpoint(1))
    run.save_last(checkpoint(2))
    tensors.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.safetensors does not match.* kept") as caught:
        run.load_last()
    assert "\n" not in str(caught.value)
    (tmp_path / "last.json").unlink()  # as the message says
    assert number(run.load_last()) == 1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "{", '"x"'])
def test_metadata_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    run = RunFolder(tmp_path)
    run.save_best(checkpoint(1))
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"best\.json is no checkpoint's metadata"):
        run.load_best()


def test_another_format_and_a_missing_tensor_file_are_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save_best(checkpoint(1))
    document = json.loads((tmp_path / "best.json").read_text())
    (tmp_path / "best.json").write_text(json.dumps({**document, "format": 9}))
    with pytest.raises(CheckpointError, match="format 9, expected 1"):
        run.load_best()
    run.save_best(checkpoint(1))
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"best\.safetensors cannot be read: No such file"):
        run.load_best()


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "none")
    assert not run.has_run()
    with pytest.raises(CheckpointError, match="start it without resume"):
        run.load_last()
    with pytest.raises(CheckpointError, match="train a network there first"):
        run.load_best()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        RunFolder(tmp_path / "file").save_last(checkpoint(1))
    (tmp_path / "best.json").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*best\.json: Is a directory"):
        RunFolder(tmp_path).save_best(checkpoint(1))


def test_a_write_that_fails_leaves_the_old_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
