"""The report as a browser and a screen reader meet it: parsed, not searched for strings."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from convatlas.errors import CheckpointError, OutputError
from convatlas.render.report import write_report

EVIL = '</script><img src=x onerror="alert(1)"> & “猫” {{ 7*7 }} $x$'
CLASSES = ["zero", EVIL, "two"]
CONFUSION = [[9, 1, 0], [3, 7, 0], [0, 0, 10]]
OPTIONAL = ("data", "choice", "metrics", "cost", "explain", "parity")
VOID = {"meta", "img", "br", "wbr", "rect", "hr", "link", "input"}


def _evaluation():
    classes = [
        {"label": 0, "precision": 0.75, "recall": 0.9, "f1": 0.818, "support": 10},
        {"label": 1, "precision": 0.875, "recall": 0.7, "f1": 0.778, "support": 10},
        {"label": 2, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 10},
    ]
    return {
        "images": 30,
        "accuracy": 26 / 30,
        "accuracy_interval": [0.703, 0.947],
        "top5_accuracy": None,
        "loss_nats": 0.41,
        "expected_calibration_error": 0.05,
        "macro_f1": 0.865,
        "classes": classes,
        "confusion": CONFUSION,
        "mistakes": [],
    }


def _candidate(name, kept):
    return {
        "name": name,
        "params": 269_722,
        "macs": 40_551_040,
        "top1": 91.25 if kept else None,
        "latency_ms": None,
        "kept": kept,
        "reason": "within the budget" if kept else "made for <photos>",
        "weights": None,
        "options": {},
    }


def _layer(name, field):
    return {
        "name": name,
        "operator": "conv2d",
        "output_shape": [1, 16, 8, 8],
        "params": 432,
        "macs": 27_648,
        "flops": 55_296,
        "activation_bytes": 4_096,
        "receptive_field": field,
    }


def _cost():
    totals = {"params": 864, "macs": 55_296, "flops": 110_592, "activation_bytes": 8_192}
    stages = [
        {"name": name, "params": 432, "macs": 27_648, "activation_bytes": 4_096}
        for name in ("stem", "head")
    ]
    return {
        **totals,
        "is_lower_bound": True,
        "uncounted": [{"operator": "grid_sample", "count": 2}],
        "layers": [_layer("stem.conv", 3), _layer("head.conv", None)],
        "stages": stages,
    }


def _parity(**changed):
    return {
        "images": 30,
        "max_logit_difference": 5.7e-6,
        "max_relative_difference": 4.1e-7,
        "max_probability_difference": 2.4e-7,
        "top1_agreement": 1.0,
        "disagreements": 0,
        "preprocessing_difference": 0.0,
        "end_to_end_difference": 2.4e-7,
        "torch_accuracy": 26 / 30,
        "onnx_accuracy": 26 / 30,
        "torch_latency_ms": 12.31,
        "onnx_latency_ms": 4.07,
        "threads": 2,
        "file_bytes": 1_089_432,
        "passed": True,
        "file": "model.onnx",
        "opset": 18,
        "bytes": 1_089_432,
        **changed,
    }


def _data():
    return {
        "name": "digits & more",
        "origin": "somewhere",
        "classes": CLASSES,
        "counts": {"train": [40, 41, 42], "validation": [10, 10, 10]},
        "channels": 1,
        "image_size": {"smallest": [8, 8], "median": [8, 8.5], "largest": [9, 12]},
        "preprocessing": {
            "input_size": 8,
            "channels": 1,
            "mean": [0.3],
            "std": [0.4],
            "interpolation": "bilinear",
            "resize_mode": "stretch",
            "crop_fraction": 0.875,
        },
    }


def _pictures(folder):
    (folder / "images").mkdir()
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(folder / "images" / "a.png")
    Image.fromarray(np.stack([pixels] * 3, -1)).save(folder / "images" / "a-cam.png")
    base = {"image": "images/a.png", "overlay": "images/a-cam.png", "confidence": 0.97}
    return {
        "stage": "stages.2",
        "pictures": [
            {**base, "kind": "mistake", "true": EVIL, "predicted": "zero", "source": "a\udcff.png"},
            {**base, "kind": "right", "true": "two", "predicted": "two", "source": "#2"},
        ],
    }


def _write(folder, name, value):
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def write_run(folder):
    folder.mkdir()
    run = {
        "name": "digits-cifar_resnet20",
        "command": "convatlas run --data digits",
        "created": "2026-11-21T09:14:03+00:00",
        "versions": {"convatlas": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        "machine": "x86_64, 2 threads",
        "seed": 0,
        "seconds": {"train": 143.2, "export": 7.9},
    }
    choice = {
        "budget": {"max_macs": 3e8, "max_params": None, "max_latency_ms": None},
        "input_size": 8,
        "chosen": _candidate("cifar_resnet20", True),
        "reason": "cifar_resnet20 has the fewest multiply-accumulates.",
        "candidates": [_candidate("cifar_resnet20", True), _candidate("resnet50", False)],
    }
    scratch = {"accuracy": 0.5, "accuracy_interval": [0.33, 0.66]}
    epochs = [
        {"kind": "epoch", "epoch": n, "train_loss": 1 / n, "validation_accuracy": 1 - 0.5 / n}
        for n in (1, 2, 3)
    ]
    _write(folder, "run.json", run)
    _write(folder, "data.json", _data())
    _write(folder, "choice.json", choice)
    metrics = {"evaluation": _evaluation(), "best_epoch": 3, "epochs": 3, "scratch": scratch}
    _write(folder, "metrics.json", metrics)
    _write(folder, "cost.json", _cost())
    _write(folder, "explain.json", _pictures(folder))
    _write(folder, "parity.json", _parity())
    lines = [json.dumps(line) + "\n" for line in ({"kind": "step", "step": 1}, *epochs)]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


class Page(HTMLParser):
    """Elements with their attributes and text; checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.headings = [], [], []
        self.words, self.first_words = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)
        if "header" in self.open:
            self.first_words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    @property
    def first_screen(self):
        return " ".join("".join(self.first_words).split())

    @property
    def sections(self):
        return [attributes["id"] for attributes in self.all("section")]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    path = write_report(write_run(tmp_path_factory.mktemp("runs") / "run"))
    assert path.name == "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("convatlas.render.report.plotly_script", lambda: "")  # 5 MB less to parse
    return write_run(tmp_path / "run")


def _page_of(folder):
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_nothing_is_loaded_from_anywhere(page, html):
    for _, attributes in page.elements:
        assert not attributes.get("src", "data:").startswith(("http", "//", "file"))
        assert attributes.get("href", "#").startswith("#")
        assert "srcset" not in attributes
    assert page.all("link") == page.all("iframe") == page.all("object") == []
    assert all("src" not in script for script in page.all("script"))
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    policies = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policies[0].startswith("default-src 'none'; img-src data:;")
    assert "http" not in policies[0]


def test_plotly_stands_in_the_page_once(html):
    assert len(re.findall(r"\* plotly\.js v", html)) == 1


def test_every_figure_has_its_data_and_a_description(page, html):
    figures = [a for a in page.all("div") if "data-figure" in a]
    assert len(figures) == 1 + 2 + 1 + 3  # balance, loss and accuracy, matrix, three by stage
    for figure in figures:
        assert figure["role"] == "img"
        assert len(figure["aria-label"]) > 20
        pattern = rf'<script type="application/json" id="{figure["data-figure"]}">(.*?)</script>'
        (data,) = re.findall(pattern, html, re.DOTALL)
        assert json.loads(data)["data"]


def test_every_picture_says_what_it_shows(page):
    pictures = page.all("img")
    assert len(pictures) == 4
    for picture in pictures:
        assert picture["src"].startswith("data:image/png;base64,")
        assert len(picture["alt"]) > 20
        assert (picture["width"], picture["height"]) == ("160", "160")
    assert EVIL in pictures[0]["alt"]
    assert "heat map of the evidence for zero" in pictures[1]["alt"]


def test_headings_descend_one_level_at_a_time(page):
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    for before, after in zip(page.headings, page.headings[1:], strict=False):
        assert after <= before + 1


def test_names_and_links_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids
        assert attributes.get("href", "#" + ids[0])[1:] in ids
    for attributes in page.all("div"):
        if "scroll" in attributes.get("class", "").split():
            assert attributes["tabindex"] == "0"  # a keyboard can scroll it
            assert attributes["aria-label"]
    assert page.all("html")[0]["lang"] == "en"


def test_names_are_text_and_never_markup(page, html):
    assert EVIL in page.text
    assert "7*7" in page.text
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert "<img src=x" not in html
    assert "<photos>" in page.text
    assert "a\\udcff.png" in page.text


def test_data_for_scripts_cannot_end_the_script(page, html):
    blocks = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert len(blocks) == 1 + 7  # the palettes and every figure
    assert any("\\u003cbr>" in block for block in blocks)
    assert all("<" not in block for block in blocks)


def test_the_first_screen_answers_the_questions(page):
    for answer in (
        "cifar_resnet20 on digits & more",
        "26 of 30 held-out images classified right: 86.7 %, 95 % interval 70.3–94.7 %.",
        "Always answering “zero” would give 33.3 %.",
        "He et al., 2015.",
        "864 parameters",
        "MACs, at least55.30 k",
        "ONNX file1.1 MB",
        "4.07 ms ONNX Runtime",
        "PyTorch12.3 ms",
        "taken for zero",
        "3 of 10 images of",
        "4 mistakes in all",
        "Yes, it agrees",
        "100 % of 30 held-out images; probabilities differ by at most 2.4 × 10⁻⁷",
    ):
        assert answer in page.first_screen


def test_the_sections_tell_their_numbers(page):
    assert page.sections == [
        "choice",
        "dataset",
        "training",
        "evaluation",
        "mistakes",
        "right",
        "cost",
        "scratch",
        "export",
        "reproduce",
    ]
    for words in (
        "at most 300 M MACs per image, no limit on parameters, no limit on latency",
        "153 images in 3 classes: 123 for train, 30 for validation",
        "from 50 images of zero to 52 of two",
        "resize the whole image to 8 × 8 px (bilinear)",
        "The weights of epoch 3 were kept.",
        "picked by its accuracy on these same images",
        "at least 55.30 k MACs (at least 110.59 k FLOPs)",
        "Not counted, because no formula is known: grid_sample (2×).",
        "36.7 percentage points better than",
        "the intervals do not overlap",
        "2026-11-21 09:14 UTC",
        "train 2 min 23 s, export 7.90 s",
        "1 MAC = one multiply and one add; 1 FLOP = one operation",
    ):
        assert words in page.text


@pytest.mark.parametrize("missing", OPTIONAL)
def test_a_section_without_its_file_is_left_out(folder, missing):
    (folder / f"{missing}.json").unlink()
    page = _page_of(folder)
    gone = {
        "data": {"dataset"},
        "choice": {"choice"},
        "metrics": {"evaluation", "scratch"},
        "cost": {"cost"},
        "explain": {"mistakes", "right"},
        "parity": {"export"},
    }[missing]
    assert gone.isdisjoint(page.sections)
    assert len(page.sections) == 10 - len(gone)


def test_a_run_with_nothing_else_still_has_a_page(folder):
    for path in [*folder.glob("*.json"), folder / "metrics.jsonl"]:
        if path.name != "run.json":
            path.unlink()
    page = _page_of(folder)
    assert page.sections == ["reproduce"]
    assert page.all("script") == []


def test_epochs_as_the_training_loop_writes_them(folder):
    lines = [
        {
            "kind": "epoch",
            "epoch": n,
            "loss": 2.0 / n,
            "lr": 0.1,
            "metrics": {"accuracy": 0.5, "loss_nats": 1.5},
        }
        for n in (1, 2)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"kind": "epo', encoding="utf-8")
    text = _page_of(folder).text
    assert "2 epochs" in text
    assert "Train loss (nats)Validation loss (nats)Validation accuracyLearning rate" in text
    assert "121.550.0 %0.1" in text  # epoch 1, loss 2, 1.5, accuracy, learning rate


def test_an_export_that_disagrees_is_no_good_news(folder):
    changed = {"passed": False, "max_probability_difference": float("inf"), "disagreements": 3}
    _write(folder, "parity.json", _parity(**changed))
    text = _page_of(folder).text
    assert "No, it disagrees" in text
    assert "differ by at most infinite" in text
    assert "Do not ship model.onnx" in text
    assert "Yes, it agrees" not in text


def test_no_mistakes_are_said_to_be_none(folder):
    evaluation = {**_evaluation(), "confusion": [[10, 0, 0], [0, 10, 0], [0, 0, 10]]}
    evaluation |= {"accuracy": 1.0, "accuracy_interval": [0.886, 1.0]}
    _write(folder, "metrics.json", {"evaluation": evaluation, "scratch": None})
    text = _page_of(folder).text
    assert "30 of 30 held-out images classified right: 100 %" in text
    assert "No mistake on the held-out images." in text


def test_many_classes_show_the_most_confused_fifty(folder):
    count = 60
    confusion = [[5 if row == column else 0 for column in range(count)] for row in range(count)]
    confusion[58][59] = 4
    classes = [
        {"label": n, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": sum(confusion[n])}
        for n in range(count)
    ]
    evaluation = {**_evaluation(), "classes": classes, "confusion": confusion}
    _write(folder, "metrics.json", {"evaluation": evaluation, "scratch": None})
    names = [f"class {n}" for n in range(count)]
    counts = {"train": [9] * count, "validation": [5] * count}
    _write(folder, "data.json", {**_data(), "classes": names, "counts": counts})
    html = write_report(folder).read_text(encoding="utf-8")
    (data,) = re.findall(r'id="confusion-data">(.*?)</script>', html)
    ticks = json.loads(data)["layout"]["xaxis"]["ticktext"]
    assert len(ticks) == 50
    assert ticks[-2:] == ["class 58", "class 59"]
    assert "Of 60 classes, the 50 with the most mistakes are shown." in html


def test_a_picture_that_is_gone_leaves_a_word(folder):
    (folder / "images" / "a.png").unlink()
    page = _page_of(folder)
    assert len(page.all("img")) == 2
    assert page.text.count("The picture cannot be read") == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", None, "run.json"),
        ("run.json", "{", "run.json"),
        ("run.json", "{}", "'name'"),
        ("data.json", "[]", "expected a JSON object, got list"),
        ("metrics.json", '{"evaluation": {}}', "'confusion'"),
        ("cost.json", "{}", "'macs'"),
        ("cost.json", "\udcff", "cost.json"),
        ("parity.json", "{}", "is missing"),
        ("explain.json", '{"pictures": [{}]}', "'kind'"),
        ("choice.json", '{"chosen": 3}', "choice.json"),
    ],
)
def test_damaged_files_are_named_in_one_line(folder, name, content, message):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert not (folder / "report.html").exists()


def test_no_such_folder(tmp_path):
    with pytest.raises(CheckpointError, match="pass the folder"):
        write_report(tmp_path / "nowhere")


def test_the_page_is_replaced_whole_or_not_at_all(folder, monkeypatch):
    (folder / "report.html").write_text("the old page", encoding="utf-8")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OutputError, match="No space left"):
        write_report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == "the old page"
