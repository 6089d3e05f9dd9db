"""Pictures of networks: held against the analysis, the papers' layer counts, and XML itself."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest
import torch

from convatlas.analysis.cost import analyze
from convatlas.analysis.diagram import diagram
from convatlas.models.catalogue import find_entry, list_entries
from convatlas.models.registry import create_model
from convatlas.render.diagram import blocks_svg, diagram_svg
from convatlas.render.lanes import Vertex, arrange
from convatlas.render.units import count

NETWORKS = [
    "lenet5",
    "alexnet",
    "vgg16",
    "googlenet",
    "resnet50",
    "densenet121",
    "mobilenetv2_100",
    "efficientnet_b0",
    "convnext_tiny",
    "inception_v3",
    "cifar_resnet110",
]
FAMILIES = list({entry.family.name: entry.name for entry in reversed(list_entries())}.values())
SVG = "{http://www.w3.org/2000/svg}"


def _built(name):
    with torch.device("meta"):
        return create_model(name)


@cache
def _diagram(name):
    return diagram(_built(name), find_entry(name).input_size)


def _root(svg):
    return ET.fromstring(svg)  # noqa: S314  # our own drawing


def _words(svg):
    return [element.text for element in _root(svg).iter(f"{SVG}text")]


def _kind(network, name):
    return next(block for block in network.kinds if block.name == name)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_number_is_that_of_the_analysis(name):
    model, size = _built(name), find_entry(name).input_size
    report, network = analyze(model, size, in_channels=model.in_channels), diagram(model, size)
    groups = [(group.name, group.params, group.macs) for group in report.by_stage()]
    assert network == _diagram(name)
    assert [(part.name, part.params, part.macs) for part in network.parts] == groups
    assert (network.params, network.macs) == (report.params, report.macs)
    for part in network.parts:
        assert sum(block.params for block in part.blocks) == part.params
        assert sum(block.macs for block in part.blocks) == part.macs


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_have_the_channels_and_strides_that_the_network_declares(name):
    model = _built(name)
    parts = {part.name: part for part in diagram(model, find_entry(name).input_size).parts}
    for feature in model.feature_info:
        part = parts[feature.name]
        assert (part.channels, part.stride) == (feature.channels, feature.stride)


@pytest.mark.parametrize(
    ("name", "blocks"),  # the papers' tables of blocks per stage
    [
        ("resnet50", [3, 4, 6, 3]),
        ("cifar_resnet110", [18, 18, 18]),
        ("densenet121", [6, 12, 24, 16]),
        ("convnext_tiny", [3, 3, 9, 3]),
        ("googlenet", [0, 2, 5, 2]),
        ("mobilenetv2_100", [1, 2, 3, 4, 3, 3, 1]),
    ],
)
def test_stages_have_as_many_blocks_as_in_the_paper(name, blocks):
    stages = [part for part in _diagram(name).parts if part.name.startswith("stages")]
    counted = [sum(b.count for b in part.blocks if not b.is_layer) for part in stages]
    assert counted == blocks


def test_a_bottleneck_is_figure_5_of_its_paper():
    projected, plain = _diagram("resnet50").kinds
    assert [(n.label, n.inputs) for n in plain.nodes] == [
        ("input", ()),
        ("1×1 conv", (0,)),
        ("3×3 conv", (1,)),
        ("1×1 conv", (2,)),
        ("+", (3, 0)),
    ]
    assert [n.channels for n in plain.nodes] == [256, 64, 64, 256, 256]
    assert [n.detail for n in plain.nodes[1:4]] == [("BN", "ReLU"), ("BN", "ReLU"), ("BN",)]
    assert plain.nodes[-1].detail == ("ReLU",)
    shortcut = projected.nodes[projected.nodes[-1].inputs[1]]
    assert (shortcut.label, shortcut.inputs, shortcut.channels) == ("1×1 conv", (0,), 256)


def test_an_inception_module_is_figure_2b_of_its_paper():
    nodes = _kind(_diagram("googlenet_2014"), "branches").nodes
    last = nodes[-1]
    assert (last.kind, last.channels) == ("concatenate", 256)
    labels = [nodes[i].label for i in last.inputs]
    assert labels == ["1×1 conv", "3×3 conv", "5×5 conv", "1×1 conv"]
    assert [nodes[i].channels for i in last.inputs] == [64, 128, 32, 32]


def test_a_dense_layer_reads_all_maps_before_it():
    first, squeeze, *_ = _kind(_diagram("densenet121"), "dense layer").nodes
    assert (first.kind, first.channels) == ("input", 0)
    assert (squeeze.kind, squeeze.channels, squeeze.detail) == ("concatenate", 0, ("BN", "ReLU"))


def test_a_gate_multiplies_the_map_that_it_was_computed_from():
    nodes = _diagram("seresnet50").kinds[-1].nodes
    product = next(node for node in nodes if node.label == "×")
    scaled, gate = product.inputs
    assert nodes[scaled].label == "1×1 conv"
    assert nodes[gate].detail == ("sigmoid",)
    pool = next(node for node in nodes if node.kind == "pool")
    assert (pool.label, pool.inputs) == ("global average pool", (scaled,))


def test_a_module_that_two_stages_share_is_in_both():
    model = _built("vgg11")
    model.stages[1].append(model.stages[0][-1])
    first, second = diagram(model, 224).parts[:2]
    assert [part.blocks[-1].name for part in (first, second)] == ["2×2 max pool"] * 2
    assert (first.channels, second.channels) == (64, 128)


def test_a_channel_shuffle_is_not_lost():
    details = [node.detail for node in _diagram("shufflenet_v2_x1_0").kinds[0].nodes]
    assert ("channel shuffle",) in details


@pytest.mark.parametrize("name", NETWORKS)
def test_the_drawing_names_every_part_with_its_numbers(name):
    network = _diagram(name)
    words = _words(diagram_svg(network, name))
    stages = [part for part in network.parts if part.name.startswith("stages")]
    assert words[0] == name
    assert {f"stage {number}" for number in range(1, len(stages) + 1)} | {"head"} <= set(words)
    for part in network.parts:
        assert f"{count(part.params)} params" in words
        assert f"{count(part.macs)} MACs" in words
    for part in stages:
        height, width = part.size
        assert f"{height} × {width} × {part.channels}" in words


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_small_picture_of_its_blocks(name):
    svg = blocks_svg(_diagram(name), name)
    assert len(svg.encode()) < 15_000
    root = _root(svg)
    assert root.find(f"{SVG}title").text.startswith(name)
    assert name in root.find(f"{SVG}desc").text
    assert "prefers-color-scheme:dark" in root.find(f"{SVG}style").text


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_drawn_outside_of_the_page(name):
    root = _root(diagram_svg(_diagram(name), name))
    width, height = float(root.get("width")), float(root.get("height"))
    for box in root.iter(f"{SVG}rect"):
        if box.get("x") is not None:
            assert float(box.get("x")) >= 0
            assert float(box.get("x")) + float(box.get("width")) <= width
            assert float(box.get("y")) + float(box.get("height")) <= height
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x")) <= width
        assert 0 <= float(text.get("y")) <= height


@pytest.mark.parametrize("name", FAMILIES)
def test_no_two_nodes_of_a_block_overlap(name):
    root = _root(blocks_svg(_diagram(name), name))
    kinds = {"input", "weights", "pool", "join", "concatenate", "split", "plain"}
    boxes = [
        [float(box.get(key)) for key in ("x", "y", "width", "height")]
        for box in root.iter(f"{SVG}rect")
        if box.get("class") in kinds
    ]
    for (x, y, width, height), (x2, y2, width2, height2) in combinations(boxes, 2):
        beside = x + width <= x2 or x2 + width2 <= x
        above = y + height <= y2 or y2 + height2 <= y
        assert beside or above


def test_a_drawing_is_the_same_each_time():
    first = blocks_svg(_diagram("resnet50"), "resnet50")
    assert first == blocks_svg(_diagram.__wrapped__("resnet50"), "resnet50")


def test_a_shortcut_runs_beside_what_it_skips():
    chain = [Vertex(()), Vertex((0,)), Vertex((1,)), Vertex((0, 2))]
    lanes = arrange(chain)
    assert [(place.row, place.lane) for place in lanes.places] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    skip = next(edge for edge in lanes.edges if (edge.source, edge.target) == (0, 3))
    assert skip.lane == 1
