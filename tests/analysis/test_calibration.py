"""Calibration with a synthetic clock: what is timed, kept, refused, and never half-written."""

from __future__ import annotations

import json
from itertools import islice

import pytest
import torch

from convatlas.analysis import calibration as module
from convatlas.analysis.calibration import (
    Calibration,
    Sample,
    calibrate,
    calibration_file,
    load_calibration,
    save_calibration,
)
from convatlas.analysis.machine import Ceilings, measure_ceilings, this_machine, threads_set
from convatlas.analysis.primitives import MOST_ELEMENTS, Primitive, primitives
from convatlas.analysis.work import Work
from convatlas.errors import CalibrationError, OptionError


class Clock:
    """Goes on by a fixed number of seconds whenever it is read."""

    def __init__(self, step=1e-3):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture
def small(monkeypatch):
    """Draw only small primitives, from a small array."""
    drawn = [p for p in islice(primitives(), 400) if sum(map(_elements, p.shapes)) < 20_000]
    monkeypatch.setattr(module, "primitives", lambda: iter(drawn))
    monkeypatch.setattr(module, "MOST_ELEMENTS", 1 << 20)
    monkeypatch.setattr(module, "measure_ceilings", lambda *_: Ceilings(100.0, 10.0))
    return drawn


@pytest.fixture
def made():
    """A calibration that nobody measured."""
    samples = [Sample(Work("relu", 0, n, 0, n), 1e-3 * n) for n in (8, 64, 512)]
    return Calibration(this_machine(), Ceilings(100.0, 10.0), 0.001, tuple(samples))


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVATLAS_CACHE", str(tmp_path))
    return tmp_path


def _elements(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def _calibrated():
    return calibrate(clock=Clock(), minutes=3, most_samples=30)


def test_every_primitive_is_one_operator_within_the_caps():
    seen = set()
    for primitive in islice(primitives(), 600):
        work = module._work_of(primitive)
        seen.add(work.operator)
        assert work.macs <= 1_000_000_000
        assert all(_elements(shape) <= MOST_ELEMENTS for shape in primitive.shapes)
    wanted = {"conv2d", "linear", "batch_norm", "layer_norm", "relu", "hardtanh", "hardswish"}
    wanted |= {"silu", "gelu", "sigmoid", "add", "mul", "max_pool2d", "avg_pool2d", "cat"}
    wanted |= {"global_pool", "copy", "softmax", "scaled_dot_product_attention", "view"}
    wanted |= {"interpolate_nearest", "interpolate_bilinear", "conv_transpose2d"}
    assert wanted <= seen


def test_the_draw_is_the_same_every_time():
    first, second = (list(islice(primitives(), 50)) for _ in range(2))
    assert [p.shapes for p in first] == [p.shapes for p in second]
    assert [p.order for p in first] == [p.order for p in second]


@pytest.mark.usefixtures("small")
def test_a_call_takes_what_the_clock_says():
    """The clock is read before and after each call, and goes on by 1 ms each time."""
    calibration = _calibrated()
    assert len(calibration.samples) == 30
    assert [sample.ms for sample in calibration.samples] == pytest.approx([1.0] * 30)
    assert calibration.call_ms == pytest.approx(1.0 / 200)  # 200 idle modules in one reading


def test_an_operator_that_does_not_exist_in_a_precision_is_left_out(small, monkeypatch):
    def missing(x):
        if x.is_meta:
            return x.relu()
        raise NotImplementedError

    drawn = [Primitive(missing, ((1, 8),)), *small[:5]]
    monkeypatch.setattr(module, "primitives", lambda: iter(drawn))
    assert len(_calibrated().samples) == 5


def test_ceilings_by_hand():
    """The fastest run takes one step of the clock: FLOPs and bytes are per that step."""
    ceilings = measure_ceilings(clock=Clock(1.0))
    assert ceilings.convolution_gflops == pytest.approx(2e-9 * 128 * 128 * 9 * 56 * 56)
    assert ceilings.bandwidth_gbs == pytest.approx(3e-9 * 16_000_000 * 4)


@pytest.mark.usefixtures("cache")
def test_what_is_kept_is_what_is_loaded(made):
    path = save_calibration(made)
    assert load_calibration() == made
    assert [path] == list(path.parent.iterdir())


@pytest.mark.usefixtures("small")
def test_the_time_is_kept():
    seconds = []
    calibrate(clock=Clock(0.1), minutes=1, progress=lambda done, _: seconds.append(done))
    assert seconds == sorted(seconds)
    assert seconds[-1] == 60


@pytest.mark.usefixtures("small")
def test_ctrl_c_leaves_nothing(cache, monkeypatch, made):
    def interrupt(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_calibration(calibrate(clock=Clock(), minutes=0.2, progress=interrupt))
    assert not list(cache.rglob("*.json*"))
    kept = save_calibration(made).read_bytes()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("convatlas.files.os.fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        save_calibration(made)
    assert [path.read_bytes() for path in cache.rglob("*") if path.is_file()] == [kept]


@pytest.mark.usefixtures("cache")
def test_a_missing_calibration_says_what_to_run():
    with pytest.raises(CalibrationError, match=r"found none: run `convatlas calibrate .*bfloat16"):
        load_calibration("bfloat16")


def _without(content, name):
    del content[name]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content.update(format=0), "made for format 0, not 1"),
        (lambda content: content.update(torch="1.0"), "made for torch 1.0, not"),
        (lambda content: content.update(cpu="abacus"), "made for cpu abacus, not"),
        (lambda content: content.update(samples=[]), "is damaged"),
        (lambda content: content["samples"][2].pop(), "is damaged"),
        (lambda content: content["samples"][2].append("fast"), "is damaged"),
        (lambda content: content["samples"][0].__setitem__(-1, -2.0), "is damaged"),
        (lambda content: content.update(columns=["operator"]), "is damaged"),
        (lambda content: content.update(call_ms=float("nan")), "is damaged"),
        (lambda content: _without(content, "bandwidth_gbs"), "is damaged"),
    ],
)
@pytest.mark.usefixtures("cache")
def test_a_stale_or_damaged_one_is_noticed_in_one_line(damage, message, made):
    path = save_calibration(made)
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    _is_refused(message)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00\x01", '"words"'])
@pytest.mark.usefixtures("cache")
def test_something_else_in_the_file_is_noticed(text):
    path = calibration_file(this_machine())
    path.parent.mkdir(parents=True)
    path.write_text(text)
    _is_refused("cannot be read|out of date")


def _is_refused(message):
    with pytest.raises(CalibrationError, match=message) as raised:
        load_calibration()
    text = str(raised.value)
    assert "\n" not in text
    assert (
        f"run `convatlas calibrate --precision float32 --threads {torch.get_num_threads()}" in text
    )


def test_threads_and_precisions_have_their_own_files():
    before = torch.get_num_threads()
    files = {calibration_file(this_machine(name)) for name in ("float32", "bfloat16")}
    with threads_set(before + 1):
        files.add(calibration_file(this_machine()))
    assert len(files) == 3
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("minutes", [0, -1, 3.5, float("nan")])
def test_minutes_are_limited(minutes):
    with pytest.raises(OptionError, match="at most 3"):
        calibrate(minutes=minutes)


def test_other_precisions_and_threads_are_refused():
    with pytest.raises(OptionError, match="float32 or bfloat16, got 'int8'"):
        calibrate("int8")
    with pytest.raises(OptionError, match="threads must be 1 or more, got 0"), threads_set(0):
        pass
