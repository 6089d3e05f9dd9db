from __future__ import annotations

import errno
import json
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.errors import CheckpointError, OptionError, OutputError
from convatlas.train.checkpoint import RunFolder
from convatlas.train.interrupt import Interrupted
from convatlas.train.loop import fit
from convatlas.train.recipe import Recipe
from convatlas.train.reports import EpochReport, History, Plan, StepReport
from convatlas.train.session import Session
from small_training import RECIPES, STEPS, Batches, Held, Images, Score, Sign, net, recipe_of


@pytest.fixture(autouse=True, scope="module")
def _no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


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


def train(
    run: Path, recipe: Recipe, *observers: Any, resume: bool = False, **session: Any
) -> History:
    return fit(
        net(),
        Sign(),
        Batches(),
        Held(),
        recipe,
        run=RunFolder(run),
        observers=observers,
        session=Session(resume=resume, **session),
    )


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


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_killed_inside_epochs_goes_on_from_its_checkpoint_there(
    tmp_path: Path, whole: dict[str, tuple[Path, History]], name: str
) -> None:
    resume, saved = False, []
    for after in (2, 5, 7, 11):
        stopper = Stopper(after_step=after, how="kill")
        with pytest.raises(RuntimeError, match="killed"):
            train(tmp_path, RECIPES[name], stopper, resume=resume, checkpoint_steps=1)
        resume = RunFolder(tmp_path).has_run()
        meta = RunFolder(tmp_path).load_last().metadata
        saved.append(meta["epochs_done"] * STEPS + meta["step"])
    # The observer of a step comes before its checkpoint: one step is lost each time, no more.
    assert saved == [1, 4, 6, 10]
    train(tmp_path, RECIPES[name], resume=True)
    assert_same_run(whole[name][0], tmp_path)


def test_a_run_told_to_stop_after_a_step_leaves_a_checkpoint_of_it(
    tmp_path: Path, whole: dict[str, tuple[Path, History]]
) -> None:
    name = "momentum and averaging"
    for steps in (2, STEPS, 7):
        with pytest.raises(Interrupted) as caught:
            train(tmp_path, RECIPES[name], resume=steps > 2, stop_after_steps=steps)
        assert caught.value.steps_done == steps
    train(tmp_path, RECIPES[name], resume=True)
    assert_same_run(whole[name][0], tmp_path)


class Scripted(Sign):
    """Gives the headlines it is told, one after each epoch, over the runs of a test."""

    def __init__(self, headlines: list[float]) -> None:
        super().__init__()
        self.headlines = headlines

    def evaluate(self, model: nn.Module, batches: Any) -> Score:
        return Score(self.headlines.pop(0))


@pytest.mark.parametrize(
    ("freeze_epochs", "expected"),
    # 5 3 4 5: no better than 5 for three epochs. Frozen epochs do not count: 6 is the best then.
    [(0, 4), (1, 8)],
)
@pytest.mark.parametrize("stop_at", [0, 7])
def test_a_run_ends_when_its_headline_no_longer_gets_better(
    tmp_path: Path, freeze_epochs: int, expected: int, stop_at: int
) -> None:
    task = Scripted([5.0, 3.0, 4.0, 5.0, 6.0, 6.0, 1.0, 2.0, 9.0, 9.0])
    recipe = recipe_of(
        {
            "training.epochs": 10,
            "training.stop_after": 3,
            "transfer.freeze_epochs": freeze_epochs,
        }
    )
    run = RunFolder(tmp_path)

    def go(session: Session) -> History:
        return fit(net(), task, Batches(), Held(), recipe, run=run, session=session)

    if stop_at:
        with pytest.raises(Interrupted):
            go(Session(stop_after_steps=stop_at))
    history = go(Session(resume=bool(stop_at)))
    assert len(history.epochs) == expected
    # A run that has ended does not begin again.
    assert len(go(Session(resume=True)).epochs) == expected


def draw() -> tuple[float, ...]:
    """Draw from the global generators of Python, numpy and torch."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: S311, NPY002


def test_a_draw_inside_a_step_depends_on_the_seed_and_the_step_alone(tmp_path: Path) -> None:
    class Drawing(Sign):
        def __init__(self) -> None:
            super().__init__()
            self.drawn: list[tuple[float, ...]] = []

        def loss(self, model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
            self.drawn.append(draw())
            return super().loss(model, batch)

        def evaluate(self, model: nn.Module, batches: Any) -> Score:
            self.drawn.append(draw())
            return super().evaluate(model, batches)

    recipe = recipe_of({"training.epochs": 2})
    straight, stopped = Drawing(), Drawing()
    fit(net(), straight, Batches(), Held(), recipe, run=RunFolder(tmp_path / "a"))
    run = RunFolder(tmp_path / "b")
    half = Session(stop_after_steps=4)
    with pytest.raises(Interrupted):
        fit(net(), stopped, Batches(), Held(), recipe, run=run, session=half)
    draw()
    fit(net(), stopped, Batches(), Held(), recipe, run=run, session=Session(resume=True))
    assert straight.drawn == stopped.drawn
    assert len(set(straight.drawn)) == 2 * (STEPS + 1)


def test_the_plateau_run_really_lowered_its_rate(whole: dict[str, tuple[Path, History]]) -> None:
    path, history = whole["plateau"]
    assert json.loads((path / "last.json").read_text())["plateau"]["scale"] < 1
    assert history.epochs[-1].lr < 0.1


def test_dropout_makes_the_seed_matter(tmp_path: Path) -> None:
    recipe = RECIPES["momentum and averaging"]
    for seed in (0, 1):
        train(tmp_path / str(seed), recipe.override({"training.seed": seed}))
    first, second = ((tmp_path / str(s) / "last.safetensors").read_bytes() for s in (0, 1))
    assert first != second


def test_the_callers_random_state_is_left_alone(tmp_path: Path) -> None:
    model = net()
    before = torch.random.get_rng_state()
    others = random.getstate(), str(np.random.get_state())  # noqa: NPY002
    fit(
        model, Sign(), Batches(), Held(), recipe_of({"training.epochs": 1}), run=RunFolder(tmp_path)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert (random.getstate(), str(np.random.get_state())) == others  # noqa: NPY002


def test_sgd_without_extras_equals_a_loop_written_by_hand(tmp_path: Path) -> None:
    model, ours = net(), net()
    for module in [*model.modules(), *ours.modules()]:
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    recipe = recipe_of(
        {
            "training.epochs": 2,
            "optimizer.lr": 0.1,
            "schedule.name": "constant",
            "optimizer.weight_decay": 0,
        }
    )
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
    recipe = recipe_of({"training.epochs": 4, "optimizer.lr": 0.3, "regularization.ema_decay": 0.5})
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
    recipe = recipe_of(
        {
            "training.epochs": 4,
            "optimizer.lr": 0.3,
            "regularization.ema_decay": 0.5,
            "training.keep": "last",
        }
    )
    history = fit(model, Sign(), Batches(), Held(), recipe, run=RunFolder(tmp_path))
    averaged = RunFolder(tmp_path).load_last().tensors
    assert all(torch.equal(averaged[f"ema.{k}"], v) for k, v in model.state_dict().items())
    assert Sign().evaluate(model, Held()).headline == history.epochs[-1].headline


def test_the_averaged_copy_is_what_gets_evaluated(tmp_path: Path) -> None:
    model, task = net(), Sign()
    recipe = recipe_of({"training.epochs": 1, "regularization.ema_decay": 0.5})
    fit(model, task, Batches(), Held(), recipe, run=RunFolder(tmp_path))
    assert task.evaluated != [model]


def test_while_frozen_only_the_classifier_moves(tmp_path: Path) -> None:
    recipe = recipe_of(
        {
            "training.epochs": 3,
            "optimizer.lr": 0.1,
            "transfer.freeze_epochs": 2,
            "transfer.finetune_lr": 0.1,
        }
    )
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


def test_stage_by_stage_the_network_thaws_and_its_statistics_with_it(tmp_path: Path) -> None:
    recipe = RECIPES["gradual unfreezing"].override({"regularization.ema_decay": 0.0})
    before = {name: value.clone() for name, value in net().state_dict().items()}
    moved: list[set[str]] = []
    for epoch in range(1, 5):
        with pytest.raises(Interrupted):
            train(tmp_path, recipe, resume=epoch > 1, stop_after_steps=epoch * STEPS)
        last = RunFolder(tmp_path).load_last().tensors
        differing = [n for n, value in before.items() if not torch.equal(last[f"model.{n}"], value)]
        moved.append({name.rsplit(".", 2)[0] for name in differing})
    expected = [{"head"}, {"head", "stages.1"}, {"head", "stages.1", "stages.0"}]
    assert moved == [*expected, {"head", "stages.1", "stages.0", "stem"}]


def test_an_epoch_that_was_interrupted_took_the_seconds_of_both_parts(tmp_path: Path) -> None:
    recipe = recipe_of({"training.epochs": 2})
    with pytest.raises(Interrupted):
        train(tmp_path, recipe, stop_after_steps=2)
    path = tmp_path / "last.json"
    meta = json.loads(path.read_text())
    assert meta["seconds"] > 0
    path.write_text(json.dumps(meta | {"seconds": 5000.0}))
    first, second = train(tmp_path, recipe, resume=True).epochs
    assert 5000 < first.seconds < 6000
    assert first.images_per_second == pytest.approx(24 / first.seconds)
    assert second.seconds < 1000


def test_a_loss_that_is_nan_stops_with_step_rate_and_advice(tmp_path: Path) -> None:
    recipe = recipe_of({"training.epochs": 2, "optimizer.lr": 0.25, "schedule.name": "constant"})
    run = RunFolder(tmp_path)
    with pytest.raises(OptionError) as caught:
        fit(net(), Sign(), Batches(poison=(1, 1)), Held(), recipe, run=run)
    message = str(caught.value)
    assert message.startswith("the loss became nan at step 5 (epoch 2) with learning rate 0.25")
    assert "lower lr" in message
    assert "\n" not in message
    assert run.load_last().metadata["epochs_done"] == 1


def test_a_weight_that_is_no_number_never_gets_into_a_checkpoint(tmp_path: Path) -> None:
    class Treacherous(Sign):
        """A loss that is finite while its gradient, ∂√x/∂x at 0, is not."""

        calls = 0

        def loss(self, model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
            self.calls += 1
            loss, logits = super().loss(model, batch)
            return (loss + (logits.sum() * 0).sqrt() if self.calls == STEPS + 3 else loss), logits

    run = RunFolder(tmp_path)
    recipe = recipe_of({"training.epochs": 3, "optimizer.lr": 0.1})
    with pytest.raises(OptionError, match=r"is not finite any more at step 6 .*lower lr") as caught:
        fit(net(), Treacherous(), Batches(), Held(), recipe, run=run)
    assert "\n" not in str(caught.value)
    for found in (run.load_last(), run.load_best()):
        assert found.metadata["epochs_done"] == 1
        assert all(bool(tensor.isfinite().all()) for tensor in found.tensors.values())
    train(tmp_path, recipe, resume=True)


def test_nothing_is_saved_after_a_loss_that_is_nan(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    recipe = recipe_of({"training.epochs": 2})
    session = Session(checkpoint_steps=1, describe=lambda index: f"{index}.png")
    poisoned = Batches(poison=(1, 1))
    with pytest.raises(OptionError, match=r"on images 0 \(0\.png\), 1 \(1\.png\), "):
        fit(net(), Sign(), poisoned, Held(), recipe, run=run, session=session)
    meta = run.load_last().metadata
    assert (meta["epochs_done"], meta["step"]) == (1, 1)
    assert len(train(tmp_path, recipe, resume=True).epochs) == 2


@pytest.mark.parametrize("written", [1, 4, 9])
def test_a_disk_that_fills_up_ends_a_run_that_goes_on_later(
    tmp_path: Path,
    whole: dict[str, tuple[Path, History]],
    monkeypatch: pytest.MonkeyPatch,
    written: int,
) -> None:
    name, run = "momentum and averaging", RunFolder(tmp_path)
    write, left = Path.write_bytes, [None] * written

    def limited(path: Path, content: bytes) -> int:
        if not left and path.suffix == ".tmp":
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[:1] = []
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", limited)
        with pytest.raises(OutputError, match=r"No space left on device; free some") as caught:
            train(tmp_path, RECIPES[name], checkpoint_steps=1)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob(".*"))
    train(tmp_path, RECIPES[name], resume=run.has_run())
    assert_same_run(whole[name][0], tmp_path)


def test_a_data_set_that_changed_is_noticed(tmp_path: Path) -> None:
    recipe = recipe_of({"training.epochs": 3})
    run = RunFolder(tmp_path)
    with pytest.raises(Interrupted):
        train(tmp_path, recipe, data={"images": 24}, stop_after_steps=4)
    with pytest.raises(CheckpointError, match=r"data set has changed .*\(images\).*--accept"):
        train(tmp_path, recipe, data={"images": 40}, resume=True)
    session = Session(data={"images": 40}, resume=True, accept_changed_data=True)
    model = net()
    history = fit(model, Sign(), Batches(5), Held(), recipe, run=run, session=session)
    # The epoch that was going on began again, with the new number of steps.
    assert [report.step for report in history.epochs] == [STEPS, 10, 15]
    assert run.load_last().metadata["data"] == {"images": 40}


def test_the_same_data_goes_on_bit_for_bit(
    tmp_path: Path, whole: dict[str, tuple[Path, History]]
) -> None:
    name, data = "momentum and averaging", {"images": 24}
    with pytest.raises(Interrupted):
        train(tmp_path, RECIPES[name], data=data, stop_after_steps=4)
    train(tmp_path, RECIPES[name], data=data, resume=True)
    assert_same_run(whole[name][0], tmp_path)


def test_a_second_ctrl_c_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    class Impatient(Sign):
        calls = 0

        def loss(self, model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
            self.calls += 1
            if self.calls == STEPS + 2:
                raise KeyboardInterrupt
            return super().loss(model, batch)

    recipe = recipe_of({"training.epochs": 2})
    with pytest.raises(Interrupted) as caught:
        fit(net(), Impatient(), Batches(), Held(), recipe, run=RunFolder(tmp_path / "a"))
    assert (caught.value.epochs_done, caught.value.steps_done) == (1, STEPS)
    task = Impatient()
    task.calls = STEPS + 1
    with pytest.raises(KeyboardInterrupt) as early:
        fit(net(), task, Batches(), Held(), recipe, run=RunFolder(tmp_path / "b"))
    assert not isinstance(early.value, Interrupted)


def test_ctrl_c_during_the_evaluation_does_not_lose_the_epoch(
    tmp_path: Path, whole: dict[str, tuple[Path, History]], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, clock = "momentum and averaging", SimpleNamespace(seconds=0.0)

    class Timed(Batches):
        def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Images]:
            for batch in super().epoch(epoch, first_step):
                yield batch
                clock.seconds += 2

    class Long(Held):
        def __iter__(self) -> Iterator[Images]:
            for batch in super().__iter__():
                yield batch
                clock.seconds += 100
                signal.raise_signal(signal.SIGINT)

    stopped = SimpleNamespace(perf_counter=lambda: clock.seconds)
    monkeypatch.setattr("convatlas.train.meter.time", stopped)
    with pytest.raises(Interrupted) as caught:
        fit(net(), Sign(), Timed(), Long(), RECIPES[name], run=RunFolder(tmp_path))
    assert (caught.value.epochs_done, caught.value.steps_done) == (0, STEPS)
    assert json.loads((tmp_path / "last.json").read_text(encoding="utf-8"))["seconds"] == 2 * STEPS
    train(tmp_path, RECIPES[name], resume=True)
    assert_same_run(whole[name][0], tmp_path)


def test_what_cannot_be_resumed_says_why(tmp_path: Path) -> None:
    recipe = recipe_of({"training.epochs": 2})
    with pytest.raises(CheckpointError, match="start it without resume"):
        train(tmp_path, recipe, resume=True)
    train(tmp_path, recipe)
    with pytest.raises(CheckpointError, match="already holds a run: resume it, or choose another"):
        train(tmp_path, recipe)
    with pytest.raises(CheckpointError, match=r"recipe differs.* \(optimizer\.lr 0\.1 → 0\.2\)"):
        train(tmp_path, recipe.override({"optimizer.lr": 0.2}), resume=True)
    run = RunFolder(tmp_path)
    with pytest.raises(CheckpointError, match="expected 3 steps per epoch as in the saved run"):
        fit(net(), Sign(), Batches(4), Held(), recipe, run=run, session=Session(resume=True))
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(CheckpointError, match=r"another network: 1\.bias is missing there"):
        fit(other, Sign(), Batches(), Held(), recipe, run=run, session=Session(resume=True))


def test_half_written_files_of_a_killed_process_are_removed_at_the_start(tmp_path: Path) -> None:
    staged = tmp_path / ".last.safetensors.4711.tmp"
    staged.write_bytes(b"half")
    train(tmp_path, recipe_of({"training.epochs": 1}))
    assert not staged.exists()


def test_each_epoch_is_timed_and_of_equal_headlines_the_later_is_best(tmp_path: Path) -> None:
    class Even(Sign):
        def evaluate(self, model: nn.Module, batches: Any) -> Score:
            return Score(0.5)

    recipe = recipe_of({"training.epochs": 2})
    history = fit(net(), Even(), Batches(), Held(), recipe, run=RunFolder(tmp_path))
    for report in history.epochs:
        images = 8 * STEPS
        assert report.images_per_second * report.seconds == pytest.approx(images)
        assert report.best


def test_a_finished_run_resumes_to_its_history(tmp_path: Path) -> None:
    recipe = recipe_of({"training.epochs": 2})
    history = train(tmp_path, recipe)
    assert train(tmp_path, recipe, resume=True) == history


def test_any_module_trains_and_one_without_anatomy_cannot_freeze(tmp_path: Path) -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    run = RunFolder(tmp_path)
    history = fit(plain, Sign(), Batches(), Held(), recipe_of({"training.epochs": 2}), run=run)
    assert len(history.epochs) == 2
    run = RunFolder(tmp_path / "frozen")
    recipe = recipe_of({"training.epochs": 2, "transfer.freeze_epochs": 1})
    with pytest.raises(OptionError, match="freezing needs a ConvNet"):
        fit(plain, Sign(), Batches(), Held(), recipe, run=run)


def test_no_batches_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="at least 1 step per epoch, got 0: lower batch_size"):
        fit(net(), Sign(), Batches(0), Held(), Recipe(), run=RunFolder(tmp_path))


def test_reports_hold_only_single_numbers(tmp_path: Path) -> None:
    history = train(tmp_path, recipe_of({"training.epochs": 1}))
    assert history.epochs[0].metrics.keys() == {"accuracy"}
    json.dumps(history.as_dict())
