from __future__ import annotations

import gzip
import shlex
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convatlas.data.decode import ImageHeader
from convatlas.data.source import open_source
from convatlas.data.sources.shard_files import expand
from convatlas.data.sources.shards import open_shards
from convatlas.data.sources.splits import ImageSource, Splits
from convatlas.errors import DataError
from local_server import Answer, serve
from tar_writing import png, write_shards, write_tar

with warnings.catch_warnings():  # the package's own imports warn
    warnings.simplefilter("ignore")
    import webdataset
    from webdataset import tariterators


def whole(spec: str | Path) -> ImageSource:
    """Return all images of a spec without splits, in their order."""
    source = open_shards(str(spec))
    assert not isinstance(source, Splits)
    return source


def grey(source: ImageSource, index: int) -> int:
    return int(np.asarray(source.load(index))[0, 0])


ODD_MEMBERS = [
    ("__meta__", b"of the whole shard"),
    ("__info__/x.png", b"left out"),
    ("a.b/0.PNG", png(0)),
    ("a.b/0.cls", b" 1\n"),
    ("a.b/0.seg.png", png(90)),
    ("c/0.png", png(1)),
    ("c/0.json", b'{"label": 0, "width": 4}'),
    ("long/" + "x" * 150 + ".jpg", png(2)),
    ("long/" + "x" * 150 + ".cls", b"1"),
    (".hidden", b"no key"),
    ("noextension", b"no suffix"),
    ("last.one.cls", b"7"),
    ("last.one.png", b"x"),
    ("last.webp", png(3)),
    ("last.cls", b"0"),
]


def test_webdataset_reads_the_same(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "odd.tar", ODD_MEMBERS)
    source = whole(path)
    with path.open("rb") as file:  # the parts of webdataset.WebDataset, which leaves files open
        shard = [{"url": str(path), "stream": file}]
        samples = list(tariterators.group_by_keys(tariterators.tar_file_expander(shard)))
    assert len(source) == len(samples) == 4
    for index, sample in enumerate(samples):
        suffix = next(s for s in ("png", "jpg", "webp") if s in sample)
        assert source.describe(index) == f"{path}/{sample['__key__']}.{suffix}"
        assert source.encoded(index) == sample[suffix]
    assert source.labels == (1, 0, 1, 0)
    assert [grey(source, i) for i in range(4)] == [0, 1, 2, 3]


def test_what_webdataset_writes_is_read(tmp_path: Path) -> None:
    pattern = str(tmp_path / "w-%03d.tar")
    with webdataset.ShardWriter(pattern, maxcount=3, verbose=0) as writer:
        for value in range(8):
            writer.write({"__key__": f"n{value}", "png": png(value), "cls": value % 2})
    source = whole(tmp_path)
    assert [grey(source, i) for i in range(8)] == list(range(8))
    assert source.labels == (0, 1) * 4
    assert source.classes == ("0", "1")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{000..002}.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
        ("a-{8..10}.tar", ["a-8.tar", "a-9.tar", "a-10.tar"]),
        ("{x,y}/{0..1}.tar", ["x/0.tar", "y/0.tar", "x/1.tar", "y/1.tar"]),
        ("a.tar::b-{1..2}.tar", ["a.tar", "b-1.tar", "b-2.tar"]),
    ],
)
def test_braces(pattern: str, names: list[str]) -> None:
    assert sorted(expand(pattern)) == sorted(names)
    assert len(expand(pattern)) == len(names)


def test_a_range_that_counts_down_is_refused() -> None:
    with pytest.raises(DataError, match=r"counts up in a\{3\.\.1\}"):
        expand("a{3..1}")


def test_all_ways_to_name_the_same_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path, [3, 1, 4], "part")
    listed = whole(f"{tmp_path}/part-{{000..002}}.tar")
    assert [grey(listed, i) for i in range(8)] == list(range(8))
    assert listed.labels == (0, 1) * 4
    assert listed.header(3) == ImageHeader(3, 4, 1)
    assert listed.describe(3) == f"{tmp_path}/part-001.tar/0003.png"
    packed = tmp_path / "packed"
    packed.mkdir()
    paths = sorted(tmp_path.glob("*.tar"))
    for path in paths:
        (packed / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    pipes = "::".join(f"pipe:cat {shlex.quote(str(path))}" for path in paths)
    monkeypatch.delenv("CONVATLAS_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serve({f"/{path.name}": Answer(path.read_bytes()) for path in paths}) as (address, _):
        served = whole(f"{address}/part-{{000..002}}.tar")
    # the server is gone: every byte is here
    assert whole(pipes).name == "shards"
    assert whole(packed).name == "packed"
    for source in (whole(packed), whole(pipes), served):
        assert source.labels == listed.labels
        assert [source.encoded(i) for i in range(8)] == [listed.encoded(i) for i in range(8)]


def test_splits_by_file_and_by_folder(tmp_path: Path) -> None:
    write_shards(tmp_path / "a", [4, 2], "birds-train")
    write_shards(tmp_path / "a", [2], "birds-val")
    write_shards(tmp_path / "b" / "train", [4], "x")
    write_shards(tmp_path / "b" / "test", [3], "x")
    (tmp_path / "a" / "classes.txt").write_text("jay\ntit\n")
    birds, other = open_source(tmp_path / "a"), open_source(tmp_path / "b")
    assert (len(birds.train), len(birds.validation)) == (6, 2)
    assert birds.train.classes == birds.validation.classes == ("jay", "tit")
    assert birds.origin == "the shards train and val"
    assert (len(other.train), len(other.validation)) == (4, 3)
    write_shards(tmp_path / "a", [2], "more")
    with pytest.raises(DataError, match=r"names of all tars .*got more-000\.tar"):
        open_source(tmp_path / "a")


def test_labels_may_be_names_in_json(tmp_path: Path) -> None:
    members = [("0.png", png(0)), ("0.json", b'{"cls": "newt"}')]
    members += [("1.png", png(1)), ("1.json", b'{"label": "frog"}')]
    source = whole(write_tar(tmp_path / "x.tar", members))
    assert (source.classes, source.labels) == (("frog", "newt"), (1, 0))


def test_any_thread_may_read_any_image(tmp_path: Path) -> None:
    source = whole(write_shards(tmp_path, [20, 20]))
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(40), 10))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: grey(source, int(i)), order)) == order.tolist()


IMAGE, LABEL = ("k.png", png(0)), ("k.cls", b"0")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "got a tar without any"),
        ([LABEL], "one image .* in the sample k of .*x.tar, got cls"),
        ([("k.0.png", b""), ("k.0.cls", b"0")], r"got 0\.png, 0\.cls.* at the first dot"),
        ([IMAGE], "expected a label in the sample k of .*x.tar .*got png"),
        ([IMAGE, LABEL, IMAGE], "one image .* got png, cls, png"),
        ([IMAGE, ("k.cls", b"\n")], "expected a label"),
        ([IMAGE, ("k.cls", b"\xff\xfe")], "no UTF-8"),
        ([IMAGE, ("k.json", b"{")], "expected JSON in the sample k"),
        ([IMAGE, ("k.json", b"[1]")], "expected a label"),
        ([IMAGE, ("k.json", b'{"label": [1]}')], r"one label in the sample k .*got the list \[1\]"),
        ([IMAGE, ("k.json", b'{"label": {"a": 1}}')], "got the dict"),
        ([IMAGE, ("k.json", b"[" * 100_000)], "expected JSON in the sample k"),
        ([("a\nb/k.png", png(0))], r"expected a label in the sample a\?b/k"),
        ([IMAGE, LABEL], "two classes or more"),
    ],
)
def test_faulty_samples_are_named(tmp_path: Path, members: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_source(write_tar(tmp_path / "x.tar", members))
    assert "\n" not in str(caught.value)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    write_shards(tmp_path, [3])
    path = tmp_path / "train-000.tar"
    content = path.read_bytes()
    end = len(content.rstrip(b"\0"))
    for length in [0, 1, 300, *range(512, end + 1, 512), end]:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"complete tar in .*train-000\.tar") as caught:
            open_source(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(b"this is no tar" * 100)
    with pytest.raises(DataError, match="complete tar"):
        open_source(path)


def test_what_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    cases = {
        f"{tmp_path}/gone-{{0..1}}.tar": r"gone-0\.tar, got no such file",
        "pipe:echo too bad >&2; exit 3": r"ended with status 3 \(too bad\)",
        "pipe:echo": "complete tar in pipe:echo",
        "https://example.org/x.tar": "the network is closed",
    }
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(b"x" * 5000)[:-9])
    cases[f"{tmp_path}/x.tar.gz"] = r"expected a tar from .*x\.tar\.gz"
    for spec, message in cases.items():
        with pytest.raises(DataError, match=message) as caught:
            open_source(spec)
        assert "\n" not in str(caught.value)


def test_copies_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    write_shards(tmp_path, [4])
    source = whole(f"pipe:cat {tmp_path}/train-000.tar")
    assert len(list(temporary.iterdir())) == 1
    assert grey(source, 3) == 3
    with monkeypatch.context() as forked:
        forked.setattr("os.getpid", lambda: -1)
        del source  # in a forked worker, while the parent reads on
        assert len(list(temporary.iterdir())) == 1
    source = whole(f"pipe:cat {tmp_path}/train-000.tar")
    del source
    assert len(list(temporary.iterdir())) == 1
    with pytest.raises(DataError):
        open_source("pipe:false")
    with pytest.raises(DataError):
        open_source("pipe:echo no tar")
    assert len(list(temporary.iterdir())) == 1


def test_a_shard_that_changes_underneath_is_noticed(tmp_path: Path) -> None:
    write_shards(tmp_path, [4])
    source = whole(tmp_path)
    path = tmp_path / "train-000.tar"
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match="changed since it was opened"):
        source.load(3)
    path.unlink()
    with pytest.raises(DataError, match="no such file or directory: restore it"):
        source.load(3)


def test_a_tar_among_class_folders_changes_nothing(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for i in range(2):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{i}.png").write_bytes(png(i))
    write_tar(tmp_path / "original.tar", [])
    assert open_source(tmp_path).train.classes == ("cat", "dog")
