"""Predicted and measured time: known formulas recovered, sums by hand, synthetic clocks."""

from __future__ import annotations

from itertools import islice
from statistics import median

import pytest
import torch
from torch import nn

from convatlas.analysis.calibration import Calibration, Sample, _work_of
from convatlas.analysis.cost import analyze
from convatlas.analysis.forecast import LayerTime, predict_latency
from convatlas.analysis.latency import measure_latency, random_images
from convatlas.analysis.layer_times import BETWEEN, bench
from convatlas.analysis.machine import Ceilings, Machine
from convatlas.analysis.pricing import Prices
from convatlas.analysis.primitives import primitives
from convatlas.analysis.training_time import estimate_training, measure_step, predict_step_ms
from convatlas.analysis.work import Work, kind_of
from convatlas.errors import CalibrationError, InputSizeError, OptionError
from convatlas.models.registry import create_model

CEILINGS = Ceilings(convolution_gflops=100.0, bandwidth_gbs=10.0)  # 10 FLOPs per byte
MACHINE = Machine("abacus", torch.__version__, 1, "float32")
CALL_MS = 0.25
WORKS = [_work_of(primitive) for primitive in islice(primitives(), 1500)]


def calibration(formula, works=WORKS, call_ms=CALL_MS):
    samples = tuple([Sample(work, formula(work)) for work in works])
    return Calibration(MACHINE, CEILINGS, call_ms, samples)


def linear(work):
    moved = work.read + work.weights + work.written
    return 0.003 + 1e-8 * work.macs + 2e-7 * moved


def uneven(work):
    """Dense convolutions of odd widths, and strided ones, at a fraction of the speed."""
    slow = 1 + (work.channels % 16 != 0) + (work.stride > 1)
    return linear(work) * slow


def constant(work):
    return {"conv2d": 5.0, "batch_norm": 2.0, "relu": 1.0, "view": 0.5}.get(kind_of(work), 3.0)


CONSTANT, LINEAR = calibration(constant), calibration(linear)


def test_a_linear_cost_is_recovered_exactly():
    prices = Prices(calibration(linear, WORKS[::2]))
    unseen = WORKS[1::2]
    for work, price in zip(unseen, prices.of(unseen), strict=True):
        assert price.is_guess or price.ms == pytest.approx(linear(work), rel=0.02)


def test_an_uneven_cost_is_recovered_nearly():
    prices = Prices(calibration(uneven, WORKS[::2]))
    unseen = [work for work in WORKS[1::2] if kind_of(work) == "conv2d"]
    errors = [
        abs(price.ms / uneven(work) - 1)
        for work, price in zip(unseen, prices.of(unseen), strict=True)
    ]
    assert median(errors) < 0.1
    assert sorted(errors)[len(errors) * 9 // 10] < 0.35


def test_a_cost_beyond_the_samples_goes_on_along_the_roofline():
    prices = Prices(LINEAR)
    huge = Work("relu", 0, 10**9, 0, 10**9, channels=64, filters=64, positions=10**9 // 64)
    assert prices.of([huge])[0].ms == pytest.approx(linear(huge), rel=0.02)


def _blocks(depth):
    layers = []
    for _ in range(depth):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers)


def test_a_network_is_the_sum_of_its_operators():
    estimate = predict_latency(_blocks(3), 16, calibration=CONSTANT)
    assert [layer.ms for layer in estimate.layers] == pytest.approx([5.0, 2.0, 1.0] * 3)
    assert estimate.calls_ms == 10 * CALL_MS  # nine layers and the Sequential
    assert estimate.median_ms == pytest.approx(24 + 10 * CALL_MS)
    assert estimate.low_ms < estimate.median_ms < estimate.high_ms
    assert not estimate.guessed
    assert [layer.name for layer in estimate.layers][:3] == ["0", "1", "2"]


def test_modules_that_only_hold_others_are_called_too():
    nested = nn.Sequential(nn.Sequential(nn.ReLU(), nn.ReLU()), nn.Sequential(nn.ReLU()))
    assert predict_latency(nested, (8,), calibration=CONSTANT).calls_ms == 6 * CALL_MS


@pytest.mark.parametrize("name", ["mobilenetv3_small", "densenet121", "convnext_tiny"])
def test_nothing_in_a_network_is_left_out(name):
    with torch.device("meta"):
        model = create_model(name)
    estimate = predict_latency(model, 224, calibration=LINEAR)
    report = analyze(model, 224)
    elements = (report.read_bytes + report.written_bytes) / 4
    least = 1e-8 * report.macs + 2e-7 * elements
    # Above what it computes and moves comes 3 µs per operation, views among them.
    assert (
        least < estimate.median_ms - estimate.calls_ms < 1.02 * least + 0.004 * len(estimate.layers)
    )
    assert not estimate.guessed


def test_a_batch_costs_its_samples():
    one, four = (
        predict_latency(_blocks(1), 64, batch=batch, calibration=LINEAR) for batch in (1, 4)
    )
    assert four.batch == 4
    assert 3 < (four.median_ms - four.calls_ms) / (one.median_ms - one.calls_ms) < 4


def test_samples_that_scatter_widen_the_interval():
    def scattered(work):
        return linear(work) * (2.0 if hash(work[1:]) % 2 else 1.0)

    exact, loose = (
        predict_latency(_blocks(2), 32, calibration=calibration(formula, call_ms=1e-9))
        for formula in (linear, scattered)
    )
    assert loose.high_ms / loose.low_ms > 1.2 * exact.high_ms / exact.low_ms


class Odd(nn.Module):
    def forward(self, x):
        return torch.cumsum(x, 1) + torch.ops.convatlas_tests.warp(x)


def test_an_operator_that_was_never_timed_is_priced_by_its_bytes_and_named():
    library = torch.library.Library("convatlas_tests", "DEF")
    library.define("warp(Tensor x) -> Tensor")
    torch.library.register_fake("convatlas_tests::warp", torch.empty_like, lib=library)
    estimate = predict_latency(Odd(), (4, 1000), calibration=LINEAR, inputs=[torch.empty(4, 1000)])
    assert estimate.guessed == ("cumsum", "convatlas_tests::warp")
    times = {layer.operator: layer for layer in estimate.layers}
    for name in estimate.guessed:
        assert times[name].is_guess
        assert times[name].ms == pytest.approx(0.003 + 2e-7 * 8000, rel=0.02)
    assert not times["add"].is_guess


def test_a_convolution_over_time_costs_what_one_over_an_image_does():
    """16 channels, 9 taps and 196 positions in both."""
    line, image = nn.Conv1d(16, 16, 9, padding=4), nn.Conv2d(16, 16, 3, padding=1)
    guessed = predict_latency(line, 196, calibration=LINEAR)
    known = predict_latency(image, 14, calibration=LINEAR)
    assert guessed.guessed == ("conv1d",)
    assert guessed.median_ms == pytest.approx(known.median_ms, rel=0.02)


def test_predictions_that_cannot_be_made(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVATLAS_CACHE", str(tmp_path))
    with pytest.raises(CalibrationError, match="convatlas calibrate"):
        predict_latency(_blocks(1), 16)
    with pytest.raises(OptionError, match="float32, asked was bfloat16"):
        predict_latency(_blocks(1), 16, precision="bfloat16", calibration=LINEAR)
    with pytest.raises(OptionError, match="float32 or bfloat16, got 'int8'"):
        predict_latency(_blocks(1), 16, precision="int8", calibration=LINEAR)
    with pytest.raises(InputSizeError):
        predict_latency(nn.Conv2d(3, 3, 7), 4, calibration=LINEAR)


class Clock:
    """Stands still until somebody works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow(nn.Module):
    """A layer, or several in a row, that take milliseconds of their own on a synthetic clock."""

    def __init__(self, clock, milliseconds, *inner):
        super().__init__()
        self.clock, self.milliseconds = clock, milliseconds
        self.inner = nn.Sequential(*inner) if inner else None
        self.weight = nn.Parameter(torch.ones(16, 16, 3, 3)) if not inner else None

    def forward(self, x):
        self.clock.now += 1e-3 * next(self.milliseconds)
        if self.inner is not None:
            return self.inner(x)
        return nn.functional.conv2d(x, self.weight, padding=1)


def _forever(*values):
    while True:
        yield from values


def _slow_network(clock):
    first, second = Slow(clock, _forever(6.0)), Slow(clock, _forever(3.0))
    return Slow(clock, _forever(1.0), first, second)


def test_layers_and_what_is_between_them_add_up():
    clock = Clock()
    network, images = _slow_network(clock), torch.zeros(2, 16, 8, 8)
    before = {name: dict(module.__dict__) for name, module in network.named_modules()}
    report = bench(network, images, CEILINGS, runs=4, clock=clock)
    assert report.latency.median_ms == pytest.approx(10.0)
    assert report.latency.images_per_s == pytest.approx(200.0)
    assert [layer.name for layer in report.layers] == ["inner.0", "inner.1", BETWEEN]
    assert [layer.ms for layer in report.layers] == pytest.approx([6.0, 3.0, 1.0])
    assert [layer.share for layer in report.layers] == pytest.approx([0.6, 0.3, 0.1])
    macs = 2 * 16 * 8 * 8 * 16 * 9
    assert [layer.macs for layer in report.layers] == [macs, macs, 0]
    assert report.layers[0].gflops == pytest.approx(2 * macs / 6e-3 / 1e9)
    assert report.gflops == pytest.approx(4 * macs / 10e-3 / 1e9)
    assert report.peak_share == pytest.approx(report.gflops / 100.0)
    after = {name: dict(module.__dict__) for name, module in network.named_modules()}
    assert after == before


def test_a_pass_that_was_disturbed_does_not_decide_the_shares():
    clock = Clock()
    disturbed = Slow(clock, _forever(1.0, 1.0, 1.0, 90.0))
    network = nn.Sequential(disturbed, Slow(clock, _forever(3.0)))
    report = bench(network, torch.zeros(1, 16, 8, 8), CEILINGS, runs=8, clock=clock)
    assert [layer.share for layer in report.layers] == pytest.approx([0.25, 0.75, 0.0])


def test_memory_bound_layers_are_told_by_flops_per_byte():
    network = nn.Sequential(
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1, groups=64)
    ).eval()
    report = bench(network, torch.rand(1, 64, 28, 28), CEILINGS, runs=1)
    assert [layer.is_memory_bound for layer in report.layers[:3]] == [False, True, True]
    found = {each.kind: each for each in report.memory_bound}
    assert set(found) == {"relu", "depthwise conv2d"}
    assert found["relu"].intensity == pytest.approx(1 / 8)  # one FLOP, four bytes in, four out
    depthwise = found["depthwise conv2d"]
    assert depthwise.macs_share == pytest.approx(1 / 65)
    # 9 multiply-accumulates and a bias per output; the weights are read, too.
    assert depthwise.intensity == pytest.approx(19 * 50176 / (4 * (2 * 50176 + 640)))


def test_measured_quantiles_by_hand():
    clock = Clock()
    network = Slow(clock, _forever(*[9.0] * 3, *map(float, range(1, 12))))
    latency = measure_latency(network, 8, in_channels=16, runs=11, clock=clock)
    assert (latency.low_ms, latency.median_ms, latency.high_ms) == pytest.approx((2, 6, 10))


def test_images_follow_the_weights_and_leave_the_random_state_alone():
    model, state = nn.Conv2d(5, 5, 1).to(torch.bfloat16), torch.get_rng_state()
    images = random_images(model, 4, 5, 3)
    assert images.shape == (3, 5, 4, 4)
    assert images.dtype == torch.bfloat16
    assert torch.equal(torch.get_rng_state(), state)
    for batch, size in ((0, 4), (1, 0)):
        with pytest.raises(OptionError, match="1 or more"):
            random_images(model, size, 5, batch)


def test_a_schedule_by_hand():
    """1,000 images in batches of 32 are 32 steps an epoch; 10 epochs of 100 ms steps, 32 s."""
    estimate = estimate_training(100.0, 1000, 32, 10)
    assert estimate.steps == 320
    assert estimate.images_per_s == pytest.approx(320.0)
    assert estimate.seconds == pytest.approx(32.0)
    assert not estimate.is_loader_bound


@pytest.mark.parametrize(
    ("loader", "seconds", "bound"), [(160.0, 64.0, True), (640.0, 32.0, False)]
)
def test_a_slow_loader_sets_the_pace(loader, seconds, bound):
    estimate = estimate_training(100.0, 1000, 32, 10, loader)
    assert estimate.seconds == pytest.approx(seconds)
    assert estimate.is_loader_bound is bound


@pytest.mark.parametrize("wrong", ["step_ms", "images", "batch", "epochs", "loader_images_per_s"])
def test_a_schedule_of_nothing_is_refused(wrong):
    numbers = {"step_ms": 1.0, "images": 1, "batch": 1, "epochs": 1, "loader_images_per_s": 1.0}
    with pytest.raises(OptionError, match=wrong):
        estimate_training(**{**numbers, wrong: 0})


def test_a_predicted_step_by_hand():
    """The image needs no gradient: one backward MAC per MAC; the ReLU moves three arrays for two.

    4 + 4 ms for the first convolution, 1 + 1.5 ms for the ReLU, 2 + 4 ms for the second one.
    """
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    costs = analyze(network, 16).layers
    times = zip(costs, (4.0, 1.0, 2.0), strict=True)
    layers = [LayerTime(cost.name, cost.operator, ms, False) for cost, ms in times]
    assert predict_step_ms(layers, costs) == pytest.approx(8.0 + 2.5 + 6.0)


def test_a_step_is_timed_in_train_mode():
    clock, modes = Clock(), []
    network = nn.Sequential(Slow(clock, _forever(7.0)), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.register_forward_hook(lambda module, *_: modes.append(module.training))
    network.eval()
    step = measure_step(network, torch.rand(2, 16, 4, 4), runs=3, clock=clock)
    assert step.median_ms == pytest.approx(7.0)
    assert step.batch == 2
    assert all(modes)
    assert len(modes) == 6
