from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.errors import CheckpointError, OptionError
from convatlas.models.anatomy import ConvNet
from convatlas.train.checkpoint import RunFolder
from convatlas.train.interrupt import Interrupted
from convatlas.train.loop import fit
from convatlas.train.recipe import Recipe
from convatlas.train.reports import EpochReport, History, Plan, StepReport

STEPS = 3


@pytest.fixture(autouse=True, scope="module")
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@dataclass(frozen=True)
class Images:
    images: Tensor
    labels: Tensor
    indices: Tensor


class Batches:
    """Random images whose class is the sign of their mean, as a function of epoch and step."""

    def __init__(self, steps: int = STEPS, poison: tuple[int, int] | None = None) -> None:
        self.steps = steps
        self.poison = poison

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int) -> Images:
        generator = torch.Generator().manual_seed(1000 * epoch + step)
        images = torch.randn(8, 1, 8, 8, generator=generator)
        labels = (images.mean(dim=(1, 2, 3)) > 0).long()
        if (epoch, step) == self.poison:
            images[0, 0, 0, 0] = torch.nan
        return Images(images, labels, torch.arange(8))

    def epoch(self, epoch: int) -> Iterator[Images]:
        return (self.batch(epoch, step) for step in range(self.steps))


class Held:
    def __iter__(self) -> Iterator[Images]:
        yield Batches().batch(99, 0)
        yield Batches().batch(99, 1)


@dataclass(frozen=True)
class Score:
    headline: float

    def as_dict(self) -> dict[str, Any]:
        return {"accuracy": self.headline, "table": [[1, 2], [3, 4]], "none": None}


class Sign:
    """The task."""

    def __init__(self) -> None:
        self.evaluated: list[nn.Module] = []

    def loss(self, model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
        logits = model(batch.images)
        return F.cross_entropy(logits.float(), batch.labels), logits

    def evaluate(self, model: nn.Module, batches: Any) -> Score:
        self.evaluated.append(model)
        model.eval()
        with torch.no_grad():
            right = [(model(b.images).argmax(1) == b.labels).float() for b in batches]
        return Score(torch.cat(right).mean().item())


def block(i: int, o: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.Dropout2d(0.2)
    )


def net() -> ConvNet:
    torch.manual_seed(7)
    head = nn.Sequential()
    head.add_module("pool", nn.AdaptiveAvgPool2d(1))
    head.add_module("flatten", nn.Flatten())
    head.add_module("dropout", nn.Dropout(0.3))
    head.add_module("classifier", nn.Linear(6, 2))
    return ConvNet(
        block(1, 4),
        [block(4, 4), block(4, 6)],
        head,
        channels=[4, 6],
        strides=[1, 1],
        in_channels=1,
    )


class Stopper:
    """Ends the run after a step, or after an epoch, in the way it is told."""

    def __init__(self, after_step: int = 0, after_epoch: int = 0, how: str = "ctrl-c") -> None:
        self.after_step = after_step
        self.after_epoch = after_epoch
        self.how = how

    def start(self, plan: Plan) -> None: ...

    def step(self, report: StepReport) -> None:
        if report.step == self.after_step:
            self._end()

    def epoch(self, report: EpochReport) -> None:
        if report.epoch == self.after_epoch:
            self._end()

    def stop(self) -> None: ...

    def _end(self) -> None:
        if self.how == "ctrl-c":
            signal.raise_signal(signal.SIGINT)
        else:
            raise RuntimeError("killed")


def train(run: Path, recipe: Recipe, *observers: Any, resume: bool = False) -> History:
    return fit(
        net(),
        Sign(),
        Batches(),
        Held(),
        recipe,
        run=RunFolder(run),
        observers=observers,
        resume=resume,
    )


RECIPES = {
    "momentum and averaging": Recipe(epochs=4, lr=0.1, nesterov=True, ema_decay=0.9),
    "adamw, clipping and warm-up": Recipe(
        epochs=4, optimizer="adamw", lr=0.01, clip_norm=0.1, warmup_epochs=1, weight_decay=0.1
    ),
    "plateau": Recipe(epochs=4, lr=0.1, schedule="plateau", patience=1),
    "freeze, then fine-tune": Recipe(
        epochs=4, lr=0.1, freeze_epochs=2, finetune_lr=0.01, stage_lr_decay=0.5, ema_decay=0.5
    ),
    "bfloat16": Recipe(epochs=4, lr=0.1, precision="bf16"),
}


def same_time(report: EpochReport) -> EpochReport:
    return replace(report, seconds=0.0, images_per_second=0.0)


def lines(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in e.items() if k not in ("seconds", "images_per_second")} for e in found
    ]


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert lines(one) == lines(other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, History]]:
    runs = {}
    for name, recipe in RECIPES.items():
        path = tmp_path_factory.mktemp("whole")
        runs[name] = (path, train(path, recipe))
    return runs


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_a_run_stopped_by_ctrl_c_goes_on_bit_for_bit(
    tmp_path: Path, whole: dict[str, tuple[Path, History]], name: str, step: int
) -> None:
    reference, history = whole[name]
    with pytest.raises(Interrupted) as caught:
        train(tmp_path, RECIPES[name], Stopper(after_step=step))
    assert caught.value.steps_done == step
    assert caught.value.epochs_done == (step - 1) // STEPS
    resumed = train(tmp_path, RECIPES[name], resume=True)
    assert_same_run(reference, tmp_path)
    assert list(map(same_time, resumed.epochs)) == list(map(same_time, history.epochs))


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_killed_and_stopped_several_times_goes_on_bit_for_bit(
    tmp_path: Path, whole: dict[str, tuple[Path, History]], name: str
) -> None:
    recipe = RECIPES[name]
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, recipe, Stopper(after_step=5, how="kill"))
    with pytest.raises(Interrupted):
        train(tmp_path, recipe, Stopper(after_step=4), resume=True)
    with pytest.raises(RuntimeError, match="killed"):
        train(tmp_path, recipe, Stopper(after_epoch=2, how="kill"), resume=True)
    with pytest.raises(Interrupted):
        train(tmp_path, recipe, Stopper(after_epoch=3), resume=True)
    train(tmp_path, recipe, resume=True)
    assert_same_run(whole[name][0], tmp_path)


def test_the_plateau_run_really_lowered_its_rate(whole: dict[str, tuple[Path, History]]) -> None:
    path, history = whole["plateau"]
    assert json.loads((path / "last.json").read_text())["plateau"]["scale"] < 1
    assert history.epochs[-1].lr < 0.1


def test_dropout_makes_the_seed_matter(tmp_path: Path) -> None:
    recipe = RECIPES["momentum and averaging"]
    for seed in (0, 1):
        train(tmp_path / str(seed), replace(recipe, seed=seed))
    first, second = ((tmp_path / str(s) / "last.safetensors").read_bytes() for s in (0, 1))
    assert first != second


def test_the_callers_random_state_is_left_alone(tmp_path: Path) -> None:
    model = net()
    before = torch.random.get_rng_state()
    fit(model, Sign(), Batches(), Held(), Recipe(epochs=1), run=RunFolder(tmp_path))
    assert torch.equal(before, torch.random.get_rng_state())


def test_sgd_without_extras_equals_a_loop_written_by_hand(tmp_path: Path) -> None:
    model, ours = net(), net()
    for module in [*model.modules(), *ours.modules()]:
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    recipe = Recipe(epochs=2, lr=0.1, schedule="constant", weight_decay=0)
    history = fit(ours, Sign(), Batches(), Held(), recipe, run=RunFolder(tmp_path))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    means = []
    for epoch in range(2):
        model.train()
        losses = []
        for batch in Batches().epoch(epoch):
            loss = F.cross_entropy(model(batch.images), batch.labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        means.append(sum(losses) / len(losses))
    assert [report.loss for report in history.epochs] == pytest.approx(means, rel=1e-4)
    last = RunFolder(tmp_path).load_last().tensors
    for name, value in model.state_dict().items():
        torch.testing.assert_close(last[f"model.{name}"], value, rtol=1e-3, atol=1e-5)


def test_the_model_ends_with_the_best_weights_in_evaluation_mode(tmp_path: Path) -> None:
    model = net()
    recipe = Recipe(epochs=4, lr=0.3, ema_decay=0.5)
    history = fit(model, Sign(), Batches(), Held(), recipe, run=RunFolder(tmp_path))
    assert not any(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    best = RunFolder(tmp_path).load_best()
    assert all(torch.equal(best.tensors[k], v) for k, v in model.state_dict().items())
    assert Sign().evaluate(model, Held()).headline == history.best.headline
    assert history.best.headline == max(report.headline for report in history.epochs)
    assert best.metadata["epochs_done"] == history.best.epoch


def test_the_last_weights_are_kept_when_the_recipe_says_so(tmp_path: Path) -> None:
    model = net()
    recipe = Recipe(epochs=4, lr=0.3, ema_decay=0.5, keep="last")
    history = fit(model, Sign(), Batches(), Held(), recipe, run=RunFolder(tmp_path))
    averaged = RunFolder(tmp_path).load_last().tensors
    assert all(torch.equal(averaged[f"ema.{k}"], v) for k, v in model.state_dict().items())
    assert Sign().evaluate(model, Held()).headline == history.epochs[-1].headline


def test_the_averaged_copy_is_what_gets_evaluated(tmp_path: Path) -> None:
    model, task = net(), Sign()
    recipe = Recipe(epochs=1, ema_decay=0.5)
    fit(model, task, Batches(), Held(), recipe, run=RunFolder(tmp_path))
    assert task.evaluated != [model]


def test_while_frozen_only_the_classifier_moves(tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, lr=0.1, freeze_epochs=2, finetune_lr=0.1)
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(Interrupted):
        fit(
            model,
            Sign(),
            Batches(),
            Held(),
            recipe,
            run=RunFolder(tmp_path),
            observers=[Stopper(after_step=2 * STEPS)],
        )
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("head.classifier"), name
    assert all(p.requires_grad for p in model.parameters())
    train(tmp_path, recipe, resume=True)
    last = RunFolder(tmp_path).load_last().tensors
    assert not any(torch.equal(last[f"model.{name}"], value) for name, value in before.items())


def test_a_loss_that_is_nan_stops_with_step_rate_and_advice(tmp_path: Path) -> None:
    recipe = Recipe(epochs=2, lr=0.25, schedule="constant")
    run = RunFolder(tmp_path)
    with pytest.raises(OptionError) as caught:
        fit(net(), Sign(), Batches(poison=(1, 1)), Held(), recipe, run=run)
    message = str(caught.value)
    assert message.startswith("the loss became nan at step 5 (epoch 2) with learning rate 0.25")
    assert "lower lr" in message
    assert "\n" not in message
    assert run.load_last().metadata["epochs_done"] == 1


def test_a_second_ctrl_c_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    class Impatient(Sign):
        calls = 0

        def loss(self, model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
            self.calls += 1
            if self.calls == STEPS + 2:
                raise KeyboardInterrupt
            return super().loss(model, batch)

    recipe = Recipe(epochs=2)
    with pytest.raises(Interrupted) as caught:
        fit(net(), Impatient(), Batches(), Held(), recipe, run=RunFolder(tmp_path / "a"))
    assert (caught.value.epochs_done, caught.value.steps_done) == (1, STEPS)
    task = Impatient()
    task.calls = STEPS + 1
    with pytest.raises(KeyboardInterrupt) as early:
        fit(net(), task, Batches(), Held(), recipe, run=RunFolder(tmp_path / "b"))
    assert not isinstance(early.value, Interrupted)


def test_ctrl_c_during_the_evaluation_does_not_lose_the_epoch(
    tmp_path: Path, whole: dict[str, tuple[Path, History]]
) -> None:
    name = "momentum and averaging"

    class Long(Held):
        def __iter__(self) -> Iterator[Images]:
            for batch in super().__iter__():
                yield batch
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        fit(net(), Sign(), Batches(), Long(), RECIPES[name], run=RunFolder(tmp_path))
    assert (caught.value.epochs_done, caught.value.steps_done) == (0, STEPS)
    train(tmp_path, RECIPES[name], resume=True)
    assert_same_run(whole[name][0], tmp_path)


def test_what_cannot_be_resumed_says_why(tmp_path: Path) -> None:
    recipe = Recipe(epochs=2)
    with pytest.raises(CheckpointError, match="start it without resume"):
        train(tmp_path, recipe, resume=True)
    train(tmp_path, recipe)
    with pytest.raises(CheckpointError, match="already holds a run: resume it, or choose another"):
        train(tmp_path, recipe)
    with pytest.raises(CheckpointError, match=r"recipe differs.* \(lr 0\.1 → 0\.2\)"):
        train(tmp_path, replace(recipe, lr=0.2), resume=True)
    run = RunFolder(tmp_path)
    with pytest.raises(CheckpointError, match="expected 3 steps per epoch as in the saved run"):
        fit(net(), Sign(), Batches(4), Held(), recipe, run=run, resume=True)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(CheckpointError, match=r"another network: 1\.bias is missing there"):
        fit(other, Sign(), Batches(), Held(), recipe, run=run, resume=True)


def test_a_finished_run_resumes_to_its_history(tmp_path: Path) -> None:
    recipe = Recipe(epochs=2)
    history = train(tmp_path, recipe)
    assert train(tmp_path, recipe, resume=True) == history


def test_any_module_trains_and_one_without_anatomy_cannot_freeze(tmp_path: Path) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    run = RunFolder(tmp_path)
    history = fit(plain, Sign(), Batches(), Held(), Recipe(epochs=2), run=run)
    assert len(history.epochs) == 2
    run = RunFolder(tmp_path / "frozen")
    recipe = Recipe(epochs=2, freeze_epochs=1)
    with pytest.raises(OptionError, match="freezing needs a ConvNet"):
        fit(plain, Sign(), Batches(), Held(), recipe, run=run)


def test_no_batches_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at least 1 step per epoch, got 0: lower batch_size"):
        fit(net(), Sign(), Batches(0), Held(), Recipe(), run=RunFolder(tmp_path))


def test_reports_hold_only_single_numbers(tmp_path: Path) -> None:
    history = train(tmp_path, Recipe(epochs=1))
    assert history.epochs[0].metrics.keys() == {"accuracy"}
    json.dumps(history.as_dict())
