"""The page of a choice: its sliders change what fits, and it says so; nothing is loaded."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from convatlas.cli.numbers import parse_count
from convatlas.models.catalogue import list_entries
from convatlas.render.choice_page import _written, choice_html
from convatlas.render.limits import SHOWN
from convatlas.search.budget import Budget
from convatlas.search.candidate import Task
from convatlas.search.choose import choose
from convatlas.search.figures import Figure
from made_candidates import made

PUBLISHED = [e for e in list_entries(min_top1=0) if e.dataset == "ImageNet-1k"]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def choice():
    return choose(Budget(max_macs=300e6, min_top1=60))


@pytest.fixture(scope="module")
def html(choice):
    return choice_html(choice)


class _Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def _model(html):
    text = re.search(r'<script type="application/json" id="model">(.*?)</script>', html, re.DOTALL)
    return json.loads(text[1])


def _slider(html, figure):
    sliders = _model(html)["sliders"]
    place = next(i for i, slider in enumerate(sliders) if slider["figure"] == figure)
    return place, sliders[place]


@pytest.fixture
def browsed(tmp_path):
    """Return a function that opens a page, runs a script in it, and returns what it reported."""

    def browse(html, script):
        report = (
            f"<script>addEventListener('load', () => setTimeout(() => {{ {script} "
            "setTimeout(() => { const pre = document.createElement('pre'); pre.id = 'told'; "
            "pre.textContent = JSON.stringify(tell()); document.body.append(pre); }, 500); }, 50));"
            "</script></body>"
        )
        page = tmp_path / "page.html"
        page.write_text(html.replace("</body>", report), encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
        flags += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
        result = subprocess.run(
            [CHROMIUM, *flags, "--dump-dom", page.as_uri()],
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert "CONSOLE" not in result.stderr, result.stderr
        text = re.search(r'<pre id="told">(.*?)</pre>', result.stdout, re.DOTALL)
        return json.loads(text[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))

    return browse


TELL = """
const all = (found) => [...document.querySelectorAll(found)];
const text = (id) => document.getElementById(id).textContent;
const name = (cell) => cell.textContent.replace("◆ ", "");
const marked = (row) => row.querySelector(".mark");
const tell = () => ({
  best: text("best"),
  answer: text("answer"),
  command: text("command"),
  names: all("#rows th").map(name),
  marked: all("#rows tr").filter(marked).map((row) => name(row.querySelector("th"))),
  outputs: all("output").map((output) => output.textContent),
  spoken: all("input[type=range]").map((input) => input.getAttribute("aria-valuetext")),
  circles: all("#chart circle.within").length,
  chart: document.getElementById("chart").getAttribute("aria-label"),
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
});
"""


def _move(place, stop):
    return (
        f"const range = document.getElementById('slider-{place}'); range.value = {stop}; "
        "range.dispatchEvent(new Event('input', { bubbles: true }));"
    )


def test_the_page_loads_nothing(html):
    page = _Page(html)
    assert all("src" not in a for a in page.all("script"))
    assert page.all("link") == page.all("img") == []
    assert all(a["href"].startswith("#") for a in page.all("a"))
    (policy,) = [a for a in page.all("meta") if "http-equiv" in a]
    assert policy["content"].startswith("default-src 'none'")
    assert len(html) < 400_000


def test_every_slider_has_a_name_a_value_in_words_and_the_networks_as_stops(html, choice):
    page = _Page(html)
    ranges = [a for a in page.all("input") if a["type"] == "range"]
    labels = {a["for"] for a in page.all("label") if "for" in a}
    assert {a["id"] for a in ranges} == labels
    _, macs = _slider(html, "macs")
    values = [stop["value"] for stop in macs["stops"]]
    assert values[:-1] == sorted({entry.macs for entry in PUBLISHED} | {300e6})
    assert values[-1] is None
    assert macs["stops"][macs["start"]]["value"] == 300e6
    assert macs["stops"][macs["start"]]["raw"] == "300M"
    typed = [parse_count(stop["raw"], "--max-macs") for stop in macs["stops"][:-1]]
    assert typed == pytest.approx(values[:-1], rel=1e-15)
    assert [a["aria-valuetext"] for a in ranges][1] == "300.00 M"
    (said,) = [a for _, a in page.tags if a.get("aria-live")]
    assert (said["aria-live"], said["role"]) == ("polite", "status")


def test_no_stop_of_a_slider_shuts_out_its_own_network():
    ms = [12.345678901234567, 385.80000000000001, 0.1 + 0.2]
    names = ["vgg11", "vgg13", "vgg16"]
    times = dict(zip(names, ms, strict=True))
    choice = choose(
        Budget(family="vgg", objective="latency"),
        forecaster=lambda each: (
            Figure(times[each.name], "measured") if each.name in times else None
        ),
    )
    html = choice_html(choice)
    for limit in SHOWN:
        if limit.figure in ("latency_ms", "top1", "size_bytes", "params", "macs"):
            _, slider = _slider(html, limit.figure)
            for stop in slider["stops"]:
                if stop["value"] is not None:
                    typed = parse_count(stop["raw"], slider["flag"])
                    value = stop["value"] / limit.unit
                    assert typed <= value if limit.is_floor else typed >= value


def test_numbers_are_typed_exactly():
    odd = (12.345678901234567, 35_600_000, 64_500_000, 4_115_700_000, 1_234_567_890_123_457)
    for value in (*odd, 385_808_192, 500_000_000, 76.13, 0.3):
        assert parse_count(_written(value), "--max-macs") == value
    assert _written(500e6) == "500M"


def test_without_a_script_the_ranking_still_stands_there(html, choice):
    rows = re.search(r'<tbody id="rows">(.*?)</tbody>', html, re.DOTALL)[1]
    names = re.findall(r'<th scope="row">(?:<span.*?</span> )?([^<]+)</th>', rows)
    assert names == [candidate.name for candidate in choice.candidates if candidate.kept]


def test_conditions_without_a_slider_are_kept_and_said():
    chosen = choose(Budget(family="vgg", min_input=64))
    html = choice_html(chosen, data="my photos", flags=["--seed 3", "--skip-bad"])
    model = _model(html)
    assert {each["name"] for each in model["networks"]} <= {
        e.name for e in list_entries(family="vgg")
    }
    told = "convatlas choose --data 'my photos' --min-input 64 --family vgg --seed 3 --skip-bad"
    assert model["command"] == told


def test_what_was_asked_has_a_slider_even_where_nothing_differs():
    figure = Figure(5.0, "measured")
    choice = choose(
        Budget(family="vgg", max_latency_ms=10),
        forecaster=lambda each: figure if each.name == "vgg16" else None,
        timer=lambda each: Figure(20.0, "measured"),
    )
    assert [each.name for each in choice.candidates if each.kept] == ["vgg16"]
    _, slider = _slider(choice_html(choice), "latency_ms")
    assert slider["stops"][slider["start"]]["value"] == 10


def test_names_and_reasons_cannot_become_markup(choice):
    nasty = replace(choice, advice=("<script>alert(1)</script>",))
    html = choice_html(nasty, notes=["</script><b>"])
    assert "<script>alert(1)" not in html
    assert "</script><b>" not in html


@needs_browser
def test_the_page_opens_with_the_answer_of_the_command_line(html, choice, browsed):
    told = browsed(html, TELL)
    kept = [candidate.name for candidate in choice.candidates if candidate.kept]
    assert told["best"] == choice.chosen.name
    assert told["names"] == kept
    assert set(told["marked"]) == {c.name for c in choice.candidates if c.pareto}
    assert told["answer"].startswith(f"{choice.chosen.name} is the best of {len(kept)} networks")
    assert told["command"] == "convatlas choose --max-macs 300M --min-top1 60"
    assert told["spoken"] == told["outputs"]
    assert told["circles"] == len(kept)
    assert f"{len(kept)} of" in told["chart"]
    assert told["wide"] <= 0


@needs_browser
@pytest.mark.parametrize("step", [0, 20, 60])
def test_a_slider_decides_what_fits_and_what_is_best(html, browsed, step):
    place, slider = _slider(html, "macs")
    limit = slider["stops"][step]["value"]
    told = browsed(html, TELL + _move(place, step))
    fitting = [e for e in PUBLISHED if e.macs <= limit and e.top1 >= 60]
    assert set(told["names"]) == {entry.name for entry in fitting}
    assert told["outputs"][place] == slider["stops"][step]["text"]
    if fitting:
        assert told["best"] == max(fitting, key=lambda entry: entry.top1).name
    else:
        assert told["best"] == "None fits"
        assert told["answer"].startswith("No network is within these limits. The nearest is ")


@needs_browser
def test_no_limits_lets_everything_in(html, browsed):
    told = browsed(html, TELL + "document.getElementById('no-limits').click();")
    assert len(told["names"]) == len(_model(html)["networks"])
    assert told["command"] == "convatlas choose"
    assert told["best"] == max(PUBLISHED, key=lambda entry: entry.top1).name


@needs_browser
def test_the_nearest_miss_is_the_one_of_the_command_line(browsed):
    # 66 % right where 75 % are asked is 36 % too many errors: more than 25 % too many MACs,
    # although 66 is only 12 % less than 75.
    choice = choose(Budget(max_macs=1e9))
    two = [
        made(name, top1, macs, params=1, ms=1.0)
        for name, top1, macs in (("cheap", 66.0, 100), ("dear", 80.0, 125))
    ]
    field = tuple(
        replace(
            each,
            figures={
                "top1": Figure(each.top1, "published"),
                "macs": Figure(each.cost.macs, "computed"),
            },
        )
        for each in two
    )
    budget = Budget(max_macs=100, min_top1=75)
    html = choice_html(replace(choice, chosen=field[0], candidates=field, budget=budget))
    assert "The nearest is dear" in browsed(html, TELL)["answer"]


@needs_browser
def test_times_come_before_what_was_not_timed(browsed):
    choice = choose(
        Budget(family="vgg", objective="latency"),
        forecaster=lambda c: Figure(5.0, "measured") if c.name == "vgg19" else None,
    )
    told = browsed(choice_html(choice), TELL)
    assert told["names"] == [c.name for c in choice.candidates if c.kept]
    assert told["best"] == "vgg19"


@needs_browser
@pytest.mark.parametrize("objective", ["latency", "balanced"])
def test_an_objective_ranks_as_the_command_line_does(browsed, objective):
    choice = choose(Budget(max_macs=1e9, objective=objective))
    told = browsed(choice_html(choice), TELL)
    assert told["names"] == [c.name for c in choice.candidates if c.kept]


@needs_browser
def test_few_small_images_are_ranked_as_the_command_line_does(browsed):
    task = Task(image_size=8, channels=1, num_classes=10, train_images=1437)
    choice = choose(Budget(), task)
    told = browsed(choice_html(choice, task=task), TELL)
    assert told["names"] == [c.name for c in choice.candidates if c.kept]
    assert told["best"] == choice.chosen.name
