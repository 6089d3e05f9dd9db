"""``convatlas features`` as a user meets it."""

from __future__ import annotations

import numpy as np
import pytest

from convatlas.cli.main import main
from convatlas.pipeline.settings import TrainSettings
from convatlas.pipeline.train import train
from convatlas.pipeline.trained import load_trained
from convatlas.train.recipe import Recipe
from small_digits import Quiet, write_digits


def convatlas(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(each) for each in arguments])
    return exit_.value.code


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    recipe = Recipe().override({"training.epochs": 1, "training.precision": "fp32"})
    recipe = recipe.override({"training.batch_size": 16})
    settings = TrainSettings(data=str(data), model="cifar_resnet20")
    return train(settings, tmp_path_factory.mktemp("runs"), Quiet(), lambda *_: recipe).folder


def test_a_run_gives_its_last_stage(run, data, tmp_path, capsys):
    out = tmp_path / "new" / "f.npz"
    assert convatlas("features", run, "--data", data, "--out", out) in (0, None)
    assert capsys.readouterr().out.splitlines() == [
        "stages.2: 66 images × 64",
        f"features: {out}",
    ]
    with np.load(out, allow_pickle=False) as file:
        features, labels = file["features/stages.2"], file["labels"]
        assert (features.shape, features.dtype, labels.shape) == ((66, 64), np.float32, (66,))
    head = load_trained(run).model.head
    weight = head.classifier.weight.detach().numpy()
    bias = head.classifier.bias.detach().numpy()
    flags = ("--data", data, "--layer", "head", "--layer", "stages.2", "--maps", "--out", out)
    assert convatlas("features", run, *flags) in (0, None)
    assert "stages.2: 66 images × 64×2×2" in capsys.readouterr().out
    with np.load(out, allow_pickle=False) as file:
        np.testing.assert_allclose(file["features/stages.2"].mean((2, 3)), features, atol=1e-5)
        # The head is the mean over the places and one linear layer.
        np.testing.assert_allclose(file["features/head"], features @ weight.T + bias, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--layer", "stages.7"], "got 'stages.7'; did you mean stages."),
        (["{run}", "--data", "/no/folder"], "expected images, got '/no/folder'"),
        (["{run}", "--out", "{data}"], "cannot write"),
        (["lenet5"], "got lenet5, which has none at hand"),
        (["nobody"], "unknown model 'nobody'"),
        (["{data}"], "expected a finished run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line(arguments, message, run, data, tmp_path, capsys):
    words = [word.format(run=run, data=data) for word in arguments]
    given = [] if "--data" in words else ["--data", data]
    place = [] if "--out" in words else ["--out", tmp_path / "f.npz"]
    assert convatlas("features", *words, *given, *place) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("convatlas: ")
    assert message in line
    assert not (tmp_path / "f.npz").exists()


def test_ctrl_c_is_one_line_and_leaves_no_file(run, data, tmp_path, capsys, monkeypatch):
    from convatlas.pipeline import features

    def stopped(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(features, "extract", stopped)
    assert convatlas("features", run, "--data", data, "--out", tmp_path / "f.npz") == 130
    assert capsys.readouterr().err == "convatlas: stopped\n"
    assert not list(tmp_path.iterdir())


def test_an_image_that_cannot_be_read_is_named(run, tmp_path, capsys):
    data = write_digits(tmp_path / "data", train=3, val=2)
    broken = next((data / "train" / "class2").iterdir())
    broken.write_bytes(b"no image")
    assert convatlas("features", run, "--data", data, "--out", tmp_path / "f.npz") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert broken.name in line
