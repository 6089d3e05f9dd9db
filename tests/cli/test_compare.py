"""``convatlas compare``: what it prints is what was counted."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch

from convatlas import compare
from convatlas.analysis.cost import analyze
from convatlas.analysis.memory import predict_memory
from convatlas.models.registry import create_model
from convatlas.render.units import bytes_text, count

NAMES = ("squeezenet1_1", "mobilenetv3_small")


def convatlas(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "convatlas", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"COLUMNS": "80", "PATH": ""},
    )


@pytest.fixture(scope="module")
def printed():
    result = convatlas("compare", *NAMES)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def twin():
    result = convatlas("compare", *NAMES, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def _row(printed, label):
    """Return the cells of the last row with this label: the whole network's."""
    lines = [line for line in printed.splitlines() if re.match(rf"(\S+)? +{label}  ", line)]
    return re.split(r" {2,}", lines[-1].split(label, 1)[1].strip())


@pytest.mark.parametrize("name", NAMES)
def test_json_says_what_analyze_and_predict_memory_say(twin, name):
    with torch.device("meta"):
        model = create_model(name).eval()
    report = analyze(model, 224)
    (values,) = [network for network in twin["networks"] if network["name"] == name]
    for figure in ("params", "macs", "flops", "backward_macs", "activation_bytes"):
        assert values[figure] == getattr(report, figure)
        assert sum(stage[figure] for stage in values["stages"]) == getattr(report, figure)
    assert [s["name"] for s in values["stages"]] == [g.name for g in report.by_stage()]
    assert values["peak_bytes"] == predict_memory(model, 224).peak_bytes


def test_the_table_says_what_json_says(printed, twin):
    networks = twin["networks"]
    assert _row(printed, "params") == [count(n["params"]) for n in networks]
    assert _row(printed, "MACs") == [count(n["macs"]) for n in networks]
    assert _row(printed, "FLOPs") == [count(n["flops"]) for n in networks]
    assert _row(printed, "backward MACs") == [count(n["backward_macs"]) for n in networks]
    assert _row(printed, "peak memory") == [bytes_text(n["peak_bytes"]) for n in networks]
    assert _row(printed, "top-1") == [f"{n['top1_percent']:.2f} %" for n in networks]


def test_the_table_fits_and_names_the_sources(printed, twin):
    assert max(map(len, printed.splitlines())) <= 80
    told = " ".join(printed.split())
    assert all(network["accuracy_source"] in told for network in twin["networks"])


def test_the_receptive_field_is_the_last_stage_s():
    fields = [network.receptive_field for network in compare(["vgg16", "swin_t"]).networks]
    # Worked by hand for VGG-16: 2, 2, 3, 3, 3 convolutions of 3×3, each stage ending in a 2×2 pool
    size, stride = 1, 1
    for convolutions in (2, 2, 3, 3, 3):
        size += (2 * convolutions + 1) * stride
        stride *= 2
    assert fields[0].size == (size, size)
    assert fields[1] is None


def test_a_name_that_is_given_twice_counts_once():
    networks = compare(["squeezenet1_1", "lenet5", "squeezenet1_1"]).networks
    assert [network.name for network in networks] == ["squeezenet1_1", "lenet5"]


def test_the_input_size_is_for_all():
    comparison = compare(NAMES, input_size=96)
    assert [network.cost.input_shape for network in comparison.networks] == [(1, 3, 96, 96)] * 2
    assert all(network.latency is None for network in comparison.networks)


def test_an_unknown_name_is_one_line_with_the_nearest():
    result = convatlas("compare", "squeezenet1_1", "resnet5O")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2
    assert line.startswith("convatlas: unknown model 'resnet5O'")
    assert "resnet50" in line


@pytest.mark.parametrize("flag", ["--html", "--svg", "--png"])
def test_another_ending_is_refused_before_anything_is_counted(flag, tmp_path):
    result = convatlas("compare", "lenet5", flag, tmp_path / "chart.gif")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2
    assert line.startswith(f"convatlas: {flag} expects a file that ends in ")
    assert not list(tmp_path.iterdir())


def test_files_are_written_and_named(tmp_path):
    result = convatlas(
        "compare", "lenet5", "--html", "a.html", "--svg", "b.svg", "--png", "c.png", cwd=tmp_path
    )
    assert result.stdout.splitlines() == ["page: a.html", "drawing: b.svg", "drawing: c.png"]
    assert (tmp_path / "a.html").read_bytes().startswith(b"<!doctype html>")
    assert (tmp_path / "b.svg").read_bytes().startswith(b"<svg ")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
