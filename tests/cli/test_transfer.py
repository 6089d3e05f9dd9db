"""``convatlas transfer`` as a user meets it; what it trains is in tests/pipeline."""

from __future__ import annotations

import json
import re

import pytest
import torch

from convatlas.cli.main import main
from convatlas.data.preprocess import Preprocessing
from convatlas.models.registry import create_model
from convatlas.pipeline.trained import TrainedModel, save_trained
from convatlas.render.transfer import methods_table, transfer_html, verdict_lines
from convatlas.tasks.transferred import Method, ProbedLayer
from small_digits import write_digits


def convatlas(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(each) for each in arguments])
    return exit_.value.code


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("photos") / "digits")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "mine"
    options = {"num_classes": 3, "in_channels": 1, "stem": "small"}
    record = Preprocessing(
        input_size=8, channels=1, mean=(0.3,), std=(0.4,), interpolation="bilinear",
        resize_mode="stretch",
    )  # fmt: skip
    torch.manual_seed(1)
    model = create_model("cifar_resnet20", **options).eval()
    classes = ("class0", "class1", "class2")
    save_trained(folder, TrainedModel("cifar_resnet20", options, model, classes, record))
    return folder


def test_layers_as_a_table_a_page_and_json(run, data, tmp_path, capsys):
    flags = ("--data", data, "--layers", "stages.0, stages.2")
    page = tmp_path / "t.html"
    assert convatlas("transfer", run, *flags, "--html", page) in (0, None)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == f"page: {page}"
    assert [line.split()[0] for line in printed.out.splitlines()[-2:]] == ["stages.0", "stages.2"]
    text = page.read_text(encoding="utf-8")
    assert "<title>mine on digits · convatlas transfer</title>" in text
    assert convatlas("transfer", run, *flags, "--json") in (0, None)
    printed = capsys.readouterr()
    first, second = json.loads(printed.out)
    assert (first["layer"], first["channels"], second["channels"]) == ("stages.0", 16, 64)
    assert f"{100 * second['accuracy']:.1f} %" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either --layers or --methods"),
        (("--layers", "all", "--methods", "all"), "either --layers or --methods"),
        (("--layers", "all", "--epochs", "3"), "--epochs 3 belongs to --methods"),
        (("--methods", "all", "--html", "x.html"), "--html x.html belongs to --layers"),
        (("--layers", "stages.5"), "got 'stages.5'; did you mean stages."),
        (("--layers", ","), "got none: name some"),
        (("--methods", "probe,scratch"), "finetune-all, got probe: correct the list"),
        (("--methods", "all", "--epochs", "-2"), "epochs of 1 or more, got -2"),
        (("--methods", "all"), "--methods trains a network by name, got the run folder"),
        (("--layers", "all", "--html", "page.txt"), "--html expects a file that ends in .html"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_is_one_line(arguments, message, run, data, capsys):
    assert convatlas("transfer", run, "--data", data, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("convatlas: ")
    assert message in line


def _layers():
    return [
        ProbedLayer("stem", 8, 0.5, (0.4, 0.6), 0.45, (0.35, 0.55)),
        ProbedLayer("<b>&", 1280, 0.954, (0.922, 0.987), 0.6, (0.5, 0.7)),
    ]


def test_the_page_leads_with_the_best_layer_and_loads_nothing():
    page = transfer_html("net", "photos", _layers())
    lead = re.search(r'<p class="lead">(.*?)</p>', page)[1]
    assert "on &lt;b&gt;&amp; is right on 95.4 % of the held-out images (95 %: 92.2–98.7 %)" in lead
    assert lead.endswith("on the same layer of the untrained network, on 60.0 %.")
    assert "<b>&" not in page.replace("<b>&quot;", "").split("<script>")[0]
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", page)
    assert "default-src 'none'" in page


def test_bars_reach_from_one_bound_to_the_other():
    from convatlas.render.transfer import _chart

    trained, untrained = _chart(_layers()).data
    assert list(trained.y) == pytest.approx([50, 95.4])
    assert list(trained.error_y.array) == pytest.approx([10, 3.3])
    assert list(trained.error_y.arrayminus) == pytest.approx([10, 3.2])
    assert list(untrained.y) == pytest.approx([45, 60])
    assert {trained.marker.symbol, untrained.marker.symbol} == {"circle", "diamond"}


def test_methods_have_a_row_and_a_verdict_each(capsys):
    from rich.console import Console

    methods = [
        Method("scratch", "from-scratch", 12, 61.5, 0.6, (0.5, 0.7), "b is better than a."),
        Method("linear-probe", "linear-probe", 12, 3.25, 0.95, (0.92, 0.98), ""),
    ]
    Console(width=100).print(methods_table(methods, 100))
    text = capsys.readouterr().out
    assert "60.0 %" in text
    assert "92.0–98.0 %" in text
    assert verdict_lines(methods) == ["b is better than a."]
