"""Key maps against every oracle fixture: the names alone say what the order says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from convatlas.models.catalogue import find_entry, list_models
from convatlas.models.pretrained.alignment import floats, pair_by_order
from convatlas.models.pretrained.fitting import fit
from convatlas.models.pretrained.key_maps import KeyMap, key_maps, numbers_in_order
from convatlas.models.registry import create_model
from oracles.names import OURS

FIXTURES = Path(__file__).parents[1] / "fixtures" / "oracles"
NAMES = set(list_models())
COMPARED = [
    path.stem
    for path in sorted(FIXTURES.glob("*.json"))
    if path.stem.startswith(("torchvision_", "timm_"))
    and OURS.get(path.stem.partition("_")[2], path.stem.partition("_")[2]) in NAMES
]

# timm's RegNets list a block's shortcut last; that the names are right is shown by the logits.
OTHER_ORDER = {("timm", name) for name in NAMES if name.startswith("regnet_")}


def _foreign(fixture):
    """Return the foreign state dict of a fixture, without memory."""
    lines = [
        line.split(" ") for line in json.loads((FIXTURES / f"{fixture}.json").read_text())["state"]
    ]
    return {
        key: torch.empty([int(size) for size in shape.split("x")], device="meta")
        for key, shape in lines
    }


def _shuffled(state):
    keys = list(state)
    order = torch.randperm(len(keys), generator=torch.Generator().manual_seed(0))
    return {keys[i]: state[keys[i]] for i in order}


def _meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


@pytest.mark.parametrize("fixture", COMPARED)
def test_names_say_what_the_order_says(fixture):
    """A network that is compared with another library has a key map for it, or this fails."""
    source, _, foreign_name = fixture.partition("_")
    name = OURS.get(foreign_name, foreign_name)
    model, foreign = _meta(name), _foreign(fixture)
    ours = floats(model.state_dict())
    if len(foreign) < len(ours):  # a checkpoint without the auxiliary classifiers
        ours = {key: value for key, value in ours.items() if ".auxiliary." not in key}
    maps = [m for m in key_maps(find_entry(name).family.name) if source in m.sources]
    assert len(maps) == 1, f"facts/key_maps.toml has no map of {source} for {name}"
    by_order = pair_by_order(foreign, ours) if (source, name) not in OTHER_ORDER else None
    pairs = maps[0].pair(_shuffled(foreign), ours)
    assert set(pairs.values()) == set(ours)
    assert by_order in (None, pairs)
    report = fit(model, _shuffled(foreign), find_entry(name).family.name)
    if not report.how.startswith("equal"):
        assert source in report.how
    assert dict(report.taken) == pairs
    assert not report.adapted + report.unused
    assert all(".auxiliary." in key for key in report.new)


def test_there_is_one_map_for_a_source_and_a_family():
    for family in {find_entry(name).family.name for name in NAMES}:
        sources = [source for key_map in key_maps(family) for source in key_map.sources]
        assert len(sources) == len(set(sources)), family


def test_numbers_count_by_their_order_alone():
    identity = KeyMap()
    assert identity.pair(["a.10.w", "a.9.w", "a.2.b"], ["a.0.b", "a.1.w", "a.5.w"]) == {
        "a.2.b": "a.0.b",
        "a.9.w": "a.1.w",
        "a.10.w": "a.5.w",
    }


def test_a_chain_is_numbered_through_all_stages():
    chain = KeyMap(flat=True)
    ours = ["stages.0.0.w", "stages.0.1.w", "stages.1.0.w"]
    assert chain.pair(["stages.3.w", "stages.20.w", "stages.7.w"], ours) == {
        "stages.3.w": ours[0],
        "stages.7.w": ours[1],
        "stages.20.w": ours[2],
    }


def test_two_names_for_one_place_have_no_partner():
    both = KeyMap(rules=((re.compile("^(bn|norm)"), "norm"),))
    assert both.pair(["bn.w", "norm.w", "conv.w"], ["norm.w", "conv.w"]) == {"conv.w": "conv.w"}


def test_the_dotted_names_of_old_densenet_files_are_known():
    """The torchvision file of 2017 (densenet121-a639ec97.pth) has ``denselayer1.norm.1.weight``."""
    dotted = {
        key.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): value
        for key, value in _foreign("torchvision_densenet121").items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in dotted
    report = fit(_meta("densenet121"), _shuffled(dotted), "densenet")
    assert not report.new + report.unused


def test_sorted_names_are_noticed():
    assert numbers_in_order(["a.2.b.5", "a.10.b.0", "c.0", "a.10.b.0"])
    assert not numbers_in_order(["layers.1.weight", "layers.10.weight", "layers.2.weight"])
