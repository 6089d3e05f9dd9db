"""Charts and drawings of a comparison: their figures are the catalogue's, their front is right."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from math import pi
from xml.etree import ElementTree as ET

import pytest
from PIL import Image

from convatlas.analysis.comparison import pareto_front
from convatlas.models.catalogue import list_entries
from convatlas.pipeline.comparison import compare
from convatlas.render.bubbles import bubbles_png, bubbles_svg
from convatlas.render.comparison import comparison_html, comparison_tables
from convatlas.render.comparison_figures import accuracy_bubbles, accuracy_latency, layer_bars

SVG = "{http://www.w3.org/2000/svg}"
PUBLISHED = [e for e in list_entries() if e.dataset == "ImageNet-1k" and e.top1 is not None]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


@pytest.fixture(scope="module")
def comparison():
    return compare(["alexnet", "squeezenet1_1", "lenet5"])


@pytest.fixture(scope="module")
def html(comparison):
    return comparison_html(comparison)


class _Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.open = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("table", "section", "details", "tbody", "fieldset"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("table", "section", "details", "tbody", "fieldset"):
            assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def _is_beaten(entry):
    return any(
        other.macs <= entry.macs
        and other.top1 >= entry.top1
        and (other.macs < entry.macs or other.top1 > entry.top1)
        for other in PUBLISHED
    )


def test_the_front_is_what_nobody_beats():
    front = pareto_front(PUBLISHED)
    assert {e.name for e in front} == {e.name for e in PUBLISHED if not _is_beaten(e)}
    assert [e.macs for e in front] == sorted(e.macs for e in front)


def test_equal_networks_are_on_the_front_together():
    entries = [e for e in PUBLISHED if e.name == "resnet50"] * 2
    assert len(pareto_front(entries)) == 2
    assert pareto_front([e for e in list_entries() if e.top1 is None]) == ()


def test_every_published_network_is_a_bubble_with_its_own_figures(comparison):
    figure = accuracy_bubbles(comparison)
    families = {e.family.name for e in PUBLISHED}
    traces = [t for t in figure.data if t.name in families]
    spots = {(x, y, s) for t in traces for x, y, s in zip(t.x, t.y, t.marker.size, strict=True)}
    assert spots == {(e.macs, e.top1, e.params) for e in PUBLISHED}
    words = " ".join(text for t in traces for text in t.hovertext)
    assert all(f"<b>{e.name}</b> ({e.year})" in words for e in PUBLISHED)
    assert figure.layout.xaxis.type == "log"


def test_only_compared_networks_with_an_imagenet_accuracy_are_named(comparison):
    (named,) = [t for t in accuracy_bubbles(comparison).data if t.name == "compared"]
    assert list(named.text) == ["<b>alexnet</b>", "<b>squeezenet1_1</b>"]


def test_nothing_is_named_when_none_is_published():
    figure = accuracy_bubbles(compare(["lenet5"]))
    assert "compared" not in {t.name for t in figure.data}


@pytest.mark.parametrize("measure", ["params", "macs", "activation_bytes"])
def test_layers_add_up_to_the_network(comparison, measure):
    for network in comparison.networks:
        (trace,) = layer_bars(network.layers, measure).data
        assert sum(trace.y) == getattr(network.cost, measure)


def test_alexnet_has_its_eight_layers_with_the_published_parameters(comparison):
    (trace,) = layer_bars(comparison.networks[0].layers, "params").data
    # weights and biases of Krizhevsky 2014, worked by hand
    convolutions = [64 * (3 * 121 + 1), 192 * (64 * 25 + 1), 384 * (192 * 9 + 1)]
    convolutions += [256 * (384 * 9 + 1), 256 * (256 * 9 + 1)]
    linear = [4096 * (9216 + 1), 4096 * (4096 + 1), 1000 * (4096 + 1)]
    assert list(trace.y) == convolutions + linear


def test_latency_stands_where_it_was_measured():
    networks = compare(["squeezenet1_1"], input_size=32, measure=True, runs=2).networks
    (trace,) = accuracy_latency(networks).data
    time = networks[0].latency
    assert list(trace.x) == [time.median_ms]
    assert time.low_ms <= time.median_ms <= time.high_ms
    assert list(trace.y) == [networks[0].entry.top1]


def test_every_chart_has_words_and_a_table(html):
    page = _Page(html)
    assert page.open == []
    charts = [a for a in page.all("div") if "data-figure" in a]
    assert len(charts) == 1 + 3 * 3
    assert all(a["role"] == "img" and "table below" in a["aria-label"] for a in charts)
    assert len(page.all("table")) == 3 + 3  # side by side, all, front; one per network
    assert len([a for a in page.all("tr") if "data-family" in a]) == len(PUBLISHED)
    assert len(page.all("h1")) == 1
    assert {a["value"] for a in page.all("input")} == {e.family.name for e in PUBLISHED}


def test_the_page_loads_nothing(html):
    page = _Page(html)
    assert all("src" not in a for a in page.all("script"))
    assert page.all("link") == []
    assert all(a["href"].startswith("#") for a in page.all("a"))
    (policy,) = [a for a in page.all("meta") if "http-equiv" in a]
    assert policy["content"].startswith("default-src 'none'")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_draws_in_a_browser_without_an_error_and_filters(html, tmp_path):
    click = '<script>document.querySelector("input[value=vgg]").click()</script></body>'
    page = html.replace("</body>", click) if html.count("</body>") == 1 else ""
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom"]
    result = subprocess.run(
        [CHROMIUM, *flags, (tmp_path / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert "CONSOLE" not in result.stderr
    assert result.stdout.count('<svg class="main-svg"') >= 1 + 3 * 3
    shown = [e for e in PUBLISHED if e.family.name == "vgg"]
    assert f"{len(shown)} of {len(PUBLISHED)} networks shown" in result.stdout


def test_areas_of_the_drawing_are_parameters(comparison):
    root = ET.fromstring(bubbles_svg(comparison))  # noqa: S314  # our own drawing
    radii = {}
    for circle in root.iter(f"{SVG}circle"):
        title = circle.find(f"{SVG}title")
        if title is not None and circle.get("class") != "front":
            radii[title.text.split(" (")[0]] = float(circle.get("r"))
    assert radii.keys() == {e.name for e in PUBLISHED}
    params = {e.name: e.params for e in PUBLISHED}
    areas = [pi * radii[name] ** 2 for name in ("convnext_large", "vgg16")]
    ratio = params["convnext_large"] / params["vgg16"]
    assert areas[0] / areas[1] == pytest.approx(ratio, rel=0.03)
    words = " ".join(e.text for e in root.iter(f"{SVG}text"))
    assert "alexnet" in words
    assert "Without a published top-1 accuracy on ImageNet-1k: lenet5." in words


def test_the_picture_is_twice_the_drawing_and_has_its_colours(comparison):
    root = ET.fromstring(bubbles_svg(comparison))  # noqa: S314  # our own drawing
    image = Image.open(io.BytesIO(bubbles_png(comparison)))
    assert image.size == tuple(2 * int(root.get(side)) for side in ("width", "height"))
    alexnet = next(c for c in root.iter(f"{SVG}circle") if "alexnet" in "".join(c.itertext()))
    red, green, blue = image.getpixel((2 * float(alexnet.get("cx")), 2 * float(alexnet.get("cy"))))
    assert blue > green > red  # the compared networks' blue over white


@pytest.mark.parametrize(("width", "tables"), [(80, 1), (46, 2)])
def test_tables_never_are_wider_than_the_terminal(width, tables):
    from rich.console import Console

    file = io.StringIO()
    console = Console(file=file, width=width)
    found = comparison_tables(compare(["squeezenet1_0", "squeezenet1_1"]), width)
    for table in found:
        console.print(table)
    assert len(found) == tables
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert not re.search(r"…|No room", file.getvalue())
