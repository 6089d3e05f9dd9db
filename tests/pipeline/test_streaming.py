"""Training from streams: short epochs that are stopped, broken and resumed to the same weights."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from convatlas.data.sampling import epoch_order
from convatlas.data.sources.digits import Digits
from convatlas.errors import CheckpointError, DataError, OptionError
from convatlas.pipeline.evaluation import EvaluationSettings, evaluate_runs
from convatlas.pipeline.preparation import fitting_recipe, lasting
from convatlas.pipeline.settings import TrainSettings, read_training
from convatlas.pipeline.subject import find_subject, held_out_images
from convatlas.pipeline.train import resume, train, verify
from convatlas.train.interrupt import Interrupted
from tar_writing import write_tar

CLASSES = [str(number) for number in range(10)]
PER_SHARD = [40, 30, 50, 40]
SHOWN = slice(200, 240)


class Quiet:
    """A listener that remembers what it was told, and may act before a step."""

    def __init__(self, at: int | None = None, act: Any = None) -> None:
        self.lines: list[str] = []
        self.at, self.act = at, act

    def say(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, what: str) -> Any:
        return lambda done, total: None

    def training(self) -> Quiet:
        return self

    def start(self, plan: Any) -> None:
        pass

    def step(self, report: Any) -> None:
        if report.step == self.at:
            self.act()

    def epoch(self, report: Any) -> None:
        pass

    def stop(self) -> None:
        pass


def stopped() -> None:
    raise KeyboardInterrupt


def two_epochs(candidate: Any, images: int) -> Any:
    recipe = lasting(fitting_recipe(candidate, images), 2)
    return recipe.override({"training.precision": "fp32", "training.batch_size": 16})


def png(digits: Digits, index: int) -> bytes:
    content = io.BytesIO()
    digits.load(index).save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 160 digits to train on in four shards, and 40 to judge by in one."""
    folder = tmp_path_factory.mktemp("digits")
    digits, number = Digits(), 0
    for place, count in enumerate([*PER_SHARD, SHOWN.stop - SHOWN.start]):
        members = []
        for _ in range(count):
            members += [
                (f"{number}.png", png(digits, number)),
                (f"{number}.cls", b"%d" % digits.labels[number]),
            ]
            number += 1
        write_tar(folder / ("val-0.tar" if place == 4 else f"train-{place}.tar"), members)
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    return folder


def settings_of(spec: str | Path, model: str = "lenet5", **options: Any) -> TrainSettings:
    return TrainSettings(data=str(spec), model=model, stream=True, **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "trained.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def straight(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    return train(settings_of(shards), runs, Quiet(), two_epochs).folder


def test_a_run_says_what_it_was_trained_on(shards: Path, straight: Path) -> None:
    record = json.loads((straight / "data.json").read_text())
    assert record["classes"] == CLASSES
    assert record["image_size"]["median"] == [8, 8]
    assert record["channels"] == 1
    assert sum(record["counts"]["validation"]) == 40
    assert record["origin"] == "a stream of 160 images per epoch; shards/val to judge by"
    pixels = np.stack([np.asarray(Digits().load(index)) for index in range(160)])
    assert record["preprocessing"]["mean"][0] == pytest.approx(pixels.mean() / 255, abs=0.01)


@pytest.mark.parametrize("at", [3, 10, 14])
def test_a_stopped_run_resumes_to_the_same_weights(
    shards: Path, straight: Path, tmp_path: Path, at: int
) -> None:
    with pytest.raises(Interrupted):
        train(settings_of(shards), tmp_path, Quiet(at, stopped), two_epochs)
    (folder,) = tmp_path.iterdir()
    assert read_training(folder)[0].stream
    assert same(resume(folder, Quiet()).folder, straight)


def test_a_truncated_shard_in_mid_epoch_is_one_line_and_resumes(
    shards: Path, straight: Path, tmp_path: Path
) -> None:
    last = shards / f"train-{epoch_order(len(PER_SHARD), 0, 1)[-1]}.tar"  # of the second epoch
    content = last.read_bytes()
    try:
        broken = Quiet(12, lambda: last.write_bytes(content[: len(content) // 2]))
        with pytest.raises(DataError, match=rf"complete tar in .*{last.name}.*truncated") as error:
            train(settings_of(shards), tmp_path, broken, two_epochs)
        assert "\n" not in str(error.value)
    finally:
        last.write_bytes(content)
    (folder,) = tmp_path.iterdir()
    assert broken.lines[-1].endswith(f"once it is mended: convatlas train --resume {folder}")
    assert same(resume(folder, Quiet()).folder, straight)


def test_a_stream_that_changed_is_noticed(shards: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(shards, tmp_path / "copied")
    with pytest.raises(Interrupted):
        train(settings_of(copied), tmp_path / "runs", Quiet(5, stopped), two_epochs)
    (folder,) = (tmp_path / "runs").iterdir()
    shutil.copy(copied / "train-0.tar", copied / "train-1.tar")
    with pytest.raises(CheckpointError, match="the data set has changed"):
        resume(folder, Quiet())


def test_pipes_with_the_classes_of_the_images_to_judge_by(shards: Path, tmp_path: Path) -> None:
    spec = "::".join(f"pipe:cat {shards}/train-{place}.tar" for place in range(4))
    judged = str(shards / "val-0.tar")
    with pytest.raises(OptionError, match="--images-per-epoch for pipe:cat"):
        train(settings_of(spec, validation=judged), tmp_path, Quiet(), two_epochs)
    with pytest.raises(DataError, match="class names for the stream pipe:cat"):
        train(settings_of(spec, images_per_epoch=96), tmp_path, Quiet(), two_epochs)
    asked = settings_of(spec, validation=judged, images_per_epoch=96)
    folder = train(asked, tmp_path, Quiet(), two_epochs).folder
    assert folder.name.startswith("stream-lenet5")
    local = settings_of(f"{shards}/train-{{0..3}}.tar", validation=judged, images_per_epoch=96)
    same_order = weights(train(local, tmp_path, Quiet(), two_epochs).folder)
    assert weights(folder).keys() == same_order.keys()
    assert json.loads((folder / "data.json").read_text())["classes"] == CLASSES


def test_a_stream_of_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    digits = Digits()

    def made(indices: range) -> Any:
        return datasets.Dataset.from_dict(
            {
                "image": [{"bytes": png(digits, index), "path": None} for index in indices],
                "label": [digits.labels[index] for index in indices],
            },
            features=datasets.Features(
                {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)}
            ),
        )

    splits = {"train": made(range(96)), "validation": made(range(200, 230))}
    datasets.DatasetDict(splits).save_to_disk(
        tmp_path / "saved", num_shards={"train": 3, "validation": 1}
    )
    settings = settings_of(tmp_path / "saved", "cifar_resnet20")
    whole = train(settings, tmp_path / "runs", Quiet(), two_epochs).folder
    with pytest.raises(Interrupted):
        train(settings, tmp_path / "stopped", Quiet(8, stopped), two_epochs)
    (folder,) = (tmp_path / "stopped").iterdir()
    assert same(resume(folder, Quiet()).folder, whole)
    assert json.loads((folder / "data.json").read_text())["counts"]["train"] == []


def test_verify_resume_holds_for_streams(shards: Path) -> None:
    report = verify(settings_of(shards), 6, Quiet(), two_epochs)
    assert report.exact
    assert report.tensors


def test_what_cannot_be_a_stream_is_one_line(shards: Path, tmp_path: Path) -> None:
    for label in ("ant", "bee"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "photos" / label / "a.png")
    photos = str(tmp_path / "photos")
    for settings, words in (
        (settings_of("digits"), "expected a stream, got digits"),
        (settings_of(shards / "train-0.tar"), "declares no validation split: pass --validation"),
        (settings_of(shards, validation=photos), "ant, bee: put the same classes.txt beside both"),
    ):
        with pytest.raises(DataError, match=words):
            train(settings, tmp_path / "runs", Quiet(), two_epochs)
    for options in ({"validation": "digits"}, {"images_per_epoch": 5}):
        with pytest.raises(OptionError, match="add --stream"):
            TrainSettings(data="digits", model="lenet5", **options)
    with pytest.raises(OptionError, match="2 or more, got 1"):
        settings_of("x", images_per_epoch=1)


def test_a_run_of_a_stream_is_evaluated_on_the_images_it_was_judged_by(straight: Path) -> None:
    subject = find_subject(straight)
    images = held_out_images(subject, CLASSES, lambda done, total: None).validation
    assert list(images.labels) == list(Digits().labels[160:200])
    metrics = json.loads((straight / "metrics.json").read_text())
    found = evaluate_runs([straight], EvaluationSettings(), Quiet()).networks[0]
    assert found.evaluation.accuracy == metrics["evaluation"]["accuracy"]
