"""The report as a browser and a screen reader meet it: parsed, not searched for strings."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from convatlas.errors import CheckpointError, OutputError
from convatlas.render.report import write_report
from finished_run import (
    EVIL,
    OPTIONAL,
    data,
    evaluation,
    parity,
    write_json,
    write_run,
)

SECTIONS = [
    *("trust", "evaluation", "calibration", "mistakes", "right", "sight", "choice", "dataset"),
    *("training", "plan", "scratch", "cost", "export", "reproduce"),
]
VOID = {"meta", "img", "br", "wbr", "rect", "hr", "link", "input"}


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
    assert (
        len(figures) == 1 + 2 + 2 + 3
    )  # balance, loss and accuracy, matrix and reliability, by stage
    for figure in figures:
        assert figure["role"] == "img"
        assert len(figure["aria-label"]) > 20
        pattern = rf'<script type="application/json" id="{figure["data-figure"]}">(.*?)</script>'
        (drawn,) = re.findall(pattern, html, re.DOTALL)
        assert json.loads(drawn)["data"]


def test_every_picture_says_what_it_shows(page):
    pictures = page.all("img")
    assert len(pictures) == 4 + 2  # two cases with their heat maps, filters, field
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
            assert attributes.get("aria-label") or attributes["aria-labelledby"]
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
    assert len(blocks) == 1 + 8  # the palettes and every figure
    assert any("\\u003cbr>" in block for block in blocks)
    assert all("<" not in block for block in blocks)


def test_the_first_screen_answers_the_questions(page):
    for answer in (
        "cifar_resnet20 on digits & more",
        "26 of 30 held-out images classified right: 86.7 %, 95 % interval 70.3–94.7 %.",
        "95 % interval 70.3–94.7 %. Always “zero”: 33.3 %.",
        "He et al., 2015.",
        "864 parameters",
        "MACs, at least55.30 k",
        "ONNX file1.1 MB",
        "4.07 ms per image",
        "ONNX file, int8301.0 kB",
        "ONNX, int81.52 ms",
        "ONNX, in turn with int84.05 ms",  # not the 4.07 ms beside PyTorch, measured apart
        "PyTorch12.3 ms",
        "taken for zero",
        "3 of 10 images of",
        "4 mistakes in all",
        "No, not yet 2 of 5 checks hold",
        "Holds: Better than guessing: 86.7 % against 33.3 % for always answering “zero”",
        "Fails: Enough held-out images: 30, accuracy known to ± 12.2 points",
        "With care: Images that decided nothing: they decided which epoch was kept",
        "With care: Confidence can be believed: confidence is off by 6.7 points on average (ECE)",
        "Holds: Exported file agrees: same answer on 100 % of 30 held-out images",
    ):
        assert answer in page.first_screen


def test_the_sections_tell_their_numbers(page):
    assert page.sections == SECTIONS
    for words in (
        "Budget: MACs at most 300 M; published top-1 accuracy at least 70.0 %.",
        "cifar_resnet32, +1.2 points for 1.7x the MACs",
        "Too few images to train a deeper network from scratch.",
        "≈ 3.20 ms",
        "about 720 held-out images would narrow it to 5",
        "were calibration perfect, so many images would still show 6.4 %",
        "given with 86.7 % confidence on average, and 86.7 % of them were right.",
        "The two are 6.7 points apart on average over the bins below",
        "60–80 %1070.0 %60.0 %",
        "49 × 49 px (theoretical receptive field, more than the whole input of 8 × 8 px)",
        "The 200 filters of stem.conv, 3 × 3 px, on grey images",
        "the first 128 are shown",
        "Accepted: accuracy does not fall.",
        "python predict.py photo.jpg",
        "about 2 min 59 s, with the evaluation after each epoch. It took 2 min 23 s, 20 % less.",
        "The recipe’s batch of 32 did not fit into 60.0 MB: it was 16",
        "Of the recipe’s 30 epochs, 3 were planned, to end within 5 min",
        "Peak memory of a step51.2 MBnot measured",
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
        "metrics": {"evaluation", "calibration", "scratch"},
        "cost": {"cost"},
        "explain": {"mistakes", "right", "sight"},
        "parity": {"export"},
        "plan": {"plan"},
    }[missing]
    assert gone.isdisjoint(page.sections)
    assert page.sections == [name for name in SECTIONS if name not in gone]


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
    write_json(folder, "parity.json", parity(**changed))
    text = _page_of(folder).text
    assert "No, not yet" in text
    assert "Fails: Exported file agrees" in text
    assert "differ by at most infinite" in text
    assert "Do not ship model.onnx" in text


def test_a_comparison_that_proves_nothing_is_said_to_be_that(folder):
    changed = {"passed": False, "conclusive": False, "max_relative_difference": None}
    write_json(folder, "parity.json", parity(**changed))
    text = _page_of(folder).text
    assert "With care: Exported file agrees: not conclusive" in text
    assert "Not conclusive: the network gives all held-out images the same logits" in text
    assert "Do not ship" not in text


def test_no_mistakes_are_said_to_be_none(folder):
    found = {**evaluation(), "confusion_cells": [[n, n, 10] for n in range(3)]}
    found |= {"accuracy": 1.0, "accuracy_interval": [0.886, 1.0]}
    write_json(folder, "metrics.json", {"evaluation": found, "scratch": None})
    text = _page_of(folder).text
    assert "30 of 30 held-out images classified right: 100 %" in text
    assert "No mistake on the held-out images." in text


def test_many_classes_show_the_most_confused_fifty(folder):
    count = 60
    cells = [*([n, n, 5] for n in range(count)), [58, 59, 4]]
    classes = [
        {"label": n, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 9 if n == 58 else 5}
        for n in range(count)
    ]
    found = {**evaluation(), "classes": classes, "confusion_cells": cells}
    write_json(folder, "metrics.json", {"evaluation": found, "scratch": None})
    names = [f"class {n}" for n in range(count)]
    counts = {"train": [9] * count, "validation": [5] * count}
    write_json(folder, "data.json", {**data(), "classes": names, "counts": counts})
    html = write_report(folder).read_text(encoding="utf-8")
    (drawn,) = re.findall(r'id="confusion-data">(.*?)</script>', html)
    ticks = json.loads(drawn)["layout"]["xaxis"]["ticktext"]
    assert len(ticks) == 50
    assert ticks[-2:] == ["class 58", "class 59"]
    assert "Of 60 classes, the 50 with the most mistakes are shown." in html


def test_a_picture_that_is_gone_leaves_a_word(folder):
    (folder / "images" / "a.png").unlink()
    page = _page_of(folder)
    assert len(page.all("img")) == 2 + 2  # the heat maps, filters and field
    assert page.text.count("The picture cannot be read") == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", None, "run.json"),
        ("run.json", "{", "run.json"),
        ("run.json", "{}", "'name'"),
        ("data.json", "[]", "expected a JSON object, got list"),
        ("metrics.json", '{"evaluation": {}}', "'confusion_cells'"),
        ("cost.json", "{}", "'macs'"),
        ("cost.json", "\udcff", "cost.json"),
        ("parity.json", "{}", "'passed' in"),
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
