"""Evaluation of run folders: what is judged, what is written, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from convatlas.data.fingerprint import data_fingerprint
from convatlas.data.preprocess import Preprocessing
from convatlas.data.source import open_source
from convatlas.data.sources.digits import Digits
from convatlas.errors import CheckpointError, DataError, OptionError
from convatlas.models.registry import create_model
from convatlas.pipeline.evaluation import EvaluationSettings, evaluate_runs
from convatlas.pipeline.predicted import load_predictions
from convatlas.pipeline.subject import Views
from convatlas.pipeline.trained import TrainedModel, save_trained
from convatlas.train.checkpoint import Checkpoint, RunFolder

QUICK = {"resamples": 100}


class Quiet:
    def progress(self, what):
        return lambda done, total: None


def make_run(folder, *, weights_seed=0, size=8, data="digits", seed=0, classes=None, margin=1.0):
    """Write the files of a run of LeNet-5 that evaluation reads; its weights are random."""
    names = tuple(classes or Digits().classes)
    options = {"num_classes": len(names), "in_channels": 1, "stem": "small"}
    with torch.random.fork_rng():
        torch.manual_seed(weights_seed)
        model = create_model("lenet5", **options).eval()
    for parameter in model.parameters():  # so that the logits differ between images
        parameter.data.mul_(3)
    mode = "stretch" if margin == 1 else "crop"
    preprocessing = Preprocessing(
        input_size=size, channels=1, mean=(0.3,), std=(0.4,), interpolation="bilinear",
        resize_mode=mode, crop_fraction=margin,
    )  # fmt: skip
    save_trained(folder, TrainedModel("lenet5", options, model, names, preprocessing))
    settings = {"data": str(data), "seed": seed, "skip_bad": False}
    (folder / "run.json").write_text(json.dumps({"settings": settings}))
    return folder


def make_insects(folder):
    """Write a folder of two classes, and the files of a run on it; return both."""
    images = folder / "images"
    for name in ("ant", "bee"):
        (images / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), 20 * number).save(images / name / f"{number}.png")
    return images, make_run(folder / "run", data=images, classes=("ant", "bee"))


def judge(*runs, **settings):
    return evaluate_runs(runs, EvaluationSettings(**(QUICK | settings)), Quiet())


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "first")


@pytest.fixture
def other(tmp_path):
    return make_run(tmp_path / "second", weights_seed=1, size=12)


def test_the_held_out_images_of_the_run_are_judged(run):
    report = judge(run)
    (network,) = report.networks
    source = open_source("digits", seed=0).validation
    assert network.found.images == tuple(source.describe(i) for i in range(len(source)))
    assert network.found.predictions.labels.tolist() == list(source.labels)
    assert network.evaluation.images == 360
    assert report.pairs == ()


def test_the_logits_are_the_networks(run):
    from convatlas.pipeline.trained import load_trained

    (network,) = judge(run).networks
    trained = load_trained(run)
    source = open_source("digits", seed=0).validation
    batch = torch.stack([trained.preprocessing(source.load(i)) for i in (0, 7, 359)])
    with torch.no_grad():
        expected = trained.model(batch)
    torch.testing.assert_close(network.found.predictions.logits[[0, 7, 359]], expected)


def test_files_are_left_in_the_run_folder(run):
    (network,) = judge(run).networks
    record = json.loads((run / "evaluation.json").read_text())
    assert record["evaluation"]["accuracy"] == network.evaluation.accuracy
    assert record["intervals"]["resamples"] == 100
    assert sum(each["count"] for each in record["calibration"]["bins"]) == 360
    found = load_predictions(run)
    assert torch.equal(found.predictions.logits, network.found.predictions.logits)
    assert found.classes == network.found.classes
    assert found.images == network.found.images


def test_saved_predictions_are_judged_without_the_network(run, monkeypatch):
    first = judge(run)
    monkeypatch.setattr("convatlas.pipeline.evaluation.subject_model", None)
    again = judge(run, saved=True)
    assert again.as_dict() == first.as_dict()


def test_predictions_by_other_weights_are_not_taken(run, tmp_path):
    judge(run)
    make_run(tmp_path / "anew", weights_seed=5)
    shutil.copy(tmp_path / "anew" / "trained.safetensors", run)
    with pytest.raises(CheckpointError, match="got those of other weights"):
        judge(run, saved=True)


def test_runs_of_other_input_sizes_are_compared_on_the_same_images(run, other):
    report = judge(run, other)
    (pair,) = report.pairs
    right = [
        each.found.predictions.logits.argmax(1) == each.found.predictions.labels
        for each in report.networks
    ]
    assert pair.result.only_a_right == int((right[0] & ~right[1]).sum())
    assert pair.result.only_b_right == int((right[1] & ~right[0]).sum())
    assert (pair.a, pair.b) == ("first", "second")
    assert "first" in pair.verdict


def test_an_ensemble_is_the_mean_of_the_runs_probabilities(run, other):
    report = judge(run, other, ensemble=True)
    *parts, together = (each.found.predictions.logits.softmax(1) for each in report.networks)
    torch.testing.assert_close(together, (parts[0] + parts[1]) / 2)
    assert report.networks[-1].name == "ensemble of 2"
    assert len(report.pairs) == 2


def test_checkpoints_of_one_run_make_a_snapshot_ensemble(run, tmp_path):
    state = load_file(run / "trained.safetensors")
    moved = {name: value + 0.05 for name, value in state.items()}
    # A checkpoint to go on from: the mean of the weights is what would be kept.
    parts = {f"model.{k}": v for k, v in moved.items()} | {f"ema.{k}": v for k, v in state.items()}
    save_file({**parts, "optimizer.x": torch.zeros(1)}, run / "last.safetensors")
    save_file(moved, run / "best.safetensors")
    report = judge(run, run / "last.safetensors", run / "best.safetensors", ensemble=True)
    plain, last, best, _ = (each.found.predictions.logits for each in report.networks)
    assert torch.equal(plain, last)
    assert not torch.equal(plain, best)
    assert [each.name for each in report.networks[:3]] == ["first", "first/last", "first/best"]
    assert (run / "evaluation-best.json").is_file()
    save_file({"something.else": torch.zeros(1)}, run / "odd.safetensors")
    with pytest.raises(CheckpointError, match="a checkpoint of lenet5"):
        judge(run / "odd.safetensors")


def test_ten_crops_are_averaged(tmp_path):
    run = make_run(tmp_path / "crops", margin=0.5)
    (network,) = judge(run, views=Views(ten_crop=True)).networks
    from convatlas.data.testtime import ViewBatches, ten_crop
    from convatlas.pipeline.trained import load_trained

    trained = load_trained(run)
    source = open_source("digits", seed=0).validation
    several = ViewBatches(source, trained.preprocessing, ten_crop(trained.preprocessing), 1)
    batch = next(iter(several))
    assert batch.images.shape == (1, 10, 1, 8, 8)
    with torch.no_grad():
        expected = trained.model(batch.images[0]).softmax(1).mean(0)
    torch.testing.assert_close(network.found.predictions.logits[0].softmax(0), expected)
    assert network.found.views == "ten crops"


def test_scales_give_views_of_the_networks_size():
    record = Preprocessing(
        input_size=224, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear",
        resize_mode="crop",
    )  # fmt: skip
    views = Views(scales=(224, 256)).crops(record)
    assert sorted((v.side, v.mirrored) for v in views) == [
        (224, False), (224, True), (256, False), (256, True),
    ]  # fmt: skip
    several = Views(ten_crop=True, scales=(256, 288)).crops(record)
    assert [view.side for view in several] == [256] * 10 + [288] * 10
    assert {view.size for view in several} == {224}
    assert Views().crops(record) == ()
    with pytest.raises(OptionError, match="expected scales above 224 pixels"):
        Views(ten_crop=True, scales=(200, 256)).crops(record)


def test_the_worst_mistakes_come_with_their_pixels(run):
    (network,) = judge(run, pictures=3).networks
    assert len(network.pictures) == 3
    worst, mistake = network.pictures[0], network.evaluation.mistakes[0]
    source = open_source("digits", seed=0).validation
    assert np.array_equal(worst.pixels[..., 0], np.asarray(source.load(mistake.index)))
    assert worst.source == source.describe(mistake.index)
    assert worst.true == source.classes[source.labels[mistake.index]]


def test_other_splits_and_classes_cannot_be_compared(run, tmp_path):
    moved = make_run(tmp_path / "moved", seed=1)
    with pytest.raises(DataError, match=r"judged on the same images.* --no-compare"):
        judge(run, moved)
    assert len(judge(run, moved, compare=False).networks) == 2
    for name in ("ant", "bee"):
        (tmp_path / "insects" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("L", (8, 8), 40 * number).save(tmp_path / "insects" / name / f"{number}.png")
    insects = make_run(tmp_path / "two", data=tmp_path / "insects", classes=("ant", "bee"))
    with pytest.raises(DataError, match="the same classes, got first with 10 and two with 2"):
        judge(run, insects)
    with pytest.raises(DataError, match="expected images of the 10 classes of first, got 2"):
        judge(run, data=str(tmp_path / "insects"))


def test_images_that_came_since_the_training_are_noticed(tmp_path):
    images, run = make_insects(tmp_path)
    counts = {"train": [8, 8], "validation": [2, 2]}
    (run / "data.json").write_text(json.dumps({"counts": counts}))
    judge(run)
    for number in range(10, 15):
        Image.new("L", (8, 8), number).save(images / "ant" / f"{number}.png")
    with pytest.raises(DataError, match="which changed since the training"):
        judge(run)
    judge(run, data=str(images))


def test_other_held_out_images_in_equal_number_are_noticed(tmp_path):
    images, run = make_insects(tmp_path)
    held_out = open_source(str(images), seed=0).validation
    record = {
        "counts": {"train": [8, 8], "validation": [2, 2]},
        "held_out_sha256": data_fingerprint(held_out),
    }
    (run / "data.json").write_text(json.dumps(record))
    judge(run)
    Image.new("L", (8, 8), 7).save(images / held_out.describe(0))
    with pytest.raises(DataError, match="in equal number, which changed since the training"):
        judge(run)


@pytest.mark.parametrize("name", ["trained", "last"])
def test_a_flipped_bit_in_the_weights_is_noticed(run, name):
    state = load_file(run / "trained.safetensors")
    RunFolder(run).save_last(Checkpoint({f"model.{k}": v for k, v in state.items()}, {}))
    judge(run, run / "last.safetensors")
    content = bytearray((run / f"{name}.safetensors").read_bytes())
    content[-1] ^= 1
    (run / f"{name}.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}\.safetensors does not match the SHA-256"):
        judge(run / f"{name}.safetensors")


def test_it_is_said_when_the_images_chose_the_weights(run):
    assert not judge(run).networks[0].chose_on_these
    (run / "recipe.toml").write_text('[training]\nkeep = "best"\n')
    assert judge(run).networks[0].chose_on_these
    assert not judge(run, data="digits").networks[0].chose_on_these


def test_impossible_requests_are_told_in_one_line(run, tmp_path):
    cases = [
        ((tmp_path / "nothing",), {}, CheckpointError, "expected a run folder with run.json"),
        ((run / "trained.json",), {}, CheckpointError, "expected a run folder with run.json"),
        ((run,), {"ensemble": True}, OptionError, "an ensemble needs 2 runs"),
        ((run, run), {}, OptionError, "got one of them twice"),
        ((run,), {"saved": True}, CheckpointError, "expected saved predictions"),
        ((run,), {"saved": True, "data": "digits"}, OptionError, "--saved takes predictions"),
        ((run,), {"resamples": 9}, OptionError, "at least 100 draws, got 9"),
        ((run,), {"views": Views(scales=(0,))}, OptionError, "expected scales of 1 px or more"),
        ((run,), {"views": Views(ten_crop=True)}, OptionError, "leaves a margin for ten crops"),
    ]
    for runs, settings, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            judge(*runs, **settings)
        assert "\n" not in str(caught.value)
    (run / "trained.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"a finished run with trained\.safetensors"):
        judge(run)


def test_damaged_predictions_are_not_taken(run):
    judge(run)
    record = json.loads((run / "predictions.json").read_text())
    record["images"].pop()
    (run / "predictions.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="359 images and 10 classes, but tensors of"):
        judge(run, saved=True)


def test_two_runs_of_one_name_are_called_by_their_paths(tmp_path):
    paths = [make_run(tmp_path / part / "run", weights_seed=n) for n, part in enumerate("ab")]
    assert [each.name for each in judge(*paths).networks] == [str(path) for path in paths]
