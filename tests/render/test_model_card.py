"""The model card as a reader of Markdown sees it: parsed, not searched for strings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from convatlas.errors import CheckpointError, OutputError
from convatlas.files import write_json
from convatlas.render.markdown import fenced, plain
from convatlas.render.model_card import write_model_card

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
SECTIONS = [  # Mitchell et al. 2019, section 4, in its order; then what a user needs
    *("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data"),
    *("Quantitative analyses", "Ethical considerations", "Caveats and recommendations"),
    *("Files", "How to use it", "How to reproduce it"),
]
NAMES = [
    *("*bold*", "_a_", "a|b", "[x](http://y)", "![x](y)", "`code`", "<b>", "&amp;", "~~s~~"),
    *("\\", "\\|", "# h", "größer 🐜", "$x$", "{{ 7*7 }}", "<!-- c -->", "</script>"),
]
EVIL = "*e*|<b>`"
SUPPORTS = (10, 40)


def evaluation() -> dict[str, Any]:
    """Two classes: 9 of 10 and 34 of 40 found."""
    return {
        "images": 50,
        "accuracy": 0.86,
        "accuracy_interval": [0.738, 0.930],
        "top5_accuracy": None,
        "top5_interval": None,
        "loss_nats": 0.25,
        "expected_calibration_error": 0.031,
        "macro_f1": 0.813,
        "classes": [
            {"label": 0, "precision": 0.6, "recall": 0.9, "f1": 0.72, "support": 10},
            {"label": 1, "precision": 0.971, "recall": 0.85, "f1": 0.907, "support": 40},
        ],
        "confusion_cells": [[0, 0, 9], [0, 1, 1], [1, 0, 6], [1, 1, 34]],
    }


def judged() -> dict[str, Any]:
    """Intervals and calibration as a run keeps them."""
    bounds = {"macro_f1": [0.7, 0.95], "loss_nats": [0.125, 0.5], "brier_score": [0.1, 0.2]}
    return {
        "evaluation": evaluation(),
        "intervals": {"resamples": 2000, "expected_calibration_error": [0.01, 0.06], **bounds},
        "calibration": {"brier_score": 0.15, "expected_calibration_error": 0.031},
    }


def files() -> dict[str, Any]:
    run = {
        "name": "photos-efficientnet_lite0",
        "command": "convatlas run --data photos",
        "created": "2026-11-21T09:14:03+00:00",
        "versions": {"convatlas": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        "machine": "x86_64, 2 threads",
        "seed": 7,
    }
    data = {
        "name": "photos",
        "origin": "a fifth held out",
        "classes": ["ants", EVIL],
        "counts": {"train": [40, 160], "validation": list(SUPPORTS)},
        "held_out_sha256": "ab12",
        "channels": 3,
        "image_size": {"smallest": [30, 40], "median": [300, 400.5], "largest": [900, 800]},
        "preprocessing": {"input_size": 224, "channels": 3, "resize_mode": "crop_padding"},
    }
    int8 = {
        "status": "accepted",
        "reason": "accuracy does not fall",
        "top1_agreement": 0.98,
        "bytes": 3_600_000,
        "fp32_bytes": 13_400_000,
        "latency_ms": 3.5,
        "fp32_latency_ms": 7.0,
    }
    parity = {
        "file": "model.onnx",
        "top1_agreement": 1.0,
        "images": 50,
        "max_probability_difference": 2e-6,
        "onnx_latency_ms": 6.5,
        "threads": 1,
        "int8": int8,
    }
    return {
        "run": run,
        "data": data,
        "choice": {"chosen": {"name": "efficientnet_lite0", "weights": "pypi"}},
        "metrics": {"evaluation": evaluation()},
        "cost": {"params": 3_373_570, "macs": 383_910_112, "is_lower_bound": False},
        "parity": parity,
    }


RECIPE = """
name = "finetune"
[training]
epochs = 12
batch_size = 32
seed = 7
keep = "last"
[optimizer]
name = "sgd"
lr = 0.005
[schedule]
name = "cosine"
[loss]
name = "cross-entropy"
[transfer]
freeze_epochs = 4
"""


class Card:
    """A model card in parts."""

    def __init__(self, text: str) -> None:
        tokens = MARKDOWN.parse(text)
        inline = [token for token in tokens if token.type == "inline"]
        self.words = " ".join(" ".join(shown(token).split()) for token in inline)
        self.headings = [
            shown(tokens[place + 1]) for place, t in enumerate(tokens) if t.tag == "h2" and opens(t)
        ]
        self.rows: list[list[str]] = []
        for place, token in enumerate(tokens):
            if token.type == "tr_open":
                self.rows.append([])
            if token.type in ("td_open", "th_open"):
                self.rows[-1].append(shown(tokens[place + 1]))
        self.blocks = [token.content for token in tokens if token.type == "fence"]
        self.html = [token for token in tokens if token.type == "html_block"]

    def row(self, name: str) -> list[str]:
        return next(row for row in self.rows if row[0] == name)


def opens(token: Any) -> bool:
    return token.nesting == 1


def shown(token: Any) -> str:
    """Return the text that a reader sees; markup other than code and links would be missing."""
    kinds = {"softbreak": " ", "strong_open": "", "strong_close": "", "link_open": ""}
    kinds |= {"link_close": ""}
    parts = []
    for child in token.children:
        known = child.type in ("text", "code_inline", "text_special")
        parts.append(child.content if known else kinds[child.type])
    return "".join(parts)


def write(folder: Path, **changed: Any) -> Path:
    folder.mkdir()
    for name, value in {**files(), **changed}.items():
        if value is not None:
            write_json(folder / f"{name}.json", value)
    epochs = [json.dumps({"kind": "epoch", "epoch": n}) for n in range(1, 13)]
    (folder / "metrics.jsonl").write_text("\n".join(epochs))
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def card_of(folder: Path) -> Card:
    return Card(write_model_card(folder).read_text(encoding="utf-8"))


@pytest.fixture
def card(tmp_path: Path) -> Card:
    folder = write(tmp_path / "run")
    (folder / "model.onnx").write_bytes(b"abc")
    (folder / "model.int8.onnx").write_bytes(b"")
    return card_of(folder)


def test_the_sections_of_the_paper(card: Card) -> None:
    assert card.headings == SECTIONS
    assert card.html == []


def test_what_it_is_and_where_it_comes_from(card: Card) -> None:
    assert card.row("network")[1] == "efficientnet_lite0 (Tan et al., 2019)"
    assert card.row("size")[1] == "3.37 M parameters, 383.91 M MACs per image"
    assert card.row("weights before")[1] == "pretrained, source pypi"
    assert "published under Apache-2.0;" in card.row("licence")[1]
    assert card.row("made")[1] == "2026-11-21, by convatlas 0.1.0, torch 2.13.0, Python 3.11.9"
    assert "ImageNet-1k" in card.words


def test_figures_with_their_intervals(card: Card) -> None:
    assert "right on 86.0 % (95 % interval 73.8–93.0 %) of 50 held-out images" in card.words
    assert card.row("accuracy") == ["accuracy", "86.0 %", "73.8–93.0 %"]
    assert card.row("ECE") == ["ECE", "3.1 %", "–"]
    assert card.row("ants") == ["ants", "60.0 %", "90.0 %", "72.0 %", "10", "40"]
    assert card.row(EVIL)[-2:] == ["40", "160"]
    mixed = [row for row in card.rows if len(row) == 4 and row[1] in ("ants", EVIL)]
    assert mixed == [[EVIL, "ants", "6", "15.0 %"], ["ants", EVIL, "1", "10.0 %"]]


def test_bootstrap_intervals_are_shown_where_there_are_any(tmp_path: Path) -> None:
    card = card_of(write(tmp_path / "run", metrics=judged()))
    assert card.row("macro F1") == ["macro F1", "81.3 %", "70.0–95.0 %"]
    assert card.row("Brier score") == ["Brier score", "0.150", "0.100–0.200"]
    assert "2,000 bootstrap draws" in card.words
    card = card_of(write(tmp_path / "other"))
    assert card.row("macro F1") == ["macro F1", "81.3 %", "–"]
    assert "bootstrap" not in card.words


def test_images_that_had_a_say(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    (folder / "recipe.toml").write_text(RECIPE.replace('"last"', '"best"'))
    words = card_of(folder).words
    assert "so the figures on them are a little flattering" in words
    assert "judge by others before relying on the figures" in words


def test_how_it_was_trained(card: Card) -> None:
    assert card.row("recipe")[1] == "finetune"
    assert card.row("epochs")[1] == "12 of 12"
    assert card.row("of them with a frozen backbone")[1] == "4"
    assert card.row("optimiser")[1] == "sgd"
    assert card.row("peak learning rate")[1] == "0.005"
    assert card.row("seed")[1] == "7"
    assert f"From 40 (ants) to 160 ({EVIL}) of a class" in card.words
    assert "They had no say in the training" in card.words


def test_limits_come_from_the_data(card: Card) -> None:
    assert f"Weakest on {EVIL}: 85.0 % of its 40 held-out images" in card.words
    assert "1 of 2 classes have fewer than 30 held-out images" in card.words
    assert f"The class {EVIL} has 4 times as many training images as ants" in card.words
    assert "30 × 40 px to 900 × 800 px (height × width, median 300 × 400.5 px)" in card.words


def test_files_with_their_digests(card: Card) -> None:
    # The digests of "abc" and of nothing, from FIPS 180-2 and its test vectors.
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert card.row("model.onnx")[1:3] == ["3", abc]
    assert card.row("model.int8.onnx")[1:3] == ["0", empty]
    assert "trained.json" not in {row[0] for row in card.rows}
    usage, command = card.blocks
    assert usage.splitlines()[-1] == "python predict.py photo.jpg --model model.int8.onnx"
    assert command == "convatlas run --data photos\n"


def test_the_8_bit_file(tmp_path: Path) -> None:
    words = card_of(write(tmp_path / "a")).words
    assert "accepted; accuracy does not fall. It agrees" in words
    assert "has 3.6 MB instead of 13.4 MB" in words
    assert "and takes 3.50 ms instead of 7.00 ms, measured in turn." in words
    failed = {"status": "failed", "reason": "no kernel", "file": None, "max_drop": 0.01}
    words = card_of(write(tmp_path / "b", parity={**files()["parity"], "int8": failed})).words
    assert "failed; no kernel." in words
    assert "There is no 8-bit file" in words


def test_only_what_is_known_is_said(tmp_path: Path) -> None:
    bare = dict.fromkeys(("data", "choice", "metrics", "cost", "parity"))
    settings = {"settings": {"model": "resnet18", "weights": None}}
    folder = write(tmp_path / "run", **{**bare, "run": {**files()["run"], **settings}})
    (folder / "recipe.toml").unlink()
    card = card_of(folder)
    assert card.headings == SECTIONS
    assert card.row("network")[1] == "resnet18 (He et al., 2015)"
    assert "none: trained from random numbers" in card.row("weights before")[1]
    assert "how well was not measured" in card.words


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("resnet18", "timm:fb_swsl_ig1b_ft_in1k", "CC-BY-NC-4.0, which forbids commercial use"),
        ("efficientnet_lite0", "file.pth", "not in the catalogue: look it up"),
        ("my_net", "file.pth", "not in the catalogue: look it up"),
    ],
)
def test_licences(name: str, source: str, words: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "run", choice={"chosen": {"name": name, "weights": source}})
    assert words in card_of(folder).row("licence")[1]


def test_names_are_shown_letter_by_letter() -> None:
    table = ["| a |", "|---|", *(f"| {plain(name)} |" for name in NAMES)]
    assert [row[0] for row in Card("\n".join(table)).rows[1:]] == NAMES
    inside = " and ".join(plain(name) for name in NAMES)
    assert Card(f"names {inside}").words == f"names {' and '.join(NAMES)}"


def test_what_is_no_line_becomes_one() -> None:
    assert plain("a\nb\r\n c") == "a b c"
    assert plain("a\x1b[31m") == "a?\\[31m"
    assert plain(" \n") == "(no name)"
    assert plain("a\udcff") == "a?"


def test_code_cannot_leave_its_block() -> None:
    assert Card(str(fenced("a\n````\nb"))).blocks == ["a\n````\nb\n"]


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"run\.json"):
        write_model_card(tmp_path)
    damaged = write(tmp_path / "run", metrics={"evaluation": {"images": 1}})
    with pytest.raises(CheckpointError, match="repeat the run"):
        write_model_card(damaged)
    folder = write(tmp_path / "other")
    (folder / "model-card.md").mkdir()
    with pytest.raises(OutputError):
        write_model_card(folder)
