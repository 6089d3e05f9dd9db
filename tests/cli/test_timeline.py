"""The timeline: depths counted in the networks that we build, errors as they were published."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
import torch

from convatlas.analysis.diagram import diagram
from convatlas.models.registry import create_model
from convatlas.models.timeline import list_milestones

MILESTONES = {milestone.entry.name: milestone for milestone in list_milestones()}
SVG = "{http://www.w3.org/2000/svg}"
# Layers as the papers state them
STATED = {
    "alexnet_2012": 8,
    "vgg16": 16,
    "googlenet": 22,
    "resnet50": 50,
    "resnet152": 152,
    "densenet121": 121,
    "mobilenetv1_100": 28,
}
# Top-5 error on the test set, from the abstracts and tables of the papers
CHALLENGES = {
    "alexnet_2012": ("ILSVRC-2012", 15.3),
    "vgg16": ("ILSVRC-2014", 7.3),
    "googlenet": ("ILSVRC-2014", 6.67),
    "resnet152": ("ILSVRC-2015", 3.57),
    "seresnext101_32x4d": ("ILSVRC-2017", 2.251),
}


def convatlas(*arguments, cwd=None, code=""):
    return subprocess.run(
        [sys.executable, *(["-c", code] if code else ["-m", "convatlas"]), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"COLUMNS": "200", "PATH": ""},
    )


def _drawn(folder):
    return ET.parse(folder / "history.svg").getroot()  # noqa: S314  # our own drawing


@pytest.mark.parametrize("name", MILESTONES)
def test_depth_is_what_the_longest_path_of_our_network_has(name):
    milestone = MILESTONES[name]
    with torch.device("meta"):
        model = create_model(name)
    assert diagram(model, milestone.entry.input_size).depth == milestone.depth
    assert milestone.paper_depth in (None, milestone.depth)


def test_papers_that_state_a_depth_agree():
    assert {name: MILESTONES[name].paper_depth for name in STATED} == STATED


def test_challenges_are_those_of_the_papers():
    found = {name: MILESTONES[name].challenge for name in CHALLENGES}
    assert {name: (c.name, c.top5_error) for name, c in found.items()} == CHALLENGES
    assert all(c.source for c in found.values())


def test_every_error_has_a_source_and_a_sensible_size():
    for milestone in MILESTONES.values():
        errors = [e for e in (milestone.top1_error, milestone.top5_error) if e is not None]
        assert all(0 < error < 50 for error in errors)
        assert bool(errors) == bool(milestone.error_source)
    years = [milestone.entry.year for milestone in list_milestones()]
    assert (years[0], years[-1]) == (1998, 2022)
    assert years == sorted(years)


def test_the_table_has_a_row_for_each_network_and_torch_is_not_imported():
    code = (
        "import sys; from convatlas.cli.timeline import timeline; timeline(); "
        "sys.exit('torch' in sys.modules)"
    )
    result = convatlas(code=code)
    assert result.returncode == 0, result.stderr
    for name, milestone in MILESTONES.items():
        line = next(line for line in result.stdout.splitlines() if f" {name} " in line)
        assert line.split()[0] == str(milestone.entry.year)
        assert str(milestone.depth) in line.split()


def test_the_drawing_shows_every_network(tmp_path):
    result = convatlas("timeline", "--svg", "history.svg", cwd=tmp_path)
    assert result.stdout == "drawing: history.svg\n"
    root = _drawn(tmp_path)
    words = " ".join(element.text for element in root.iter(f"{SVG}text"))
    assert all(name in words for name in MILESTONES)
    drawn = [m for m in MILESTONES.values() if m.top5_error is not None]
    circles = [c for c in root.iter(f"{SVG}circle") if c.find(f"{SVG}title") is not None]
    assert len(circles) == len(drawn)


def test_better_networks_stand_lower_and_larger_ones_are_larger(tmp_path):
    convatlas("timeline", "--svg", "history.svg", cwd=tmp_path)
    circles = {}
    for circle in _drawn(tmp_path).iter(f"{SVG}circle"):
        title = circle.find(f"{SVG}title")
        if title is not None:
            circles[title.text.split(",")[0]] = circle
    alexnet, resnet = circles["alexnet_2012"], circles["resnet50"]
    assert float(alexnet.get("cy")) < float(resnet.get("cy"))
    assert float(alexnet.get("cx")) < float(resnet.get("cx"))
    area = (float(circles["vgg16"].get("r")) / float(alexnet.get("r"))) ** 2
    params = MILESTONES["vgg16"].entry.params / MILESTONES["alexnet_2012"].entry.params
    assert area == pytest.approx(params, rel=0.03)


def test_the_page_holds_drawing_and_sources_and_loads_nothing(tmp_path):
    result = convatlas("timeline", "--html", tmp_path)
    assert result.stdout == f"page: {tmp_path / 'timeline.html'}\n"
    page = (tmp_path / "timeline.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1
    sources = {m.error_source for m in MILESTONES.values()}
    sources |= {m.challenge.source for m in MILESTONES.values() if m.challenge}
    assert all(html.escape(source) in page for source in sources)
    assert not re.search(r"(src|href)=|url\((?!#)", page)


@pytest.mark.parametrize("flag", ["--svg", "--html"])
def test_a_path_that_cannot_be_is_refused_in_one_line(flag, tmp_path):
    result = convatlas("timeline", flag, tmp_path / "history.png")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2
    assert line.startswith(f"convatlas: {flag} expects a file that ends in ")
    assert not list(tmp_path.iterdir())
