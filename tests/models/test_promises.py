"""What every network of the atlas promises, whatever its family."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves

from convatlas.data.preprocess import Preprocessing
from convatlas.deploy.agreement import Agreement
from convatlas.deploy.export import export_onnx
from convatlas.deploy.runtime import OnnxClassifier
from convatlas.errors import ConvAtlasError, InputSizeError, OptionError, UnknownOptionError
from convatlas.models.catalogue import find_entry, list_models
from convatlas.models.registry import create_model
from oracles.fill import fill, image_batch

# One network per kind of block; the others differ from it by a table row alone.
KINDS = [
    "lenet5",
    "alexnet",
    "alexnet_2012",
    "vgg11",
    "vgg11_bn",
    "resnet18",
    "resnet50",
    "plain18",
    "cifar_resnet20",
    "cifar_plain20",
    "resnet18d",
    "resnetv2_18",
    "cifar_resnetv2_164",
    "wrn_16_8",
    "resnext50_32x4d",
    "seresnet50",
    "regnet_x_200mf",
    "regnet_y_200mf",
    "cifar_densenet_bc_100_12",
    "densenet121",
    "convnext_tiny",
    "convnextv2_atto",
    "swin_t",
    "repvgg_a0",
    "ghostnet_050",
    "squeezenet1_1",
    "mobilenetv2_035",
    "efficientnet_b0",
    "efficientnet_lite0",
    "efficientnetv2_s",
    "mobilenetv1_025",
    "shufflenet_v1_x0_5_g3",
    "shufflenet_v2_x0_5",
    "googlenet",
    "bn_inception",
    "inception_v2",
    "inception_v3",
    "inception_resnet_v1",
    "nin_cifar10",
    "xception",
    "mobilenetv3_small",
    "mnasnet_050",
    "nasnet_a_mobile",
]
# Kinds that train for 20 steps in a second or three, and kinds that between them hold the
# operators; the rest is slow.
TRAINED = [
    "lenet5",
    "resnet18",
    "plain18",
    "cifar_resnet20",
    "regnet_x_200mf",
    "regnet_y_200mf",
    "densenet121",
    "convnextv2_atto",
    "repvgg_a0",
    "ghostnet_050",
    "squeezenet1_1",
    "mobilenetv2_035",
    "efficientnet_b0",
    "efficientnet_lite0",
    "mobilenetv1_025",
    "shufflenet_v1_x0_5_g3",
    "shufflenet_v2_x0_5",
    "googlenet",
    "nin_cifar10",
    "mobilenetv3_small",
    "mnasnet_050",
]
EXPORTED = [
    "lenet5",
    "cifar_resnet20",
    "convnextv2_atto",
    "squeezenet1_1",
    "efficientnet_lite0",
    "shufflenet_v2_x0_5",
    "mobilenetv3_small",
]
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in list_models() if name not in KINDS]
# Hundreds of blocks alike take long even without memory.
DEEPEST = {"cifar_resnet1202", "cifar_resnetv2_1001"}
every_model = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in DEEPEST)) for name in list_models()],
)
every_kind = pytest.mark.parametrize("name", [*KINDS, *OTHERS])


def _fast(names):
    """Return every network, those that are not among ``names`` marked slow."""
    slow = [pytest.param(n, marks=pytest.mark.slow) for n in list_models() if n not in names]
    return pytest.mark.parametrize("name", [*names, *slow])


def _input(model, batch=2, size=None):
    size = size or max(model.min_input_size, 64)
    return torch.randn(batch, model.in_channels, size, size)


def _meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def _sizes(model, size):
    image = torch.empty(2, model.in_channels, size, size, device="meta")
    return [tuple(f.shape) for f in model.forward_features(image)]


@every_model
def test_features_are_what_is_declared(name):
    model = _meta(name)
    size, more = find_entry(name).input_size, 64
    before, after = _sizes(model, size), _sizes(model, size + more)
    for feature, small, large in zip(model.feature_info, before, after, strict=True):
        assert small[1] == feature.channels
        # What unpadded layers lose at the border is the same at both sizes.
        assert [large[2] - small[2], large[3] - small[3]] == [more // feature.stride] * 2


@every_model
@pytest.mark.parametrize("options", [{}, {"stem": "small"}], ids=["paper", "small"])
def test_the_smallest_input_is_known_and_named(name, options):
    model = _meta(name, **options)
    smallest = model.min_input_size
    assert model(torch.empty(2, model.in_channels, smallest, smallest, device="meta")).shape[0] == 2
    if smallest > 1:
        too_small = torch.empty(2, model.in_channels, smallest - 1, smallest, device="meta")
        with pytest.raises(
            InputSizeError, match=f"at least {smallest}×{smallest}.*{smallest - 1}×{smallest}"
        ):
            model(too_small)
        model.min_input_size = 1
        with pytest.raises(RuntimeError):
            model(too_small)


@every_model
def test_the_small_stem_keeps_small_images_large(name):
    small, paper = _meta(name, stem="small"), _meta(name)
    assert small.min_input_size <= 8
    assert small.feature_info[-1].stride <= paper.feature_info[-1].stride
    assert small.feature_info[-1].channels == paper.feature_info[-1].channels
    assert small(torch.empty(2, small.in_channels, 8, 8, device="meta")).shape == (
        2,
        find_entry(name).num_classes,
    )


@every_model
def test_classes_channels_and_dropout_are_options(name):
    model = _meta(name, num_classes=7, in_channels=2, dropout=0.375)
    assert model(_input(model).to("meta")).shape == (2, 7)
    assert any(isinstance(m, nn.Dropout) and m.p == 0.375 for m in model.head.modules())
    features = _meta(name, num_classes=0)
    assert features(_input(features).to("meta")).shape[1] == _classifier_inputs(name)


def _classifier_inputs(name):
    classifier = _meta(name).head.classifier
    return (
        classifier.in_features if isinstance(classifier, nn.Linear) else classifier[0].in_channels
    )


@every_model
def test_unknown_keywords_are_refused(name):
    with pytest.raises(UnknownOptionError, match="did you mean num_classes"):
        _meta(name, num_clases=3)
    with pytest.raises(TypeError):
        _meta(name, attention=3, nonsense=True)


@every_kind
def test_gradients_reach_every_parameter(name):
    model = create_model(name, num_classes=3, dropout=0.0).train()
    for module in model.modules():
        if hasattr(module, "probability"):
            module.probability = 0.0
    everything = getattr(model, "forward_with_auxiliary", lambda images: (model(images), ()))
    logits, auxiliary = everything(_input(model, batch=4))
    sum(output.square().sum() for output in (logits, *auxiliary)).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@every_kind
def test_eval_does_not_depend_on_the_batch(name):
    model = create_model(name, num_classes=3).eval()
    images = _input(model, batch=3)
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4 * together.abs().max().item())


@every_kind
def test_the_state_dict_makes_a_round_trip(name):
    torch.manual_seed(0)
    first = create_model(name, num_classes=3).eval()
    second = create_model(name, num_classes=3).eval()
    images = _input(first)
    with torch.no_grad():
        assert not torch.equal(first(images), second(images))
        second.load_state_dict(first.state_dict())
        assert torch.equal(first(images), second(images))


@every_kind
def test_torch_export_gives_the_same_logits(name):
    model = create_model(name, num_classes=3).eval()
    images = _input(model)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: batch},))
    other = _input(model, batch=5)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(other), model(other))


@every_kind
def test_nothing_overwrites_the_image_or_a_feature(name):
    model = _meta(name).eval()
    image = _input(model).to("meta")
    seen = [(image, image._version)]

    def note(module, args, output):
        seen.extend((tensor, tensor._version) for tensor in tree_leaves(output))

    for module in (model.stem, *model.stages):
        module.register_forward_hook(note)
    model(image)
    assert len(seen) > len(model.stages)
    assert all(tensor._version == version for tensor, version in seen)


def _size_and_step(model):
    """Return the side of the images, and the step of AdamW, whatever size the gradients have.

    A thousandth is its usual one. A rectified net that nothing normalises dies of it, and on
    small images, which look alike to it.
    """
    modules = list(model.modules())
    normalised = any(isinstance(m, nn.BatchNorm2d | nn.LayerNorm) for m in modules)
    rectified = any(isinstance(m, nn.ReLU) for m in modules)
    size, step = (64, 3e-4) if rectified and not normalised else (32, 1e-3)
    return max(model.min_input_size, size), step


@_fast(TRAINED)
def test_the_loss_falls(name):
    """Each of four images is of another class: a net that does not see them stays at ln 4."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=4, dropout=0.0).train()
    for module in model.modules():
        if hasattr(module, "probability"):
            module.probability = 0.0
    size, step = _size_and_step(model)
    images = torch.from_numpy(image_batch(size, model.in_channels, 4))
    optimiser = torch.optim.AdamW(model.parameters(), step)
    for _ in range(20):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(images), torch.arange(4))
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.8 * math.log(4)


def _lively(name, **options):
    """Return a net whose every parameter matters: filled, with the statistics of its own maps.

    As initialised, layer scales of 1e-6 would hide a block, and norms that normalise nothing
    would let a thousand layers grow to infinity.
    """
    model = create_model(name, **options).eval()
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.from_numpy(fill(key, tuple(value.shape))))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = None  # the statistics become those of the first batch
    size = max(model.min_input_size, 64)
    with torch.no_grad():
        model(torch.from_numpy(image_batch(size, model.in_channels, 4)))
    return model.eval()


@_fast(EXPORTED)
def test_onnx_gives_the_same_logits(name, tmp_path):
    model = _lively(name, num_classes=4)
    size, channels = max(model.min_input_size, 64), model.in_channels
    preprocessing = Preprocessing(
        input_size=size,
        channels=channels,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        interpolation="bilinear",
        resize_mode="crop",
        crop_fraction=1.0,
    )
    path = tmp_path / "net.onnx"
    export_onnx(model, path, preprocessing, "abcd")
    images = torch.from_numpy(image_batch(size, channels, 3))
    with torch.no_grad():
        expected = model(images).numpy()
    agreement = Agreement.of(expected, OnnxClassifier(path, threads=1).logits(images))
    assert agreement.passed, agreement


@pytest.mark.slow
@every_model
def test_full_size(name):
    """At the size and with the classes of its paper."""
    entry, model = find_entry(name), _lively(name)
    images = image_batch(entry.input_size, model.in_channels, 1)
    with torch.inference_mode():
        logits = model(torch.from_numpy(images))
    assert logits.shape == (1, entry.num_classes)
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": -1}, "num_classes must be a whole number from 0, got -1"),
        ({"num_classes": "10"}, "num_classes must be a whole number from 0, got '10'"),
        ({"num_classes": 2.5}, "num_classes must be a whole number from 0, got 2.5"),
        ({"in_channels": 0}, "in_channels must be a whole number from 1, got 0"),
        ({"stem": "tiny"}, 'stem must be "small" or None'),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"output_stride": 12}, "output_stride must be 8, 16 or 32, got 12"),
        ({"output_stride": "8"}, "output_stride must be 8, 16 or 32, got '8'"),
        ({"features": 3}, r"features must be a sequence of levels, got 3: write \[3\]"),
        ({"pretrained": True}, "resnet18 takes no option 'pretrained'; it takes weights"),
    ],
)
def test_impossible_values_are_refused(options, message):
    with pytest.raises((OptionError, UnknownOptionError), match=message):
        _meta("resnet18", **options)


def test_other_channels_are_refused_with_advice():
    with pytest.raises(InputSizeError, match="in_channels"):
        _meta("resnet18")(torch.empty(1, 1, 64, 64, device="meta"))


def test_an_image_without_batch_is_refused_with_advice():
    with pytest.raises(InputSizeError, match=r"got \(3, 64, 64\): pass a batch"):
        _meta("resnet18")(torch.empty(3, 64, 64, device="meta"))


def test_every_kind_is_registered():
    assert {*KINDS, *TRAINED, *EXPORTED} <= set(list_models())
    assert issubclass(UnknownOptionError, ConvAtlasError)
