from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from convatlas.data.source import open_whole
from convatlas.data.sources import shards
from convatlas.data.sources.shard_index import remembered
from convatlas.data.sources.shard_stream import ShardStream
from convatlas.errors import DataError
from tar_writing import png, write_tar

ROWS = [[f"key {number} \udcff", number, None] for number in range(1000)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONVATLAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shards"


class Finder:
    """Finds the same rows each time, and counts how often it is asked."""

    def __init__(self, rows: list[Any] = ROWS) -> None:
        self.rows = rows
        self.asked = 0

    def __call__(self) -> list[Any]:
        self.asked += 1
        return self.rows


def test_what_was_found_is_remembered_until_the_file_changes(cache: Path, tmp_path: Path) -> None:
    path, find = tmp_path / "a.tar", Finder()
    path.write_bytes(b"1234")
    os.utime(path, ns=(5, 5))
    assert remembered(path, find) == remembered(path, find) == ROWS
    assert find.asked == 1
    os.utime(path, ns=(5, 6))  # another time
    remembered(path, find)
    assert find.asked == 2
    path.write_bytes(b"12345")  # another size
    os.utime(path, ns=(5, 6))
    remembered(path, find)
    assert find.asked == 3
    (tmp_path / "b.tar").write_bytes(b"12345")  # another file
    os.utime(tmp_path / "b.tar", ns=(5, 6))
    remembered(tmp_path / "b.tar", find)
    assert find.asked == 4
    assert len(list(cache.iterdir())) == 2
    with pytest.raises(FileNotFoundError):
        remembered(tmp_path / "c.tar", find)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": 3}', b"\xff"])
def test_a_damaged_entry_costs_only_time(cache: Path, tmp_path: Path, content: bytes) -> None:
    path, find = tmp_path / "a.tar", Finder()
    path.touch()
    remembered(path, find)
    (entry,) = cache.iterdir()
    entry.write_bytes(content)
    assert remembered(path, find) == ROWS
    assert remembered(path, find) == ROWS
    assert find.asked == 2


def test_few_rows_and_a_closed_cache_leave_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, find = tmp_path / "a.tar", Finder(ROWS[:999])
    path.touch()
    assert remembered(path, find) == ROWS[:999]
    assert not cache.exists()
    monkeypatch.setenv("CONVATLAS_CACHE", str(Path(os.devnull) / "convatlas"))
    assert remembered(path, Finder()) == ROWS


def test_a_large_shard_is_scanned_once(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = png(7)
    members = [(f"{n:05}.{s}", c) for n in range(1000) for s, c in (("png", image), ("cls", b"1"))]
    path = write_tar(tmp_path / "one.tar", [("zero.png", image), ("zero.cls", b"0"), *members])
    first = open_whole(path)
    monkeypatch.setattr(shards, "_scan", None)
    second = open_whole(path)
    assert second.labels == first.labels == (0,) + (1,) * 1000
    assert second.describe(0).endswith("zero.png")
    assert second.encoded(1000) == image
    assert ShardStream(str(path), ("a", "b")).length == 1001
    monkeypatch.undo()
    monkeypatch.setenv("CONVATLAS_CACHE", str(cache.parent))
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(DataError, match="truncated"):
        open_whole(path)
