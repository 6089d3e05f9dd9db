from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("fails", ["write_bytes", "replace"])
def test_a_read_only_file_system_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os if fails == "replace" else Path, fails, refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match=r"a\.txt: Read-only file system; choose a folder"):
        write_text(tmp_path / "a.txt", "a")


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


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "a bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif how == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: int(len(content) * float(how))])


HARMS = [
    *[("safetensors", how) for how in ("a bit", "gone", "0", "0.01", "0.5", "0.99")],
    *[("json", how) for how in ("0", "0.01", "0.5", "0.98")],
]


@pytest.mark.parametrize(("kind", "how"), HARMS)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, how: str
) -> None:
    RunFolder(tmp_path).save_last(checkpoint(1))
    RunFolder(tmp_path).save_last(checkpoint(2))
    damage(tmp_path / f"last.{kind}", how)
    run = RunFolder(tmp_path)
    assert number(run.load_last()) == 1
    (warning,) = caplog.messages
    assert warning.endswith(": going on from the checkpoint before it")
    assert "\n" not in warning
    assert f"last.{kind}" in warning


@pytest.mark.parametrize(("kind", "how"), HARMS)
def test_what_is_damaged_never_takes_the_place_of_the_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, how: str
) -> None:
    replace = os.replace
    for renames in range(3):  # of the two of a save that follows, that many come through
        folder = tmp_path / str(renames)
        RunFolder(folder).save_last(checkpoint(1))
        RunFolder(folder).save_last(checkpoint(2))
        damage(folder / f"last.{kind}", how)
        run = RunFolder(folder)
        run.load_last()
        left = [None] * renames

        def dying(source: str, target: str, left: list[None] = left) -> None:
            if not left:
                raise Killed
            left.pop()
            replace(source, target)

        monkeypatch.setattr(os, "replace", dying)
        with suppress(Killed):
            run.save_last(checkpoint(3))
        monkeypatch.setattr(os, "replace", replace)
        assert number(RunFolder(folder).load_last()) == (3 if renames == 2 else 1)


def test_after_going_on_from_the_one_before_both_are_good_again(tmp_path: Path) -> None:
    for saved in (1, 2):
        RunFolder(tmp_path).save_last(checkpoint(saved))
    damage(tmp_path / "last.safetensors", "0.5")
    run = RunFolder(tmp_path)
    run.load_last()
    for saved in (3, 4):
        run.save_last(checkpoint(saved))
    assert number(run.load_last()) == 4
    damage(tmp_path / "last.safetensors", "0.5")
    assert number(run.load_last()) == 3


def test_with_no_good_one_left_it_says_so_in_one_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save_last(checkpoint(1))
    damage(tmp_path / "last.safetensors", "a bit")
    with pytest.raises(CheckpointError, match=r"does not match.*none before it: start anew"):
        run.load_last()
    for saved in (2, 3):
        RunFolder(tmp_path).save_last(checkpoint(saved))
    damage(tmp_path / "last.safetensors", "0.5")
    damage(tmp_path / "previous.json", "0.5")
    with pytest.raises(CheckpointError) as caught:
        run.load_last()
    assert "last.safetensors does not match" in str(caught.value)
    assert "previous.json is no checkpoint's metadata" in str(caught.value)
    assert "\n" not in str(caught.value)


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


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_real_limit_on_the_size_of_files_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    run = RunFolder(tmp_path)
    run.save_last(checkpoint(1))
    before = files(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = Checkpoint({"w": torch.zeros(100_000)}, {"number": 0})
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        with pytest.raises(OutputError, match=r"last\.safetensors: File too large; free some"):
            run.save_last(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path) == before
    assert number(run.load_last()) == 1


def test_wherever_the_disk_fills_up_the_checkpoint_before_stays_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path)
    run.save_last(checkpoint(1))
    before, write = files(tmp_path), Path.write_bytes
    for fits in (0, 1):  # of the two files of a checkpoint
        written: list[Path] = []

        def full(
            path: Path,
            content: Any,
            *_: Any,
            written: list[Path] = written,
            fits: int = fits,
            **__: Any,
        ) -> None:
            write(path, content[:7] if isinstance(content, bytes) else content[:7].encode())
            written.append(path)
            if len(written) > fits:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full)
            patch.setattr(Path, "write_text", full)
            with pytest.raises(OutputError, match="No space left on device; free some") as caught:
                run.save_last(checkpoint(2))
        assert len(written) == fits + 1
        assert "\n" not in str(caught.value)
        assert files(tmp_path) == before


def test_what_a_killed_process_had_staged_is_removed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save_last(checkpoint(1))
    kept = files(tmp_path)
    (tmp_path / ".last.safetensors.123.tmp").write_bytes(b"half of it")
    (tmp_path / ".best.json.99999.tmp").write_bytes(b"{")
    (tmp_path / "notes.tmp").write_text("not ours")
    run.remove_leftovers()
    assert files(tmp_path) == {**kept, "notes.tmp": b"not ours"}


def test_the_folder_is_flushed_after_each_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, rename = os.fsync, os.replace
    done: list[str] = []

    def flushed(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        flush(descriptor)

    def renamed(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    write_text(tmp_path / "a.txt", "new")
    assert done == ["file", "rename", "folder"]


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
