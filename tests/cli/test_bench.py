"""``convatlas bench`` and ``convatlas calibrate``: tables, JSON, and errors of one line."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from convatlas.analysis import calibration as module
from convatlas.analysis.calibration import Calibration, Sample, load_calibration, save_calibration
from convatlas.analysis.machine import Ceilings, this_machine
from convatlas.analysis.primitives import primitives
from convatlas.cli.main import main


def convatlas(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVATLAS_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def calibrated(cache):
    """A calibration in the cache, in which every operator takes 0.1 ms, and a call nothing."""
    works = [module._work_of(primitive) for primitive in islice(primitives(), 800)]
    samples = tuple([Sample(work, 0.1) for work in works])
    save_calibration(Calibration(this_machine(), Ceilings(100.0, 10.0), 1e-9, samples))
    return cache


@pytest.mark.usefixtures("calibrated")
def test_a_measured_network_as_tables(capsys):
    assert convatlas("bench", "cifar_resnet20", "--runs", "2") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "1 image per pass" in text
    assert "reaches 100 GFLOP/s in dense convolutions and moves 10.0 GB/s" in text
    assert "One MAC is 2 FLOPs" in text
    assert "batch_norm layers: 0 % of the MACs" in text


@pytest.mark.usefixtures("calibrated")
def test_measured_networks_as_json(capsys):
    names = ("cifar_resnet20", "mobilenetv2_050")
    convatlas("bench", *names, "--runs", "2", "--batch", "2", "--input", "32", "--json")
    printed = json.loads(capsys.readouterr().out)
    assert tuple(printed) == names
    for values in printed.values():
        median_ms = values["latency"]["median_ms"]
        assert values["images_per_s"] == pytest.approx(2000 / median_ms)
        assert values["gflops"] == pytest.approx(values["flops"] / median_ms / 1e6)
        assert values["peak_share"] == pytest.approx(values["gflops"] / 100)
        assert sum(layer["share"] for layer in values["layers"]) == pytest.approx(1)
        assert sum(layer["macs"] for layer in values["layers"]) == values["macs"]


@pytest.mark.usefixtures("calibrated")
def test_half_precision_in_channels_last(capsys):
    flags = ("--precision", "bfloat16", "--channels-last", "--runs", "1", "--layers", "3")
    assert convatlas("bench", "mobilenetv2_050", "--input", "32", *flags) == 0
    assert "bfloat16" in capsys.readouterr().out


@pytest.mark.usefixtures("calibrated")
def test_predicted_without_running(capsys):
    convatlas("bench", "vgg11", "--predict", "--json")
    estimate = json.loads(capsys.readouterr().out)["vgg11"]
    assert estimate["median_ms"] == pytest.approx(0.1 * len(estimate["layers"]), rel=1e-3)
    convatlas("bench", "vgg11", "--predict")
    assert "the networks were not run" in " ".join(capsys.readouterr().out.split())


def test_a_training_and_its_loader(capsys):
    flags = ("--train", "--runs", "1", "--batch", "2", "--images", "100", "--epochs", "2")
    convatlas("bench", "cifar_resnet20", *flags, "--loader", "0.001")
    output = capsys.readouterr().out
    assert "100 steps take" in output
    assert "warning: the data loader gives 0.00 images/s" in output
    convatlas("bench", "cifar_resnet20", *flags, "--json")
    printed = json.loads(capsys.readouterr().out)["cifar_resnet20"]
    assert printed["seconds"] == pytest.approx(0.1 * printed["step_ms"])


@pytest.mark.usefixtures("cache")
def test_calibrating(capsys, monkeypatch):
    drawn = [p for p in islice(primitives(), 300) if max(map(_elements, p.shapes)) < 20_000]
    monkeypatch.setattr(module, "primitives", lambda: iter(drawn))
    monkeypatch.setattr(module, "MOST_ELEMENTS", 1 << 20)
    for load, is_warned in ((0.0, False), (64.0 * 1024, True)):
        monkeypatch.setattr("os.getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert convatlas("calibrate", "--minutes", "0.001") == 0
        output = capsys.readouterr()
        assert "samples: " in output.out
        assert ("when the machine is idle" in output.err) is is_warned
    assert load_calibration().samples


def _elements(shape):
    count = 1
    for size in shape:
        count *= size
    return count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "resnet81"], "resnet18"),
        (["bench", "cifar_resnet20", "--batch", "0"], "1 or more, got 0"),
        (["bench", "cifar_resnet20", "--runs", "0"], "runs must be 1 or more"),
        (["bench", "cifar_resnet20", "--threads", "0"], "threads must be 1 or more"),
        (["bench", "cifar_resnet20", "--layers", "0"], "--layers must be 1 or more"),
        (["bench", "cifar_resnet20", "--precision", "int8"], "float32 or bfloat16, got 'int8'"),
        (["bench", "cifar_resnet20", "--predict"], "convatlas calibrate --precision float32"),
        (["bench", "cifar_resnet20", "--predict", "--train"], "leave one of them out"),
        (["bench", "cifar_resnet20", "--train", "--epochs", "0"], "epochs"),
        (["calibrate", "--minutes", "5"], "at most 3, got 5"),
        (["calibrate", "--precision", "int8"], "float32 or bfloat16"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_wrong_arguments_are_one_line(arguments, message, capsys):
    assert convatlas(*arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
