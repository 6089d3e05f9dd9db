"""Names: found, refused, and never registered twice."""

from __future__ import annotations

from importlib import import_module

import pytest

from convatlas.errors import OptionError, UnknownNameError
from convatlas.models import registry
from convatlas.models.catalogue import find_entry, list_entries, list_models


def test_the_catalogue_and_the_registry_hold_the_same_names():
    for entry in list_entries():
        import_module(f"convatlas.models.{entry.module}")
    assert sorted(registry._BUILDERS) == sorted(list_models())


def test_a_name_is_registered_once():
    import_module("convatlas.models.lenet")
    with pytest.raises(OptionError, match="'lenet5' is registered twice"):
        registry.register({"lenet5": None})(lambda *_: None)


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(
        UnknownNameError, match="unknown model 'resnet5'; did you mean resnet50"
    ) as caught:
        registry.create_model("resnet5")
    assert isinstance(caught.value, LookupError)


def test_the_list_is_filtered():
    assert list_models("vgg1?") == [f"vgg{n}" for n in (11, 13, 16, 19)]
    assert list_models(family="lenet") == ["lenet5"]
    light = set(list_models(max_macs=100e6, min_top1=60))
    assert {"mobilenetv2_050", "cifar_resnet44", "mobilenetv3_small"} <= light
    assert light.isdisjoint({"cifar_resnet56", "mobilenetv2_035", "lenet5", "resnet50"})
    assert list_models(pretrained=True) == [f"efficientnet_lite{i}" for i in range(3)]
    assert list_models(year=1998) == ["lenet5"]
    assert all(find_entry(name).params <= 1e6 for name in list_models(max_params=1e6))


def test_an_unknown_family_gets_the_nearest_ones():
    with pytest.raises(UnknownNameError, match="unknown family 'resnets'; did you mean resnet"):
        list_models(family="resnets")
