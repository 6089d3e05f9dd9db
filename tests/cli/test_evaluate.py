"""``convatlas evaluate`` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from convatlas.data.preprocess import Preprocessing
from convatlas.data.sources.digits import Digits
from convatlas.models.registry import create_model
from convatlas.pipeline.trained import TrainedModel, save_trained


def convatlas(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "convatlas", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
    )


@pytest.fixture
def runs(tmp_path):
    options = {"num_classes": 10, "in_channels": 1, "stem": "small"}
    record = Preprocessing(
        input_size=8, channels=1, mean=(0.3,), std=(0.4,), interpolation="bilinear",
        resize_mode="stretch",
    )  # fmt: skip
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        model = create_model("lenet5", **options).eval()
        save_trained(
            tmp_path / name, TrainedModel("lenet5", options, model, Digits().classes, record)
        )
        settings = {"data": "digits", "seed": 0}
        (tmp_path / name / "run.json").write_text(json.dumps({"settings": settings}))
    return tmp_path


def test_it_prints_figures_and_a_verdict_and_writes_the_page(runs):
    result = convatlas("evaluate", "one", "two", "--ensemble", "--html", "out.html", cwd=runs)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "page: out.html"
    assert "one" in lines[1]
    assert any(line.startswith("accuracy") for line in lines)
    assert "ensemble of 2" in result.stdout
    assert "one and two cannot" in result.stdout or "is better than" in result.stdout
    page = (runs / "out.html").read_text(encoding="utf-8")
    assert page.count("data:image/") >= 12
    assert (runs / "two" / "predictions.safetensors").is_file()


def test_json_stands_alone_on_standard_output(runs):
    result = convatlas("evaluate", "one", "--bootstrap", "200", "--json", cwd=runs)
    document = json.loads(result.stdout)
    assert document["networks"][0]["intervals"]["resamples"] == 200
    again = convatlas("evaluate", "one", "--bootstrap", "200", "--saved", "--json", cwd=runs)
    assert json.loads(again.stdout) == document


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "expected a run folder with run.json"),
        (["one", "--scales", "big"], "--scales expects sizes such as 224,256,288, got 'big'"),
        (["one", "--html", "page.txt"], "--html expects a file that ends in .html"),
        (["one", "--ensemble"], "an ensemble needs 2 runs or more"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line(runs, arguments, message):
    result = convatlas("evaluate", *arguments, cwd=runs)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("convatlas: ")
    assert message in line
