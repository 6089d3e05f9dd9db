"""``convatlas fit``: the largest batch within a memory, and what a batch needs."""

from __future__ import annotations

import json

import pytest

from convatlas.analysis.memory import TrainingMemory, predict_memory
from convatlas.cli.main import main
from convatlas.cli.numbers import parse_bytes
from convatlas.errors import OptionError
from convatlas.models.registry import create_model


def convatlas(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * 10**9),
        ("8 GiB", 8 * 2**30),
        ("512MiB", 512 * 2**20),
        ("1.5g", 1_500_000_000),
        ("20kB", 20_000),
        ("123", 123),
    ],
)
def test_sizes_are_read(text, size):
    assert parse_bytes(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "8XB", "GB", "-1GB", "0", "1.2.3GB"])
def test_other_sizes_are_refused(text):
    with pytest.raises(OptionError, match="--memory expects a size such as 8GB or 512MiB"):
        parse_bytes(text, "--memory")


def test_a_batch_as_json(capsys):
    convatlas("fit", "cifar_resnet20", "--batch", "3", "--train", "--optimizer", "adamw", "--json")
    printed = json.loads(capsys.readouterr().out)
    training = TrainingMemory("adamw")
    report = predict_memory(create_model("cifar_resnet20"), 32, batch=3, training=training)
    assert printed["peak_bytes"] == report.peak_bytes
    assert printed["peak"]["layer"] == report.peak.layer
    assert len(printed["timeline"]) == len(report.timeline)


def test_the_largest_batch_as_a_table(capsys):
    convatlas("fit", "cifar_resnet20", "--memory", "50MB", "--train", "--freeze", "--timeline")
    output = capsys.readouterr()
    assert "The largest batch within 50.0 MB" in " ".join(output.out.split())
    assert output.out.startswith("Training step: ")
    assert "stages.2.2.conv2.conv" in output.out
    assert "batch 2:" in output.err


def test_the_end_of_the_search_is_said(capsys):
    convatlas("fit", "lenet5", "--memory", "1000TB")
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("Inference: 1,048,576 images, float32")
    assert "1,048,576, the largest that was tried;" in text


def test_half_precision_needs_less(capsys):
    peaks = []
    for precision in ("float32", "bfloat16"):
        convatlas("fit", "resnet18", "--batch", "2", "--train", "--precision", precision, "--json")
        peaks.append(json.loads(capsys.readouterr().out)["activation_bytes"])
    assert peaks[1] < peaks[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet18"], "either --memory or --batch"),
        (["resnet18", "--memory", "1GB", "--batch", "2"], "either --memory or --batch"),
        (["resnet18", "--memory", "1MB"], "which a batch of 1 needs"),
        (["resnet18", "--memory", "much"], "8GB or 512MiB"),
        (["resnet18", "--batch", "1", "--precision", "int3"], "int3"),
        (["resnet18", "--batch", "1", "--train", "--optimizer", "adamv"], "adamw"),
        (["resnet81", "--batch", "1"], "resnet18"),
        (["resnet18", "--batch", "0"], "batch must be 1 or more, got 0"),
        (["resnet18", "--batch", "1", "--input", "0"], "must be positive, got (3, 0, 0)"),
        (["resnet18", "--memory", ""], "8GB or 512MiB"),
        (["resnet18", "--batch", "1", "--freeze"], "add --train"),
        (["resnet18", "--batch", "1", "--optimizer", "adamw"], "add --train"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, capsys):
    assert convatlas("fit", *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
