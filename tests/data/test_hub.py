from __future__ import annotations

import builtins
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
from huggingface_hub import constants

from convatlas.data.decode import ImageHeader
from convatlas.data.source import open_source
from convatlas.data.sources import hub
from convatlas.data.sources.hub import HubStream
from convatlas.data.sources.streams import Consumer, ImageStream
from convatlas.errors import DataError, MissingExtraError
from tar_writing import png

CLASSES = ("ant", "bee")


@pytest.fixture(autouse=True)
def _quiet_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    # Another test may have imported it while the network was open.
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def made(count: int, start: int = 0, label: Any = None) -> Dataset:
    values = range(start, start + count)
    features = {"label": label or ClassLabel(names=list(CLASSES)), "extra": Value("int32")}
    return Dataset.from_dict(
        {
            "extra": list(values),
            "photo": [{"bytes": png(value), "path": None} for value in values],
            "label": [value % 2 for value in values],
        },
        features=Features({"photo": Image(), **features}),
    )


def greys(samples: Any) -> list[int]:
    return [int(np.asarray(sample.load())[0, 0]) for sample in samples]


def test_saved_splits(tmp_path: Path) -> None:
    withheld = made(2, 10).map(lambda row: {"label": -1})  # as ImageNet's test images
    saved = DatasetDict({"train": made(6), "validation": made(4, 6), "test": withheld})
    saved.save_to_disk(tmp_path / "saved")
    splits = open_source(tmp_path / "saved")
    assert splits.origin == "the splits train and validation"
    assert (splits.train.name, splits.validation.name) == ("saved/train", "saved/validation")
    assert splits.train.classes == CLASSES
    assert (splits.train.labels, splits.validation.labels) == ((0, 1) * 3, (0, 1) * 2)
    assert splits.train.encoded(5) == png(5)
    assert np.asarray(splits.validation.load(3))[0, 0] == 9
    assert splits.train.header(1) == ImageHeader(3, 4, 1)
    assert splits.train.describe(4) == "saved/train row 4"


def test_any_thread_may_read_any_image(tmp_path: Path) -> None:
    made(40).save_to_disk(tmp_path / "saved")
    train = open_source(tmp_path / "saved", holdout=0.1).train
    places = [int(train.describe(i).split()[-1]) for i in range(36)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: train.encoded(i), [*range(36)] * 5))
    assert read == [png(place) for place in places] * 5


def test_one_saved_set_is_held_out(tmp_path: Path) -> None:
    made(10).save_to_disk(tmp_path / "saved")
    splits = open_source(tmp_path / "saved", holdout=0.4)
    assert (len(splits.train), len(splits.validation)) == (6, 4)


@pytest.mark.parametrize("inner", [".", "data"])
def test_a_folder_of_parquet(tmp_path: Path, inner: str) -> None:
    folder = tmp_path / "parquet" / inner
    folder.mkdir(parents=True)
    made(4).to_parquet(folder / "train-00000-of-00002.parquet")
    made(3, 4).to_parquet(folder / "train-00001-of-00002.parquet")
    made(2, 7).to_parquet(folder / "test-00000-of-00001.parquet")
    splits = open_source(tmp_path / "parquet")
    assert splits.origin == "the splits train and test"
    assert [splits.train.encoded(i) for i in range(7)] == [png(i) for i in range(7)]
    assert splits.validation.labels == (1, 0)


def test_labels_without_declared_names_and_images_by_path(tmp_path: Path) -> None:
    made(4, label=Value("int64")).save_to_disk(tmp_path / "plain")
    assert open_source(tmp_path / "plain", holdout=0.5).train.classes == ("0", "1")
    for value in range(4):
        (tmp_path / f"{value}.png").write_bytes(png(value))
    paths = [str(tmp_path / f"{value}.png") for value in range(4)]
    by_path = Dataset.from_dict(
        {"image": paths, "class": ["ox", "cow", "ox", "cow"]},
        features=Features({"image": Image(), "class": Value("string")}),
    )
    by_path.save_to_disk(tmp_path / "paths")
    train = open_source(tmp_path / "paths", holdout=0.5).train
    assert train.classes == ("cow", "ox")
    first = int(train.describe(0).split()[-1])
    assert train.encoded(0) == png(first)
    for path in paths:
        Path(path).unlink()
    assert len(open_source(tmp_path / "paths", holdout=0.5).train.encoded(0) or b"") > 0


def test_what_is_no_labelled_images_is_named(tmp_path: Path) -> None:
    made(4).remove_columns("photo").save_to_disk(tmp_path / "blind")
    with pytest.raises(DataError, match=r"type Image .*got extra \(Value\), label \(ClassLabel\)"):
        open_source(tmp_path / "blind")
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="Hugging Face") as caught:
        open_source(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["hf:nobody/nothing", "hf:nothing", "hf:nobody/nothing/some"])
def test_a_name_offline_is_one_line(spec: str) -> None:
    for opener in (open_source, HubStream):
        with pytest.raises(DataError, match=f"in {spec}, got none because .*network") as caught:
            opener(spec)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="expected hf:owner/name"):
        open_source("hf:nobody//x")


def test_names_reach_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(*name: str, streaming: bool) -> DatasetDict:
        asked.append((*name, streaming))
        return DatasetDict({"train": made(4), "test": made(2)})

    monkeypatch.setattr(datasets, "load_dataset", load)
    splits = open_source("hf:owner/name/small")
    assert asked == [("owner/name", "small", False)]
    assert splits.train.describe(1) == "hf:owner/name/small/train row 1"
    open_source("hf:beans")
    assert asked[1] == ("beans", False)


def test_without_datasets_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] == "datasets":
            raise ImportError(name)
        return genuine(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"convatlas\[hub\]"):
        open_source("hf:owner/name")


@pytest.fixture(params=["saved", "parquet"])
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a data set of 30 images in 3 shards."""
    folder = tmp_path / "stream"
    if request.param == "saved":
        DatasetDict({"train": made(30)}).save_to_disk(folder, num_shards={"train": 3})
    else:
        folder.mkdir()
        for i in range(3):
            made(10, 10 * i).to_parquet(folder / f"train-{i}.parquet")
    return folder


def test_a_stream_gives_every_image_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_BLOCK", 4)
    stream = HubStream(str(shards), seed=1)
    assert stream.classes == CLASSES
    first = list(stream)
    values = greys(first)
    assert sorted(values) == list(range(30))
    assert [sample.label for sample in first] == [value % 2 for value in values]
    assert [int(sample.name.split()[-1]) for sample in first] == [value % 10 for value in values]
    assert {tuple(sorted(v // 10 for v in values[i : i + 10])) for i in (0, 10, 20)} == {
        (0,) * 10,
        (1,) * 10,
        (2,) * 10,
    }
    assert greys(stream) != values
    assert greys(HubStream(str(shards), seed=1)) == values
    assert values != sorted(values)


@pytest.mark.parametrize("consumer", [Consumer(), Consumer(1, 2), Consumer(2, 5)])
def test_a_stream_resumes_with_exactly_the_next_image(
    shards: Path, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_BLOCK", 4)

    def opened() -> ImageStream:
        return HubStream(str(shards), seed=2, consumer=consumer)

    expected = greys(opened())
    for taken in range(0, len(expected), 3):
        stream = opened()
        got = greys(islice(iter(stream), taken))
        state = json.loads(json.dumps(stream.state_dict()))
        resumed = opened()
        resumed.load_state_dict(state)
        assert got + greys(resumed) == expected


def test_consumers_of_a_stream_share(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_BLOCK", 4)
    for total in (2, 3, 5):
        shares = [
            greys(HubStream(str(shards), consumer=Consumer(rank, total))) for rank in range(total)
        ]
        assert sorted(value for share in shares for value in share) == list(range(30))


def test_a_stream_says_what_it_lacks(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the split test in .*, got train"):
        HubStream(str(shards), split="test")
    made(4, label=Value("int64")).save_to_disk(tmp_path / "plain")
    with pytest.raises(DataError, match="cast it to ClassLabel"):
        HubStream(str(tmp_path / "plain"))


def test_an_epoch_is_read_by_places(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_BLOCK", 4)
    assert HubStream(str(shards)).length == 30
    expected = greys(HubStream(str(shards), seed=1))
    for first in (0, 3, 4, 9, 10, 17, 25, 29):
        for known in (False, True):
            stream = HubStream(str(shards), seed=1)
            if known:
                assert stream.length == 30
            reader = stream.reader(0)
            found = [reader.sample(place) for place in range(first, 30, 3)]
            assert greys(found) == expected[first::3]
            assert reader.sample(30) is None
            assert reader.before == 30


def test_a_fault_of_datasets_in_mid_stream_is_one_line(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = HubStream(str(shards))

    def broken() -> Any:
        raise OSError("the connection\nbroke off")
        yield

    monkeypatch.setattr(stream, "_part", lambda shard: broken())
    with pytest.raises(DataError, match=r"more images of .*/train/\d.*the connection") as caught:
        next(iter(stream))
    assert "\n" not in str(caught.value)
