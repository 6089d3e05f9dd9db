"""A described data set in the terminal, as JSON, as a page and as a contact sheet."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from convatlas.data.description import DataReport, Picture
from convatlas.data.duplicates import Group, Leak, Member
from convatlas.data.inspection import BadFile, SplitFacts
from convatlas.data.statistics import Extent
from convatlas.render.contact_sheet import contact_sheet_png
from convatlas.render.data_page import data_html
from convatlas.render.data_tables import data_lists, data_tables, data_to_json, findings

EVIL = '<script>alert("1")</script>&{{ 7*7 }}'
VOID = {"meta", "img", "br", "wbr", "hr", "link", "input"}


def split(name, counts, bad=()):
    return SplitFacts(
        name=name,
        images=sum(counts.values()),
        looked_at=sum(counts.values()),
        per_class=counts,
        bad=tuple(bad),
        channels={1: 2, 3: 7},
        formats={"JPEG": 8, "PNG": 1},
        profiles=2,
        height=Extent(40, 300.5, 1000),
        width=Extent(64, 64, 64),
        aspect=(0.5, 1.25, 2.0),
        commonest_size=(480, 640),
        commonest_share=0.75,
        mean=(0.1, 0.25, 0.5),
        std=(0.2, 0.3, 0.4),
    )


def picture(label, name="1.jpg", colour=(200, 30, 30), size=(12, 20)):
    pixels = np.full((*size, 3), colour, dtype=np.uint8)
    return Picture("train", name, label, pixels)


def a_report():
    member = Member("train", 0, "cat/1.jpg", "cat", b"a")
    twin = replace(member, split="val", name=f"{EVIL}.jpg", label=EVIL)
    return DataReport(
        name="pets",
        origin="the folders train/ and val/",
        splits=(
            split("train", {"cat": 6, EVIL: 60}, [BadFile("cat/x.jpg", "the file is empty")]),
            split("val", {"cat": 2, EVIL: 30}),
        ),
        groups=(Group("same pixels", (member, twin)),),
        leak=Leak(1, 1),
        unrecognised=3,
        sheet={"cat": (picture("cat"), picture("cat", "2.jpg")), EVIL: (picture(EVIL),)},
        group_pictures=((picture("cat"), picture(EVIL)),),
    )


@pytest.fixture
def report():
    return a_report()


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.images, self.tags, self.words, self.open, self.links, self.ids = [], [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag == "a" else []
        self.images += [values] if tag == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_leak_is_the_first_sentence_and_asks_for_action(report):
    found = findings(report)
    assert [each.kind for each in found] == ["bad"] * 4 + ["note"] * 3
    assert found[0].text.startswith(
        "1 of 32 images of val also occurs in train (1 with the same pixels)"
    )
    assert "has more than one label" in found[1].text
    assert found[2].text == "1 file cannot be decoded."
    assert "from 8 of cat to 90 of" in found[3].text  # 11 times: worth a warning
    assert "11.2 to 1" in found[3].text


def test_nothing_found_is_said_too(report):
    clean = replace(report, groups=(), leak=Leak(0, 0), group_pictures=(), unrecognised=0)
    assert findings(clean)[0].text == "No image of val also occurs in train."
    small = replace(clean, unrecognised=3)  # others may look alike all the same
    assert findings(small)[0].text == "No image of val has the pixels of one in train."
    assert findings(clean)[0].kind == "good"
    sampled = replace(clean, splits=(replace(clean.splits[0], looked_at=8), clean.splits[1]))
    assert findings(sampled)[0].text.endswith("in train, as far as 40 images tell.")


def test_a_leak_by_looks_alone(report):
    assert "(2 by their looks)" in findings(replace(report, leak=Leak(2, 0)))[0].text
    both = findings(replace(report, leak=Leak(3, 2)))[0].text
    assert "(2 with the same pixels, 1 by its looks)" in both


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_and_hold_the_figures(report, width):
    console = Console(file=io.StringIO(), width=width)
    for table in data_tables(report, width):
        console.print(table)
    printed = console.file.getvalue()
    assert max(map(len, printed.splitlines())) <= width
    rows = [line.split() for line in printed.splitlines()]
    assert ["cat", "6", "2", "8.2", "%"] in rows
    for words in ("300.5 px (40–1,000)", "480 × 640 px, 75.0 %", "0.100 0.250 0.500", "1.25"):
        assert words in printed


def test_a_thousand_classes_are_cut_in_the_terminal(report):
    counts = {f"class {i}": i + 1 for i in range(1000)}
    many = replace(report, splits=(split("train", counts), split("val", counts)))
    console = Console(file=io.StringIO(), width=100)
    for table in data_tables(many, 100):
        console.print(table)
    printed = console.file.getvalue()
    assert "960 classes between them are left out" in " ".join(printed.split())
    assert "class 999 " in printed
    assert "class 0 " in printed
    assert "class 500 " not in printed


def test_files_and_groups_are_named_up_to_ten(report):
    bad = [BadFile(f"{i}.jpg", "the file is empty") for i in range(12)]
    groups = report.groups * 13
    lines = list(
        data_lists(
            replace(
                report, splits=(split("train", {"cat": 20}, bad), report.splits[1]), groups=groups
            )
        )
    )
    assert lines[0] == "Cannot be decoded:"
    assert lines[1] == "  train: 0.jpg – the file is empty"
    assert lines[11].startswith("  … and 2 more;")
    assert lines[13].startswith(
        "  same pixels, in several splits, 2 labels: train: cat/1.jpg; val:"
    )
    assert lines[-1].startswith("  … and 3 more groups;")


def test_json_holds_everything_but_pictures(report):
    values = json.loads(data_to_json(report))
    assert values["per_class"] == {"cat": 8, EVIL: 90}
    assert values["imbalance"] == 90 / 8
    assert values["leak"] == {"images": 1, "same_pixels": 1, "of": "val", "in": "train"}
    assert values["splits"][0]["bad"] == [{"name": "cat/x.jpg", "reason": "the file is empty"}]
    assert values["splits"][0]["height_px"] == {"smallest": 40, "median": 300.5, "largest": 1000}
    assert values["groups"][0]["members"][1] == {
        "split": "val",
        "name": f"{EVIL}.jpg",
        "class": EVIL,
    }


def test_the_page_is_whole_and_loads_nothing(report):
    text = data_html(report)
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert len(page.images) == 5
    assert all(image["src"].startswith("data:image/") for image in page.images)
    assert page.images[0]["alt"] == "cat: 1.jpg, from train"
    assert {link[1:] for link in page.links} <= set(page.ids)
    words = "".join(page.words)
    assert "1 of 32 images of val also occurs in train" in words
    assert "the file is empty" in words
    assert EVIL in words
    assert "prefers-color-scheme: dark" in text


def test_sections_without_content_are_left_out(report):
    quiet = (replace(report.splits[0], bad=()), report.splits[1])
    clean = replace(report, splits=quiet, groups=(), leak=Leak(0, 0), group_pictures=())
    page = Page(data_html(clean))
    assert {"sheet", "classes", "facts"} <= set(page.ids)
    assert {"repeats", "bad"}.isdisjoint(page.ids)


def test_the_sheet_has_every_picture_in_its_colour(report):
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    sheet = {
        "red": (picture("red", colour=colours[0]),),
        "green": (picture("green", colour=colours[1], size=(200, 100)),),
        "blue": (picture("blue", colour=colours[2], size=(3, 3)),),
    }
    drawn = Image.open(io.BytesIO(contact_sheet_png(replace(report, sheet=sheet))))
    assert drawn.format == "PNG"
    pixels = np.asarray(drawn)
    for colour, area in zip(colours, [86 * 144, 144 * 72, 144 * 144], strict=True):
        assert (pixels == colour).all(axis=-1).sum() == pytest.approx(area, rel=0.02)


def test_many_classes_lie_side_by_side(report):
    sheet = {f"a rather long name of class {i}": (picture("x"),) for i in range(240)}
    drawn = Image.open(io.BytesIO(contact_sheet_png(replace(report, sheet=sheet))))
    assert drawn.width < 2000
    assert drawn.height < 4000
