"""The model comes back as it was, nothing big is allocated, and errors are one line."""

from __future__ import annotations

import gc
import random
import tracemalloc

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from convatlas.analysis.cost import analyze
from convatlas.errors import ConvAtlasError, InputSizeError, OptionError


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.function = function

    def forward(self, x):
        return self.function(self.conv(x))


class Moody(nn.Module):
    """A module that writes to everything it owns while it runs."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.register_buffer("count", torch.zeros(2))
        self.register_buffer("average", torch.zeros(4))
        self.kept = "before"

    def forward(self, x):
        x = self.norm(self.conv(x))
        self.kept = x
        self.new = x
        self.count += 1
        self.count.add_(1)
        self.average = 0.9 * self.average + x.mean((0, 2, 3))
        self.conv.weight.data.clamp_(0, 0)
        self.register_buffer("late", x)
        if self.training:
            raise AssertionError("runs as in eval mode")
        return F.dropout(x * torch.rand(1), training=True)


def snapshot(model):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = [
        {key: id(value) for key, value in space.items()}
        for module in model.modules()
        for space in (vars(module), module._parameters, module._buffers, module._modules)
    ]
    return state, attributes


def assert_untouched(model, before):
    state, attributes = snapshot(model)
    assert attributes == before[1]
    assert all(torch.equal(state[name], before[0][name]) for name in before[0])


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_found(training):
    model = nn.Sequential(Moody(), nn.Dropout2d(0.5)).train(training)
    model[0].norm.eval()
    model(torch.rand(2, 3, 8, 8)).sum().backward() if not training else None
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    before = snapshot(model)
    torch.manual_seed(3)
    random.seed(3)
    seeds = torch.get_rng_state(), random.getstate()
    report = analyze(model, 16)
    assert report.output_shape == (1, 4, 14, 14)
    assert_untouched(model, before)
    assert torch.equal(torch.get_rng_state(), seeds[0])
    assert random.getstate() == seeds[1]
    after = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(after) == len(gradients)
    assert all(torch.equal(a, b) for a, b in zip(after, gradients, strict=True))
    assert torch.is_grad_enabled()


def test_the_model_is_left_as_found_when_forward_raises():
    def fail(x):
        raise KeyError("late")

    model = nn.Sequential(Moody(), nn.Conv2d(4, 4, 1), nn.Dropout(0.5)).train()
    model[2].register_forward_pre_hook(lambda module, x: fail(x))
    before = snapshot(model)
    with pytest.raises(OptionError, match="KeyError"):
        analyze(model, 16)
    assert_untouched(model, before)
    assert not torch.overrides._get_current_function_mode_stack()
    assert torch.is_grad_enabled()


def test_bookkeeping_of_the_models_own_tensors_is_no_layer():
    operators = [layer.operator for layer in analyze(Moody(), 16).layers]
    assert operators.count("add") == 1, "the moving average, not the counters"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_left_as_found(enabled):
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        analyze(nn.Conv2d(3, 4, 3), 8)
        with pytest.raises(ConvAtlasError):
            analyze(nn.Conv2d(3, 4, 3), 2)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_what_forward_registers_in_a_bare_module_is_gone():
    class Bare(nn.Module):
        def forward(self, x):
            self.register_buffer("mean", x.mean(1))
            self.last = nn.Identity()
            return x

    model = Bare()
    analyze(model, (4,))
    assert (model._buffers, model._modules, model._parameters) == ({}, {}, {})
    assert "last" not in vars(model)


def test_hooks_run_and_stay():
    model, seen = nn.Sequential(nn.Conv2d(3, 4, 3)), []
    model[0].register_forward_hook(lambda module, x, y: seen.append(tuple(y.shape)))
    analyze(model, 8)
    assert seen == [(1, 4, 6, 6)]
    model(torch.zeros(1, 3, 8, 8))
    assert len(seen) == 2


def test_analysis_repeats_itself():
    model = Moody()
    assert analyze(model, 16) == analyze(model, 16)


@pytest.mark.parametrize(
    ("norm", "macs"),
    # The spectral norm uᵀWv is computed in every forward.
    [(parametrizations.weight_norm, 0), (parametrizations.spectral_norm, 4 * 27 + 4)],
)
def test_parametrised_weights_belong_to_their_layer(norm, macs):
    model = nn.Sequential(norm(nn.Conv2d(3, 4, 3)))
    before = snapshot(model)
    report = analyze(model, 8)
    assert report.macs == 4 * 36 * 27 + macs
    assert sum(layer.params for layer in report.layers) == report.params
    assert_untouched(model, before)


def test_a_model_without_memory_needs_none():
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Linear(222, 10))
    report = analyze(model.train())
    assert report.output_shape == (1, 64, 222, 10)
    assert all(p.is_meta for p in model.parameters())


def test_nothing_of_the_size_of_an_activation_is_allocated():
    model = nn.Sequential(nn.Conv2d(3, 1024, 3), nn.ReLU(), nn.Softmax(1))
    with torch.profiler.profile(profile_memory=True) as profile:
        report = analyze(model, (20_000, 20_000), batch=64)
    assert report.activation_bytes > 10**14
    biggest = max((event.cpu_memory_usage for event in profile.events()), default=0)
    assert biggest < 100_000


def test_memory_is_given_back():
    model = nn.Sequential(*[nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()) for _ in range(20)])
    analyze(model, 8)
    tracemalloc.start()
    for _ in range(5):
        analyze(model, 8)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 200_000


def test_surroundings_do_not_matter():
    model, expected = Moody(), analyze(Moody(), 16)
    with torch.inference_mode():
        assert analyze(model, 16) == expected
    with torch.device("meta"):
        assert analyze(model, 16) == expected
    try:
        torch.set_default_dtype(torch.float64)
        assert analyze(model, 16).macs == expected.macs
    finally:
        torch.set_default_dtype(torch.float32)


def test_half_precision_parameters():
    report = analyze(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).bfloat16(), 8)
    assert report.activation_bytes == 2 * 2 * 4 * 36


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit
def test_wrappers_are_looked_into():
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    expected = analyze(plain, 8)
    assert analyze(torch.compile(plain), 8) == expected
    assert analyze(nn.DataParallel(plain), 8) == expected
    inner = analyze(nn.Sequential(torch.compile(plain)), 8)
    assert (inner.macs, inner.flops) == (expected.macs, expected.flops)


@pytest.mark.parametrize(
    ("size", "channels", "shape"),
    [
        (10, None, (1, 3, 10, 10)),
        ((10, 12), None, (1, 3, 10, 12)),
        ((3, 10, 12), None, (1, 3, 10, 12)),
        ([3, 10, 12], 3, (1, 3, 10, 12)),
    ],
)
def test_input_sizes_of_image_models(size, channels, shape):
    assert analyze(nn.Conv2d(3, 4, 3), size, in_channels=channels).input_shape == shape


def test_input_sizes_of_other_models():
    assert analyze(nn.Conv1d(2, 4, 3), 9).input_shape == (1, 2, 9)
    assert analyze(nn.Conv1d(2, 4, 3), (2, 9)).input_shape == (1, 2, 9)
    assert analyze(nn.Conv3d(2, 4, 3), (9, 8, 7)).input_shape == (1, 2, 9, 8, 7)
    assert analyze(nn.Linear(7, 4), 7, batch=5).input_shape == (5, 7)
    assert analyze(nn.ReLU(), 7, in_channels=3).input_shape == (1, 3, 7, 7)
    assert analyze(nn.ReLU(), (3, 7, 5)).input_shape == (1, 3, 7, 5)


def test_several_inputs():
    class Two(nn.Module):
        def forward(self, image, tokens):
            return image.flatten(1), F.one_hot(tokens, 5)

    inputs = [torch.zeros(2, 3, 4, 4), torch.zeros(2, 6, dtype=torch.int64)]
    report = analyze(Two(), inputs=inputs)
    assert (report.input_shape, report.output_shape) == ((2, 3, 4, 4), (2, 48))


def test_operators_without_a_formula_make_a_lower_bound():
    with torch.library._scoped_library("atlas_test", "FRAGMENT") as library:
        library.define("warp(Tensor x) -> Tensor")
        library.impl("warp", torch.empty_like, "Meta")
        report = analyze(Call(lambda x: torch.ops.atlas_test.warp(F.relu(x))), 8)
        assert [(each.operator, each.count) for each in report.uncounted] == [
            ("atlas_test::warp", 1)
        ]
        assert report.is_lower_bound
        layer = report.layers[-1]
        assert (layer.operator, layer.is_counted, layer.flops) == ("atlas_test::warp", False, 0)
        assert report.macs == 4 * 64 * 27
        assert "no receptive field rule" in layer.receptive_field_note


def test_composite_custom_operators_are_counted_through_their_parts():
    with torch.library._scoped_library("atlas_test", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: (x @ x.mT).relu(), "CompositeImplicitAutograd")
        report = analyze(Call(torch.ops.atlas_test.twice), 8)
        assert report.macs == 4 * 64 * 27 + 4 * 8 * 8 * 8
        assert not report.uncounted


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit
def test_scripted_functions_are_heard():
    scripted = torch.jit.trace(lambda x: x * torch.sigmoid(x), torch.zeros(1, 4, 8, 8))
    report = analyze(Call(scripted), 8)
    assert [layer.operator for layer in report.layers] == ["conv2d", "sigmoid", "mul"]
    assert report.layers[-1].receptive_field.size == (3, 3)
    assert not report.uncounted


def test_compiled_functions_are_heard():
    compiled = torch.compile(lambda x: F.relu(x) + 1, backend="eager")
    report = analyze(Call(compiled), 8)
    assert [layer.operator for layer in report.layers] == ["conv2d", "relu", "add"]


def failure(model, *args, **kwargs):
    with pytest.raises(ConvAtlasError) as caught:
        analyze(model, *args, **kwargs)
    assert "\n" not in str(caught.value)
    return caught


def test_an_operator_without_a_meta_kernel_is_named():
    with torch.library._scoped_library("atlas_test", "FRAGMENT") as library:
        library.define("blind(Tensor x) -> Tensor")
        library.impl("blind", torch.relu, "CPU")
        caught = failure(Call(torch.ops.atlas_test.blind), 8)
        assert caught.type is OptionError
        assert "atlas_test::blind" in str(caught.value)
        assert "meta kernel" in str(caught.value)


NET = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 9, 2))


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        (2, {}, ("0 (Conv2d)", "2×2 map", "3×3 window")),
        (3, {}, ("1 (MaxPool2d)", "1×1 map")),
        (9, {}, ("3 (Linear)", "expects 72 features", "got 72")),
        (8, {"in_channels": 1}, ("expects 3 channels", "got 1")),
    ],
)
def test_inputs_that_do_not_fit(size, options, words):
    if size == 9:
        size, words = 20, (*words[:2], "got 648")
    caught = failure(NET, size, **options)
    assert caught.type is InputSizeError
    assert all(word in str(caught.value) for word in (*words, "input_size"))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (((1, 3, 8, 8),), "without the batch"),
        ((-1,), "positive"),
        ((8.5,), "whole number"),
        (("8",), "whole number"),
        ((),),
    ][:-1],
)
def test_sizes_that_describe_no_input(arguments, word):
    caught = failure(NET, *arguments)
    assert caught.type is OptionError
    assert word in str(caught.value)


def test_other_impossible_options():
    assert "batch" in str(failure(NET, 8, batch=0).value)
    assert "in_channels=1" in str(failure(NET, (3, 8, 8), in_channels=1).value)
    assert "torch.nn.Module" in str(failure("resnet50").value)
    assert "sequence of tensors" in str(failure(NET, inputs=[3]).value)
    assert "sequence of tensors" in str(failure(NET, inputs=[]).value)


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (lambda x: x if x.mean() > 0 else -x, "values of a tensor (bool)"),
        (lambda x: x * x.max().item(), "values of a tensor (item)"),
        (lambda x: x[x > 0], "depends on values"),
        (lambda x: x + torch.zeros(7), "RuntimeError"),
        (lambda x: x.nothing, "AttributeError"),
        (lambda x: x.permute(1, 2), "RuntimeError"),
    ],
)
def test_forwards_that_cannot_be_analysed(function, word):
    caught = failure(Call(function), 8)
    assert word in str(caught.value)
    assert "Call" in str(caught.value)


def test_the_models_own_errors_pass_through():
    def refuse(x):
        raise InputSizeError("Net needs at least 63×63")

    assert str(failure(Call(refuse), 8).value) == "Net needs at least 63×63"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit
def test_modules_that_cannot_be_read():
    scripted = torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))
    assert "TorchScript" in str(failure(nn.Sequential(scripted), 8).value)
    lazy = nn.Sequential(nn.LazyConv2d(4, 3))
    assert "no weights yet" in str(failure(lazy, 8).value)
    assert isinstance(lazy[0], nn.LazyConv2d)
