from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from convatlas.data.source import Splits, Subset, open_source
from convatlas.data.sources.splits import choose_splits
from convatlas.data.verify import verify
from convatlas.errors import DataError, OptionError


def fill(root: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("L", (4, 4), i).save(root / name / f"{i:03}.png")
    return root


def names(source: Subset) -> list[str]:
    return [source.describe(i) for i in range(len(source))]


def test_digits_are_scikit_learns() -> None:
    data = load_digits()
    splits = open_source("digits")
    assert (len(splits.train), len(splits.validation)) == (1437, 360)
    assert splits.train.classes == tuple("0123456789")
    for source in (splits.train, splits.validation):
        for i in range(0, len(source), 40):
            place = int(source.describe(i).removeprefix("digit "))
            assert source.labels[i] == data.target[place]
            image = source.load(i, at_least=2)
            assert image.mode == "L"
            np.testing.assert_array_equal(
                np.asarray(image), np.round(data.images[place] * 255 / 16)
            )
    assert sorted(names(splits.train) + names(splits.validation)) == sorted(
        f"digit {i}" for i in range(1797)
    )
    assert splits.origin == "20 % of every class held out with seed 0"


def test_hold_out_is_stratified_and_seeded(tmp_path: Path) -> None:
    root = fill(tmp_path / "pets", {"cat": 10, "dog": 30})
    splits = open_source(root, seed=3)
    assert Counter(splits.validation.labels) == {0: 2, 1: 6}
    assert not set(names(splits.train)) & set(names(splits.validation))
    assert len(splits.train) == 32
    assert (splits.train.name, splits.validation.name) == ("pets/train", "pets/held-out")
    assert names(open_source(str(root), seed=3).validation) == names(splits.validation)
    assert names(open_source(root, seed=4).validation) != names(splits.validation)
    assert Counter(open_source(root, holdout=0.5).validation.labels) == {0: 5, 1: 15}


@pytest.mark.parametrize("held", ["val", "valid", "validation", "test", "Val"])
def test_given_folders_are_the_splits(tmp_path: Path, held: str) -> None:
    fill(tmp_path / "pets" / "train", {"cat": 2, "dog": 3})
    fill(tmp_path / "pets" / held, {"cat": 1, "dog": 1})
    splits = open_source(tmp_path / "pets")
    assert (splits.train.labels, splits.validation.labels) == ((0, 0, 1, 1, 1), (0, 1))
    assert splits.train.name == "pets/train"
    assert splits.origin == f"the folders train/ and {held}/"


def test_val_is_preferred_to_test_and_train_alone_is_split(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("test", 1), ("val", 2)):
        fill(tmp_path / "a" / part, {"cat": count, "dog": count})
    assert len(open_source(tmp_path / "a").validation) == 4
    fill(tmp_path / "b" / "train", {"cat": 10, "dog": 10})
    assert len(open_source(tmp_path / "b").validation) == 4


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = fill(tmp_path, {"car": 5, "plane": 5, "train": 5})
    assert open_source(root).train.classes == ("car", "plane", "train")


def test_classes_must_be_the_same_in_both(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"cat": 2, "dog": 2, "eel": 1})
    fill(tmp_path / "val", {"cat": 2, "dog": 2, "fox": 1})
    with pytest.raises(DataError, match="got eel only in train/, fox only in val/"):
        open_source(tmp_path)


def test_wrong_specs_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean digits"):
        open_source("digit")
    with pytest.raises(DataError, match=r"no such file or folder.*hf:NAME.*IDX files") as caught:
        open_source(tmp_path / "nothing")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="got ''"):
        open_source("")
    with pytest.raises(DataError, match=r"may not be read \(File name too long\)"):
        open_source("x" * 5000)
    root = fill(tmp_path / "one", {"cat": 5, "dog": 1})
    with pytest.raises(DataError, match="at least 2 images of class 'dog'"):
        open_source(root)
    with pytest.raises(OptionError, match="0 < holdout < 1"):
        open_source("digits", holdout=1.0)
    with pytest.raises(OptionError, match="0 ≤ seed"):
        open_source("digits", seed=-1)


def test_subset_is_a_view(tmp_path: Path) -> None:
    source = open_source(fill(tmp_path, {"cat": 10, "dog": 10})).train
    part = Subset(source, [9, 0, 9])
    assert part.labels == (source.labels[9], source.labels[0], source.labels[9])
    assert part.classes == source.classes
    assert (part.name, Subset(source, [], "few").name) == (source.name, "few")
    assert names(part) == [source.describe(i) for i in (9, 0, 9)]
    assert part.header(1) == source.header(0)
    np.testing.assert_array_equal(np.asarray(part.load(2)), np.asarray(source.load(9)))
    assert part.encoded(1) == (tmp_path / part.describe(1)).read_bytes()
    assert Subset(open_source("digits").train, [0]).encoded(0) is None


def test_a_declared_split_is_chosen_by_its_role() -> None:
    digits = open_source("digits").train
    test, val, train = (Subset(digits, [0], name) for name in ("test", "val", "train"))
    chosen = choose_splits({"testing": test, "dev": val, "Train": train}, "x", "parts")
    assert isinstance(chosen, Splits)
    assert (chosen.train, chosen.validation) == (train, val)
    assert chosen.origin == "the parts Train and dev"
    only = choose_splits({"train": train, "unsupervised": val}, "x")
    assert only is train
    assert choose_splits({"all": val}, "x") is val
    with pytest.raises(DataError, match="one is called train in x, got a, test: rename"):
        choose_splits({"a": val, "test": test}, "x")
    other = Subset(digits, [digits.labels.index(7)])
    with pytest.raises(DataError, match="every class of val in train of x, got none of 7"):
        choose_splits({"train": train, "val": other}, "x")


def damaged(root: Path, count: int) -> Path:
    fill(root, {"cat": 8, "dog": 2})
    photo = Image.fromarray(load_sample_image("china.jpg"))
    photo.save(root / "cat" / "china.jpg")
    for i in range(count):
        if i % 2:
            (root / "cat" / f"bad {i}.jpg").write_text("not found")
        else:
            whole = (root / "cat" / "china.jpg").read_bytes()
            (root / "cat" / f"bad {i}.jpg").write_bytes(whole[: len(whole) // 2])
    return root


def test_verify_passes_good_images_on(tmp_path: Path) -> None:
    source = open_source(damaged(tmp_path, 0)).train
    seen: list[tuple[int, int]] = []
    assert verify(source, lambda done, total: seen.append((done, total))) is source
    assert seen == [(i, len(source)) for i in range(1, len(source) + 1)]


def test_verify_names_at_most_five_bad_files(tmp_path: Path) -> None:
    source = Subset(open_source(damaged(tmp_path, 7), holdout=0.01).train, range(15))
    bad = [name for name in names(source) if "bad" in name]
    assert len(bad) >= 6
    with pytest.raises(DataError) as caught:
        verify(source)
    message = str(caught.value)
    assert f"got {len(bad)} of 15 images" in message
    assert [name for name in bad if name in message] == bad[:5]
    assert f"and {len(bad) - 5} more" in message
    assert "truncated" in message
    assert "its content is not an image" in message
    assert "skip_bad=True" in message
    assert "\n" not in message


def test_verify_skips_bad_files_when_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = damaged(tmp_path, 2)
    source = Subset(open_source(root, holdout=0.01).train, range(11))
    bad = [name for name in names(source) if "bad" in name]
    assert bad
    with caplog.at_level(logging.WARNING):
        readable = verify(source, skip_bad=True)
    assert names(readable) == [name for name in names(source) if name not in bad]
    assert bad[0] in caplog.text
    for path in (root / "dog").iterdir():
        path.write_text("gone")
    with pytest.raises(DataError, match=r"every class .*got none of 'dog'"):
        verify(source, skip_bad=True)
