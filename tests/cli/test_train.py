"""``convatlas train`` as a user meets it: its figures, its stops, its errors in one line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from convatlas.cli.main import main
from small_digits import write_digits

QUICK = ("--set", "training.precision=fp32")


def convatlas(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(each) for each in arguments])
    return exit_.value.code


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"))


def _noise(folder, **counts):
    """Write noise as JPEGs, so many of each class."""
    generator = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (20, 20), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")
    return folder


def test_it_trains_says_how_good_and_resumes(data, tmp_path, capsys):
    flags = ("--epochs", 2, "--seed", 3, "--set", "optimizer.lr=.02", *QUICK)
    assert convatlas("train", "lenet5", "--data", data, "--out", tmp_path, *flags) in (0, None)
    printed = capsys.readouterr()
    (folder,) = tmp_path.iterdir()
    figure = re.fullmatch(r"accuracy (\d+\.\d\d)% \(95 %: .*% to .*%\)\n", printed.out)
    accuracy = json.loads((folder / "metrics.json").read_text())["evaluation"]["accuracy"]
    assert float(figure[1]) == pytest.approx(100 * accuracy, abs=0.005)
    assert printed.err.splitlines()[0].startswith(f"{folder}: lenet5 at 8 px, from scratch, by ")
    assert printed.err.splitlines()[-1] == f"run: {folder}"
    recipe = (folder / "recipe.toml").read_text()
    assert "lr = 0.02" in recipe
    assert "seed = 3" in recipe
    assert convatlas("train", "--resume", folder) in (0, None)
    assert capsys.readouterr().out == printed.out


def test_three_images_of_each_class_are_enough(tmp_path, capsys):
    data = _noise(tmp_path / "data", a=3, b=3)
    flags = ("--out", tmp_path / "runs", "--epochs", 1, *QUICK)
    assert convatlas("train", "lenet5", "--data", data, *flags) in (0, None)
    assert "accuracy" in capsys.readouterr().out


def test_a_truncated_photo_stops_or_is_left_out(tmp_path, capsys, caplog):
    data = _noise(tmp_path / "data", a=4, b=4)
    broken = data / "a" / "2.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    flags = ("--data", data, "--out", tmp_path / "runs", "--epochs", 1, *QUICK)
    assert convatlas("train", "lenet5", *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a/2.jpg" in line
    assert "--skip-bad" in line
    assert convatlas("train", "lenet5", *flags, "--skip-bad") in (0, None)
    (said,) = [record.getMessage() for record in caplog.records if "verify" in record.name]
    assert said.startswith("left out 1 of 6 images")
    assert "a/2.jpg" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected the name of a network, got none: see `convatlas list`"),
        (("lenet6",), "unknown model 'lenet6'; did you mean lenet5"),
        (("lenet5", "--weights", "wrong"), "'wrong' weights in the catalogue, got lenet5"),
        (("lenet5", "--recipe", "fintune"), "unknown recipe 'fintune'; did you mean finetune"),
        (("lenet5", "--recipe", "nothing.toml"), "nothing.toml, which cannot be read"),
        (("lenet5", "--set", "lr=1"), "no value 'lr'; did you mean optimizer.lr"),
        (("lenet5", "--set", "optimizer.lr"), "a setting such as optimizer.lr=0.02, got"),
        (("lenet5", "--set", "optimizer.lr=fast"), "optimizer.lr must be a number, got 'fast'"),
        (("lenet5", "--set", "optimizer.lr=-1"), "got -1"),
        (("lenet5", "--set", "optimizer.name=sgdd"), "sgd, rmsprop, adamw"),
        (
            ("lenet5", "--set", "transfer.freeze_epochs=99"),
            "transfer.freeze_epochs must be at most",
        ),
        (("lenet5", "--set", "loss.teacher=efficientnet_lite0"), "knows the classes class0"),
        (("lenet5", "--set", "loss.teacher=nobody"), "unknown model 'nobody'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_is_one_line(arguments, message, data, tmp_path, capsys):
    assert convatlas("train", *arguments, "--data", data, "--out", tmp_path) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("convatlas: ")
    assert message in line


def test_what_holds_no_run_cannot_be_gone_on_with(capsys):
    assert convatlas("train", "--resume", "/no/run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a run folder with run.json and recipe.toml" in line


def test_one_class_cannot_be_learned(tmp_path, capsys):
    data = _noise(tmp_path / "data", only=4)
    assert convatlas("train", "lenet5", "--data", data) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "add a second class" in line


def test_a_folder_that_cannot_be_written_is_said_before_training(data, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert convatlas("train", "lenet5", "--data", data, "--out", tmp_path / "file") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot write" in line
