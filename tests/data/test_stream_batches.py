from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data.augmentation import Augmentation
from convatlas.data.batches import Batch, TrainBatches
from convatlas.data.preprocess import Preprocessing
from convatlas.data.sampling import epoch_order
from convatlas.data.sources.shard_stream import ShardStream
from convatlas.data.sources.streams import SampleImages
from convatlas.data.stream_batches import StreamBatches
from convatlas.data.views import DecodedViews
from convatlas.errors import DataError, OptionError
from tar_writing import write_shards, write_tar

COUNTS = [5, 1, 4, 7, 6]
TOTAL = sum(COUNTS)
PLAIN = Preprocessing(
    input_size=3,
    channels=1,
    mean=(0.5,),
    std=(0.25,),
    interpolation="bilinear",
    resize_mode="crop",
    crop_fraction=1.0,
)
VARIED = Augmentation(crop_scale=(0.3, 1.0), flip=True, brightness=0.4, random_erase=0.5)
MIXED = Augmentation(flip=True, brightness=0.4, mixup=0.4, cutmix=1.0)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    write_shards(tmp_path, COUNTS)
    (tmp_path / "classes.txt").write_text("even\nodd\n")
    return f"{tmp_path}/train-{{000..004}}.tar"


def batches(
    spec: str,
    augmentation: Augmentation = VARIED,
    images: int = TOTAL,
    *,
    batch_size: int = 4,
    seed: int = 3,
) -> StreamBatches:
    stream = ShardStream(spec, ("even", "odd"), seed=seed)
    return StreamBatches(stream, images, PLAIN, augmentation, batch_size, seed)


def values(batch: Batch) -> list[int]:
    """Return the grey value of each image, which is its number."""
    return ((batch.images[:, 0, 0, 0] * 0.25 + 0.5) * 255).round().int().tolist()


def same(one: Batch, other: Batch) -> bool:
    pairs = [
        (getattr(one, name), getattr(other, name))
        for name in ("images", "labels", "indices", "partners", "shares")
    ]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def test_an_epoch_is_the_stream_in_its_order(spec: str) -> None:
    source = batches(spec, Augmentation())
    stream = ShardStream(spec, seed=3)
    for epoch in range(2):
        got = list(source.epoch(epoch))
        order = [int(np.asarray(sample.load())[0, 0]) for sample in stream]
        assert [value for batch in got for value in values(batch)] == order
        assert [label for batch in got for label in batch.labels.tolist()] == [
            value % 2 for value in order
        ]
        assert [place for batch in got for place in batch.indices.tolist()] == [*range(TOTAL)]
    assert [len(batch.labels) for batch in got] == [4, 4, 4, 4, 4, 3]
    assert len(source) == 6


@pytest.mark.parametrize("augmentation", [VARIED, MIXED, Augmentation(flip=True, repeats=3)])
def test_every_batch_is_that_of_an_uninterrupted_run(spec: str, augmentation: Augmentation) -> None:
    straight = batches(spec, augmentation)
    runs = [list(straight.epoch(epoch)) for epoch in range(2)]
    for epoch in (0, 1):
        for step in range(len(straight)):
            resumed = batches(spec, augmentation)
            rest = [resumed.batch(epoch, later) for later in range(step, len(resumed))]
            ahead = list(batches(spec, augmentation).epoch(epoch, step))
            assert len(rest) == len(ahead) == len(runs[epoch]) - step
            assert all(map(same, rest, runs[epoch][step:]))
            assert all(map(same, ahead, runs[epoch][step:]))
    backwards = [straight.batch(1, step) for step in reversed(range(len(straight)))]
    assert all(map(same, backwards, reversed(runs[1])))


def test_augmentation_follows_seed_epoch_and_place(spec: str) -> None:
    images = {
        (seed, epoch): batches(spec, seed=seed).batch(epoch, 0).images
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert len({x.numpy().tobytes() for x in images.values()}) == 4
    # The batch size changes which batch an image is in, not the image.
    small, large = batches(spec, batch_size=2), batches(spec, batch_size=8)
    joined = torch.cat([small.batch(0, step).images for step in range(4)])
    assert torch.equal(joined, large.batch(0, 0).images)


@pytest.mark.parametrize("augmentation", [VARIED, MIXED])
@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_together_have_the_batches_of_one(
    spec: str, augmentation: Augmentation, world_size: int
) -> None:
    whole = batches(spec, augmentation)
    shares = [batches(spec, augmentation).shard(rank, world_size) for rank in range(world_size)]
    assert {len(share) for share in shares} == {len(shares[0])}
    for step in range(len(shares[0]) - 1):
        parts = [share.batch(1, step) for share in shares]
        expected = whole.batch(1, step)
        for rank, part in enumerate(parts):
            assert torch.equal(part.images, expected.images[rank::world_size])
            assert torch.equal(part.labels, expected.labels[rank::world_size])
    seen = [i for share in shares for batch in share.epoch(1) for i in batch.indices.tolist()]
    assert sorted(seen) == [*range(20)]  # the last 3 cannot be shared, 2 images or more for each
    with pytest.raises(OptionError, match="batch_size that 3 processes can share"):
        whole.shard(0, 3)


def piped(folder: Path, log: Path, numbers: Sequence[int] = range(len(COUNTS))) -> str:
    return "::".join(
        f"pipe:echo {i} >> {shlex.quote(str(log))} && cat {folder}/train-00{i}.tar" for i in numbers
    )


def test_pipes_are_run_once_an_epoch_and_leave_nothing(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, log = tmp_path / "temporary", tmp_path / "log"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    source = batches(piped(tmp_path, log))
    first = list(source.epoch(0))
    assert sorted(log.read_text().split()) == ["0", "1", "2", "3", "4"]
    assert sum(len(batch.labels) for batch in first) == TOTAL
    log.write_text("")
    # Now the numbers of images are known: the last step needs the last shard alone.
    assert same(source.batch(0, len(source) - 1), first[-1])
    assert len(log.read_text().split()) == 1
    del source
    assert not list(temporary.iterdir())


def test_the_next_shard_is_fetched_meanwhile(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, log = tmp_path / "temporary", tmp_path / "log"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    source = batches(piped(tmp_path, log, (0, 3, 4)), batch_size=2)
    source.batch(0, 0)
    deadline = time.monotonic() + 30
    while len(log.read_text().split()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    first, following = map(int, log.read_text().split())
    assert [first, following] == [(0, 3, 4)[place] for place in epoch_order(3, 3, 0)[:2]]
    del source
    while list(temporary.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not list(temporary.iterdir())


def test_a_pipe_that_fails_while_it_is_fetched_ahead_is_told_in_its_turn(
    spec: str, tmp_path: Path
) -> None:
    order = epoch_order(2, 3, 0).tolist()
    pipes = {order[0]: f"pipe:cat {tmp_path}/train-003.tar", order[1]: "pipe:cat nowhere.tar"}
    source = batches(f"{pipes[0]}::{pipes[1]}", images=9)
    epoch = source.epoch(0)
    assert len(next(epoch).labels) == 4
    with pytest.raises(DataError, match=r"pipe:cat nowhere\.tar.*status 1"):
        list(epoch)


def test_an_epoch_may_be_part_of_a_pass_but_no_more(spec: str) -> None:
    part = batches(spec, Augmentation(), 10)
    assert [len(batch.labels) for batch in part.epoch(0)] == [4, 4, 2]
    short = batches(spec, Augmentation(), TOTAL + 5)
    with pytest.raises(
        DataError, match=r"expected 28 images .* got 23: pass --images-per-epoch 23"
    ):
        list(short.epoch(0))
    for images, size, error in ((1, 4, DataError), (8, 0, OptionError)):
        with pytest.raises(error):
            batches(spec, images=images, batch_size=size)
    with pytest.raises(OptionError, match="step < 6"):
        batches(spec).batch(0, 6)


def test_a_damaged_image_or_shard_is_one_line_and_passes(spec: str, tmp_path: Path) -> None:
    source = batches(spec)
    expected = list(source.epoch(0))
    path = tmp_path / "train-003.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"complete tar in .*train-003\.tar") as caught:
        list(source.epoch(0))
    assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    assert all(map(same, source.epoch(0), expected))
    write_tar(path, [("a.png", b"no image"), ("a.cls", b"0")])
    with pytest.raises(DataError, match=r"train-003\.tar/a\.png"):
        list(batches(spec, images=TOTAL - 6).epoch(0))


def test_a_source_and_a_stream_augment_alike(tmp_path: Path) -> None:
    """The same images at the same places are the same batch, however they are read."""
    rng = np.random.default_rng(0)
    members = []
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (9, 12), dtype=np.uint8)).save(tmp_path / "a.png")
        members += [(f"{number}.png", (tmp_path / "a.png").read_bytes()), (f"{number}.cls", b"1")]
    write_tar(tmp_path / "one.tar", members)
    stream = ShardStream(str(tmp_path / "one.tar"), ("a", "b"), seed=0)
    samples = list(stream)
    listed = DecodedViews(SampleImages("all", ("a", "b"), samples), PLAIN)
    whole = TrainBatches(listed, [1] * 6, PLAIN, VARIED, 6, 0).batch(0, 0)
    streamed = StreamBatches(stream, 6, PLAIN, VARIED, 6, 0).batch(0, 0)
    order = torch.argsort(whole.indices)
    assert torch.equal(whole.images[order], streamed.images)
