from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from convatlas.data.sources.shard_stream import ShardStream
from convatlas.data.sources.stream_source import open_stream
from convatlas.data.sources.streams import Consumer, EpochReader, ImageStream, Reader, Sample
from convatlas.errors import CheckpointError, DataError, OptionError
from tar_writing import png, write_shards, write_tar

CLASSES = ("even", "odd")
COUNTS = [5, 1, 4, 7]
TOTAL = sum(COUNTS)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    write_shards(tmp_path, COUNTS)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    return f"{tmp_path}/train-{{000..003}}.tar"


def greys(samples: Iterator[Sample] | ImageStream) -> list[int]:
    return [int(np.asarray(sample.load())[0, 0]) for sample in samples]


def consumers(world_size: int, workers: int) -> list[Consumer]:
    return [
        Consumer(rank, world_size, worker, workers)
        for rank in range(world_size)
        for worker in range(workers)
    ]


def test_an_epoch_holds_every_image_once_with_its_label(spec: str) -> None:
    samples = list(ShardStream(spec))
    values = greys(iter(samples))
    assert sorted(values) == list(range(TOTAL))
    assert [sample.label for sample in samples] == [value % 2 for value in values]
    assert [int(sample.name[-8:-4]) for sample in samples] == values
    assert ShardStream(spec).classes == CLASSES


def test_order_depends_on_seed_and_epoch_alone(spec: str) -> None:
    stream = ShardStream(spec, seed=1)
    epochs = [greys(stream) for _ in range(3)]
    assert stream.epoch == 3
    again = ShardStream(spec, seed=1)
    again.epoch = 2
    assert greys(again) == epochs[2]
    orders = [*epochs, greys(ShardStream(spec, seed=2))]
    assert len({tuple(order) for order in orders}) == 4
    bounds = np.cumsum(COUNTS)
    shards = [tuple(dict.fromkeys(np.searchsorted(bounds, order, "right"))) for order in orders]
    assert len(set(shards)) > 1  # the shards change places
    assert all(len(order) == len(COUNTS) for order in shards)  # and stay together
    inside = [[value for value in order if value >= bounds[2]] for order in orders]
    assert len({tuple(order) for order in inside}) > 1  # and are shuffled inside


@pytest.mark.parametrize(("world_size", "workers"), [(1, 1), (2, 1), (2, 2), (1, 3), (3, 2)])
def test_consumers_share_without_loss_or_duplicates(
    spec: str, world_size: int, workers: int
) -> None:
    shares = [
        greys(ShardStream(spec, seed=5, consumer=consumer))
        for consumer in consumers(world_size, workers)
    ]
    assert sorted(value for share in shares for value in share) == list(range(TOTAL))
    assert all(shares)


@pytest.mark.parametrize("consumer", [Consumer(), Consumer(1, 2), Consumer(1, 3, 1, 2)])
def test_resumes_with_exactly_the_next_image(spec: str, consumer: Consumer) -> None:
    straight = ShardStream(spec, seed=3, consumer=consumer)
    expected = greys(straight) + greys(straight)
    for taken in range(len(expected) + 1):
        stream = ShardStream(spec, seed=3, consumer=consumer)
        got: list[int] = []
        while len(got) < taken:
            got += greys(islice(iter(stream), taken - len(got)))
        state = json.loads(json.dumps(stream.state_dict()))
        resumed = ShardStream(spec, seed=3, consumer=consumer)
        resumed.load_state_dict(state)
        while len(got) < len(expected):
            got += greys(resumed)
        assert got == expected


def test_the_state_of_another_stream_is_refused(spec: str) -> None:
    state = ShardStream(spec, seed=3).state_dict()
    ShardStream(spec, seed=3).load_state_dict(state)
    for other in (
        ShardStream(spec, seed=4),
        ShardStream(spec, seed=3, consumer=Consumer(0, 2)),
        ShardStream(spec.replace("003", "002"), seed=3),
        ShardStream(spec, ("odd", "even"), seed=3),
    ):
        with pytest.raises(CheckpointError, match="same shards, seed and consumer"):
            other.load_state_dict(state)


def test_only_the_shard_at_hand_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    write_shards(tmp_path, COUNTS)
    log = tmp_path / "log"
    urls = "::".join(
        f"pipe:echo {i} >> {log} && cat {tmp_path}/train-00{i}.tar" for i in range(len(COUNTS))
    )
    stream = ShardStream(urls, CLASSES)
    samples = iter(stream)
    next(samples)
    assert len(log.read_text().split()) == len(list(temporary.iterdir())) == 1
    state = stream.state_dict()
    samples.close()
    assert not list(temporary.iterdir())
    log.write_text("")
    resumed = ShardStream(urls, CLASSES)
    resumed.load_state_dict(state)
    assert len(greys(resumed)) == TOTAL - 1
    assert len(log.read_text().split()) == len(COUNTS)
    assert not list(temporary.iterdir())


def test_faults_are_one_line(tmp_path: Path, spec: str) -> None:
    broken = tmp_path / "train-001.tar"
    broken.write_bytes(broken.read_bytes()[:700])
    with pytest.raises(DataError, match=r"complete tar in .*train-001\.tar"):
        list(ShardStream(spec))
    with pytest.raises(DataError, match=r"pipe:cat nowhere\.tar.*status 1 .*nowhere\.tar"):
        list(ShardStream("pipe:cat nowhere.tar", CLASSES))
    write_tar(broken, [("a.png", b"x"), ("a.cls", b"2")])
    with pytest.raises(DataError, match=r"label '2' of a in .*train-001\.tar"):
        list(ShardStream(spec))
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"class names .*pass classes= or write classes\.txt"):
        ShardStream(spec)
    for wrong in ((2, 2), (-1, 1), (0, 1, 3, 3)):
        with pytest.raises(OptionError, match="count from 0"):
            Consumer(*wrong)


def test_a_damaged_image_is_named() -> None:
    with pytest.raises(DataError, match=r"an image in a\.tar/b\.png"):
        Sample("a.tar/b.png", b"no image", 0).load()


def test_shares_are_computed_from_numbers_alone() -> None:
    class Counted(ImageStream):
        length = None
        lengths = (3, 0, 2)

        def _opened(
            self, shard: int, epoch: int, following: int | None = None
        ) -> AbstractContextManager[Reader]:
            return nullcontext(
                lambda i: Sample(f"{shard}.{i}", b"", 0) if i < self.lengths[shard] else None
            )

        def _counted(self, shard: int) -> int:
            return self.lengths[shard]

    def names(consumer: Consumer) -> set[str]:
        return {sample.name for sample in Counted("abc", CLASSES, 0, consumer)}

    assert names(Consumer()) == {"0.0", "0.1", "0.2", "2.0", "2.1"}
    # Four consumers of three shards: consumer 1 gets image 1 of each shard.
    assert names(Consumer(1, 4)) == {"0.1", "2.1"}
    assert names(Consumer(3, 4)) == set()


def test_an_epoch_is_read_by_places(spec: str) -> None:
    stream = ShardStream(spec, seed=3)
    list(stream)
    expected = greys(stream)  # of the second epoch
    for first in range(TOTAL):
        reader = ShardStream(spec, seed=3).reader(1)
        found = [reader.sample(place) for place in range(first, TOTAL, 2)]
        assert greys(iter(sample for sample in found if sample)) == expected[first::2]
        assert reader.sample(TOTAL) is reader.sample(TOTAL) is None
        assert reader.before == TOTAL


def test_a_shard_that_is_passed_over_whole_is_not_opened() -> None:
    opened: list[int] = []

    def open_shard(shard: int, following: int | None) -> AbstractContextManager[Reader]:
        del following
        opened.append(shard)
        return nullcontext(lambda place: Sample(f"{shard}.{place}", b"", 0))

    first_of_the_next = EpochReader([5, 6], open_shard, {5: 3, 6: 3}).sample(3)
    assert first_of_the_next is not None
    assert (first_of_the_next.name, opened) == ("6.0", [6])


def test_images_to_judge_by_get_the_class_numbers_of_the_stream(tmp_path: Path) -> None:
    train = write_shards(tmp_path / "train", [4])
    (train / "classes.txt").write_text("zebra\nant\nbee\n")
    for name, grey in (("ant", 1), ("zebra", 0)):
        folder = tmp_path / "judged" / name
        folder.mkdir(parents=True)
        (folder / "1.png").write_bytes(png(grey))
    _, judged = open_stream(str(train), str(tmp_path / "judged"))
    assert judged.classes == ("zebra", "ant", "bee")
    assert [(int(np.asarray(judged.load(i))[0, 0]), judged.labels[i]) for i in range(2)] == [
        (1, 1),
        (0, 0),
    ]
    (train / "classes.txt").write_text("ant\nbee\n")
    with pytest.raises(DataError, match="classes of the stream in judged, got also zebra"):
        open_stream(str(train), str(tmp_path / "judged"))


def test_the_length_is_known_where_it_is_cheap(tmp_path: Path, spec: str) -> None:
    assert ShardStream(spec).length == TOTAL
    assert ShardStream(f"{spec}::pipe:cat nowhere.tar", CLASSES).length is None
    assert ShardStream(f"{tmp_path}/train.tar.gz", CLASSES).length is None
    write_shards(tmp_path / "split", [3])
    write_shards(tmp_path / "split", [9], "val")
    assert ShardStream(str(tmp_path / "split"), CLASSES).length == 3  # those to train on
