from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.errors import OptionError
from convatlas.train import loop
from convatlas.train.checkpoint import RunFolder
from convatlas.train.interrupt import Interrupted
from convatlas.train.loop import fit
from convatlas.train.precision import Precision, check_bf16, multiplies_bf16
from convatlas.train.session import Session
from convatlas.train.verification import compare_checkpoints
from small_training import Batches, Held, Images, Sign, net, recipe_of

CPU = torch.device("cpu")


@dataclass
class Straying(Sign):
    """A task whose loss in bfloat16 is ``factor`` times that in fp32."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        super().__init__()

    def loss(self, model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
        loss, logits = super().loss(model, batch)
        return (loss * self.factor if torch.is_autocast_enabled("cpu") else loss), logits


@pytest.fixture
def has_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor, let it be one that multiplies bfloat16."""
    monkeypatch.setattr(loop, "multiplies_bf16", lambda _: True)


def test_the_losses_are_those_of_one_batch_in_both_precisions() -> None:
    model, batch = net(), Batches().batch(0, 0)
    found = check_bf16(model, Straying(factor=1.04), batch, CPU)
    assert found.name == "bf16"
    assert found.bf16_loss == pytest.approx(1.04 * (found.fp32_loss or 0), rel=0.02)


def test_the_check_leaves_no_trace() -> None:
    model = net()
    model.stem.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    check_bf16(model, Sign(), Batches().batch(0, 0), CPU)
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [module.training for module in model.modules()]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("factor", [1.5, 0.5, float("nan"), float("inf")])
def test_a_loss_that_strays_means_fp32_and_says_both(factor: float) -> None:
    with pytest.warns(UserWarning, match=r"training in fp32: .* in bfloat16 and 0\.\d{4} in fp32"):
        found = check_bf16(net(), Straying(factor=factor), Batches().batch(0, 0), CPU)
    assert found.name == "fp32"
    assert found.fp32_loss is not None


def narrowing() -> nn.Sequential:
    """Return a network whose last convolution strides by two over 1 px of images of 8."""
    convs = [nn.Conv2d(1 if n == 0 else 6, 6, 3, 2, padding=1) for n in range(4)]
    return nn.Sequential(*convs, nn.Flatten(), nn.Linear(6, 2))


def test_images_narrower_than_a_stride_mean_fp32() -> None:
    told = r"training in fp32: 3 sees 1 × 1 px with stride 2 × 2"
    with pytest.warns(UserWarning, match=told):
        found = check_bf16(narrowing(), Sign(), Batches().batch(0, 0), CPU)
    assert found.name == "fp32"


def test_bf16_over_images_narrower_than_a_stride_is_refused(tmp_path: Path) -> None:
    recipe = recipe_of({"training.precision": "bf16", "training.epochs": 1})
    with pytest.raises(OptionError, match=r"precision=bf16: 3 sees 1 × 1 px .* precision=auto"):
        fit(narrowing(), Sign(), Batches(), Held(), recipe, run=RunFolder(tmp_path))


def test_bf16_is_refused_where_a_run_goes_on_too(tmp_path: Path) -> None:
    recipe = recipe_of({"training.precision": "bf16", "training.epochs": 2})
    run, one_epoch = RunFolder(tmp_path), Session(stop_after_steps=Batches().steps)
    sound = narrowing()
    sound[3].stride = (1, 1)  # 1 px stays 1 px, and the weights are the same
    with pytest.raises(Interrupted):
        fit(sound, Sign(), Batches(), Held(), recipe, run=run, session=one_epoch)
    on = Session(resume=True)
    with pytest.raises(OptionError, match="precision=bf16: 3 sees 1 × 1 px"):
        fit(narrowing(), Sign(), Batches(), Held(), recipe, run=run, session=on)


@pytest.mark.usefixtures("has_bf16")
def test_the_decision_goes_into_the_checkpoints_and_holds_after_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = (
        recipe_of({"training.precision": "auto", "training.epochs": 2}),
        RunFolder(tmp_path),
    )
    task = Straying(factor=2.0)
    with pytest.warns(UserWarning, match="training in fp32"), pytest.raises(Interrupted):
        fit(net(), task, Batches(), Held(), recipe, run=run, session=Session(stop_after_steps=2))
    saved = run.load_last().metadata["precision"]
    assert saved["name"] == "fp32"
    assert saved["bf16_loss"] == pytest.approx(2 * saved["fp32_loss"], rel=0.02)
    monkeypatch.setattr(loop, "check_bf16", lambda *_: pytest.fail("decided a second time"))
    with warnings.catch_warnings():
        fit(net(), task, Batches(), Held(), recipe, run=run, session=Session(resume=True))
    assert run.load_last().metadata["precision"] == saved


@pytest.mark.usefixtures("has_bf16")
def test_a_run_in_bf16_goes_on_bit_for_bit(tmp_path: Path) -> None:
    recipe = recipe_of({"training.precision": "auto", "training.epochs": 2, "optimizer.lr": 0.1})
    straight, stopped = (RunFolder(tmp_path / name) for name in ("straight", "stopped"))
    fit(net(), Sign(), Batches(), Held(), recipe, run=straight)
    half = Session(stop_after_steps=4)
    with pytest.raises(Interrupted):
        fit(net(), Sign(), Batches(), Held(), recipe, run=stopped, session=half)
    fit(net(), Sign(), Batches(), Held(), recipe, run=stopped, session=Session(resume=True))
    assert straight.load_last().metadata["precision"]["name"] == "bf16"
    assert compare_checkpoints(straight.load_last(), stopped.load_last()) == []


@pytest.mark.parametrize(("hardware", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_follows_the_processor(
    hardware: bool, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watching(Sign):
        seen: list[bool] = []  # noqa: RUF012

        def loss(self, model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
            loss, logits = super().loss(model, batch)
            if logits.requires_grad:
                self.seen.append(logits.dtype == torch.bfloat16)
            return loss, logits

        def evaluate(self, model: nn.Module, batches: Any) -> Any:
            assert not torch.is_autocast_enabled("cpu")
            return super().evaluate(model, batches)

    Watching.seen = []
    monkeypatch.setattr(loop, "multiplies_bf16", lambda _: hardware)
    recipe = recipe_of({"training.precision": "auto", "training.epochs": 1})
    fit(net(), Watching(), Batches(), Held(), recipe, run=RunFolder(tmp_path))
    assert set(Watching.seen) == {expected == "bf16"}


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_the_loss_of_what_is_asked_for_is_not_checked(wanted: str, tmp_path: Path) -> None:
    recipe = recipe_of({"training.precision": wanted, "training.epochs": 1})
    fit(net(), Straying(factor=9.0), Batches(), Held(), recipe, run=RunFolder(tmp_path))
    saved = RunFolder(tmp_path).load_last().metadata["precision"]
    assert Precision.from_dict(saved) == Precision(wanted)


@pytest.mark.usefixtures("has_bf16")
def test_a_loss_that_is_not_finite_in_fp32_is_left_to_the_first_step(tmp_path: Path) -> None:
    recipe = recipe_of({"training.precision": "auto"})
    with pytest.raises(OptionError, match="step 1"):
        fit(net(), Sign(), Batches(poison=(0, 0)), Held(), recipe, run=RunFolder(tmp_path))


def test_the_processor_is_asked_by_its_flags() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.exists() or "flags" not in flags.read_text(encoding="ascii"):
        pytest.skip("no list of the processor's flags")
    words = flags.read_text(encoding="ascii").split()
    assert multiplies_bf16(CPU) == bool({"amx_bf16", "avx512_bf16"} & set(words))
    assert not multiplies_bf16(torch.device("meta"))


@pytest.mark.gpu
def test_a_gpu_with_bf16_trains_in_it(tmp_path: Path) -> None:
    model = net()
    recipe = recipe_of({"training.precision": "auto", "training.epochs": 1})
    fit(model, Sign(), Batches(), Held(), recipe, run=RunFolder(tmp_path))
    images = Batches().batch(0, 0).images.cuda()
    assert F.softmax(model(images), 1).isfinite().all()
    assert RunFolder(tmp_path).load_last().metadata["precision"]["name"] == "bf16"
