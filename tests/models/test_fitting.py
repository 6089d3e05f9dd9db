"""Checkpoints for other channels, classes and image sizes: what is adapted, what is new."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import save_file

from convatlas.errors import WeightsError
from convatlas.models.catalogue import find_entry, list_entries
from convatlas.models.pretrained.fitting import fit
from convatlas.models.pretrained.weights import fit_weights
from convatlas.models.registry import create_model

# The smallest network of each family and data set.
SMALLEST = {
    (e.family.name, e.dataset): e for e in sorted(list_entries(), key=lambda e: -e.params)
}.values()


def _meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def _body(state):
    return {name for name in state if not name.startswith("stem.")}


@pytest.mark.parametrize("entry", SMALLEST, ids=lambda entry: entry.name)
def test_every_network_takes_its_weights_for_other_channels_and_classes(entry):
    """Only the first convolution is adapted, only classifiers are new, by name or by structure."""
    state = _meta(entry.name).state_dict()
    hidden = {f"their.{name}": value for name, value in state.items()}
    for theirs in (state, hidden):
        model = _meta(entry.name, in_channels=entry.in_channels + 2, num_classes=7)
        report = fit(model, theirs, entry.family.name)
        assert {row[1:] for row in report.adapted} == {(entry.in_channels, entry.in_channels + 2)}
        assert report.is_whole
        assert report.new
        features = fit(_meta(entry.name, num_classes=0), theirs, entry.family.name)
        assert not features.adapted + features.new
        assert features.unused


@pytest.mark.parametrize("entry", SMALLEST, ids=lambda entry: entry.name)
def test_a_small_stem_is_taken_or_said_to_be_new(entry):
    state = _meta(entry.name).state_dict()
    model = _meta(entry.name, stem="small")
    if _body(state) != _body(model.state_dict()):  # NASNet's first cells depend on the stem
        with pytest.raises(WeightsError, match="another architecture"):
            fit(model, state, entry.family.name)
        return
    report = fit(model, state, entry.family.name)
    ours = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    assert {name for _, name in report.taken} | set(report.new) == set(ours)
    assert all(state[their].shape == ours[name].shape for their, name in report.taken)
    # A stem is new as a whole: no statistics of convolutions that are gone.
    assert len({name in report.new for name in ours if name.startswith("stem.")}) <= 1


def test_a_grey_image_gets_the_same_logits_with_one_channel(tmp_path):
    torch.manual_seed(0)
    source = create_model("cifar_resnet20").eval()
    torch.save(source.state_dict(), tmp_path / "rgb.pth")
    grey = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        expected = source(grey.expand(-1, 3, -1, -1))
        for channels in (1, 2, 4, 6):
            model = create_model(
                "cifar_resnet20", weights=tmp_path / "rgb.pth", in_channels=channels
            ).eval()
            logits = model(grey.expand(-1, channels, -1, -1))
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_new_stem_is_a_warning(tmp_path, caplog):
    state = create_model("resnet18").state_dict()
    torch.save(state, tmp_path / "weights.pth")
    with caplog.at_level(logging.INFO):
        model = create_model("resnet18", weights=tmp_path / "weights.pth", stem="small")
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert line.message == (
        "resnet18: 97 tensors taken (equal names), stem newly initialised, "
        "5 tensors of the file unused"
    )
    name = "stages.0.0.conv1.conv.weight"
    assert torch.equal(model.state_dict()[name], state[name])


def test_a_full_match_and_new_channels_are_said_without_a_warning(tmp_path, caplog):
    torch.save(create_model("cifar_resnet20").state_dict(), tmp_path / "weights.pth")
    with caplog.at_level(logging.INFO):
        create_model("cifar_resnet20", weights=tmp_path / "weights.pth", in_channels=1)
    (line,) = caplog.records
    assert line.levelname == "INFO"
    assert "stem.conv.conv.weight adapted from 3 to 1 channels" in line.message


def test_the_report_names_every_tensor(tmp_path):
    torch.save(create_model("lenet5").state_dict(), tmp_path / "weights.pth")
    model = create_model("lenet5", in_channels=3, num_classes=4)
    report = fit_weights(model, "lenet5", tmp_path / "weights.pth")
    assert report.how == "equal names"
    assert report.adapted == (("stages.0.conv.weight", 1, 3),)
    assert report.new == report.unused == ("head.classifier.weight", "head.classifier.bias")
    assert len(report.taken) == 10 - 3


def test_a_sorted_foreign_file_is_read_by_its_names(tmp_path):
    """safetensors sorts by name: the order is lost, torchvision's names are not."""
    ours = create_model("resnet18").state_dict()
    words = [("stem.conv.conv", "conv1"), ("stem.conv.norm", "bn1"), ("head.classifier", "fc")]
    words += [(f"stages.{i}.", f"layer{i + 1}.") for i in range(4)]
    words += [("shortcut.conv", "downsample.0"), ("shortcut.norm", "downsample.1")]
    words += [
        (f"conv{i}.{a}", f"{b}{i}") for i in (1, 2) for a, b in (("conv", "conv"), ("norm", "bn"))
    ]
    foreign = {}
    for name, value in ours.items():
        for our_word, their_word in words:
            name = name.replace(our_word, their_word)
        foreign[name] = value
    assert "layer2.0.downsample.1.running_var" in foreign
    save_file(foreign, tmp_path / "model.safetensors")
    loaded = create_model("resnet18", weights=tmp_path / "model.safetensors").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in ours.items())


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("resnet50", "resnet101"),
        ("resnet50", "wide_resnet50_2"),
        ("vgg16", "vgg16_bn"),
        ("efficientnet_b0", "efficientnet_b1"),
        ("mobilenetv2_100", "mobilenetv2_050"),
    ],
)
def test_a_relative_is_refused_and_nothing_is_changed(name, other):
    with pytest.raises(WeightsError, match="another architecture"):
        fit(_meta(name), _meta(other).state_dict(), find_entry(name).family.name)
