"""An evaluation as tables, JSON and a page: every figure is there, and nothing is loaded."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from convatlas.pipeline.evaluation import EvaluationSettings, judge
from convatlas.render.evaluation import (
    evaluation_html,
    evaluation_notes,
    evaluation_tables,
    evaluation_to_json,
)
from convatlas.render.evaluation_figures import class_bars, reliability_plot
from convatlas.tasks.judged import EvaluationReport, Pair, Picture, PredictionSet
from convatlas.tasks.metrics import Predictions
from convatlas.tasks.paired import compare_predictions

SETTINGS = EvaluationSettings(resamples=100)


def network(name, seed, classes=7, skill=2.0):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (120,), generator=generator)
    logits = torch.randn(120, classes, generator=torch.Generator().manual_seed(seed))
    logits[torch.arange(120), labels] += skill
    names = tuple(f"class <{number}>" for number in range(classes))
    images = tuple(f"photo {number}.jpg" for number in range(120))
    given = Predictions(logits, labels, torch.arange(120))
    found = PredictionSet(name, given, names, images, "photos/val", "held out", "one view", "00")
    return judge(found, SETTINGS)


def report(*networks):
    first = networks[0]
    pairs = tuple(
        Pair(first.name, n.name, compare_predictions(first.found.predictions, n.found.predictions))
        for n in networks[1:]
    )
    return EvaluationReport(networks, pairs, ())


@pytest.fixture(scope="module")
def two():
    return report(network("alpha", 1), network("beta", 2, skill=4.0))


@pytest.fixture(scope="module")
def html(two):
    return evaluation_html(two)


def printed(table):
    from rich.console import Console

    console = Console(width=300)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


class _Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.ids = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if "id" in dict(attributes):
            self.ids.append(dict(attributes)["id"])

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_table_gives_every_figure_with_its_interval(two):
    (table,) = evaluation_tables(two, width=120)
    text = printed(table)
    for each in two.networks:
        found = each.evaluation
        low, high = found.accuracy_interval
        assert f"{100 * found.accuracy:.1f} %  {100 * low:.1f}–{100 * high:.1f} %" in text
        assert f"{found.loss_nats:.3f}" in text
        assert f"{each.calibration.brier_score:.3f}" in text
        assert f"{each.scaling.temperature:.2f}" in text


def test_networks_that_do_not_fit_get_a_table_of_their_own(two):
    assert len(evaluation_tables(two, width=45)) == 2
    widest = max(len(line.rstrip()) for line in
                 "".join(map(printed, evaluation_tables(two, width=45))).splitlines())  # fmt: skip
    assert widest <= 45


def test_figures_that_no_network_has_are_left_out():
    (table,) = evaluation_tables(report(network("few", 1, classes=3)), width=80)
    assert "top-5" not in printed(table)


def test_notes_begin_with_the_verdict(two):
    notes = evaluation_notes(two)
    assert notes[0] == two.pairs[0].verdict
    assert "120 images of photos/val: held out." in notes
    assert not any("Flattering" in note for note in notes)


def test_the_json_holds_what_the_report_holds(two):
    document = json.loads(evaluation_to_json(two))
    first = document["networks"][0]
    assert first["evaluation"]["accuracy"] == two.networks[0].evaluation.accuracy
    assert document["comparisons"][0]["p_value"] == two.pairs[0].result.p_value


def test_the_page_loads_nothing_and_escapes_names(html):
    page = _Page(html)
    assert "default-src 'none'" in html
    assert not page.all("link")
    assert not any("src" in attributes for attributes in page.all("script"))
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert "class <1>" not in html.split("<script", 1)[0]
    assert len(page.ids) == len(set(page.ids))


def test_every_figure_has_words_and_its_data(html):
    page = _Page(html)
    figures = [a for a in page.all("div") if "data-figure" in a]
    assert len(figures) == 2 * 3
    for attributes in figures:
        assert attributes["aria-label"]
        assert attributes["data-figure"] in page.ids


def test_every_link_of_the_contents_leads_somewhere(html):
    page = _Page(html)
    targets = [a["href"][1:] for a in page.all("a") if a["href"].startswith("#")]
    assert len(targets) >= 3
    assert set(targets) <= set(page.ids)


def test_the_headline_is_the_most_accurate_network(two, html):
    title = re.sub(r"<[^>]+>", "", re.search(r"<h1>(.*?)</h1>", html)[1])
    assert title == f"beta: {100 * two.networks[1].evaluation.accuracy:.1f} % right"


def test_mistakes_have_alternative_texts(two):
    from dataclasses import replace

    pixels = np.zeros((8, 8, 1), np.uint8)
    shown = replace(two.networks[0], pictures=(Picture(pixels, "photo 3.jpg", "ant", "bee", 0.97),))
    page = _Page(evaluation_html(EvaluationReport((shown,), (), ())))
    (image,) = page.all("img")
    assert image["alt"] == "Image of class ant, photo 3.jpg, taken for bee"
    assert image["class"] == "blocks"


def test_the_reliability_plot_shows_the_bins_that_have_images(two):
    each = two.networks[0]
    figure = reliability_plot(each.calibration.bins, each.scaling.calibration.bins)
    diagonal, before, after = figure.data
    assert (list(diagonal.x), list(diagonal.y)) == ([0, 100], [0, 100])
    filled = [row for row in each.calibration.bins if row.count]
    assert list(before.x) == pytest.approx([100 * row.confidence for row in filled])
    assert list(before.y) == pytest.approx([100 * row.accuracy for row in filled])
    sizes = dict(zip([row.count for row in filled], before.marker.size, strict=True))
    assert sorted(sizes.values()) == [sizes[count] for count in sorted(sizes)]
    assert before.cliponaxis is False  # a mark at 100 % is whole
    assert len(after.x) == len([row for row in each.scaling.calibration.bins if row.count])
    assert len(reliability_plot(each.calibration.bins, None).data) == 2


def test_the_weakest_class_is_on_top(two):
    each = two.networks[0]
    (bars,) = class_bars(each.evaluation.classes, each.found.classes).data
    assert list(bars.x) == sorted(bars.x)
    assert bars.x[0] == pytest.approx(100 * min(s.f1 for s in each.evaluation.classes))


def test_of_many_classes_the_weakest_are_shown():
    many = network("many", 3, classes=60)
    html = evaluation_html(report(many))
    assert "Of 60 classes, the 50 with the most mistakes are shown" in html
    (bars,) = class_bars(many.evaluation.classes, many.found.classes).data
    assert len(bars.x) == 50
