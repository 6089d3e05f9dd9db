from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convatlas import create_model
from convatlas.data.batches import EvalBatches, TrainBatches
from convatlas.data.cache import evaluation_images
from convatlas.data.preprocess import Preprocessing
from convatlas.data.sources.digits import Digits
from convatlas.errors import OptionError
from convatlas.tasks.classify import Classification
from convatlas.train.checkpoint import Checkpoint
from convatlas.train.recipe import find_recipe
from convatlas.train.verification import (
    Difference,
    Parts,
    ResumeReport,
    compare_checkpoints,
    verify_resume,
)
from small_training import RECIPES, STEPS, Batches, Held, Images, Sign, net

NAME = "momentum and averaging"


def parts() -> Parts:
    return Parts(net(), Sign(), Batches(), Held(), RECIPES[NAME])


def checkpoint(**tensors: Tensor) -> Checkpoint:
    return Checkpoint(tensors, {"lr": 0.1, "history": []})


@pytest.mark.parametrize("steps", [2, STEPS, 7, 1000])
def test_a_resumed_run_is_found_to_be_the_same(steps: int) -> None:
    report = verify_resume(parts, steps)
    assert report.exact
    assert report.first is None
    assert report.steps == min(steps, 4 * STEPS)
    assert report.stopped_after == report.steps // 2
    # Two models and a momentum for each parameter.
    model = net()
    assert report.tensors == 2 * len(model.state_dict()) + len(list(model.parameters()))


def test_the_two_runs_stay_where_it_is_told(tmp_path: Path) -> None:
    verify_resume(parts, 4, folder=tmp_path)
    for name in ("straight", "resumed"):
        meta = json.loads((tmp_path / name / "last.json").read_text())
        assert (meta["epochs_done"], meta["step"]) == (1, 1)


def test_a_state_outside_the_checkpoint_is_found_out() -> None:
    class Counting(Sign):
        """A task that forgets, when it is built anew, how many batches it has seen."""

        calls = 0

        def loss(self, model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
            loss, logits = super().loss(model, batch)
            self.calls += 1
            return loss * self.calls, logits

    def forgetful() -> Parts:
        return Parts(net(), Counting(), Batches(), Held(), RECIPES[NAME])

    report = verify_resume(forgetful, 4)
    assert not report.exact
    assert report.first is not None
    assert report.first.name == "ema.head.classifier.bias"
    assert report.first.largest is not None
    assert report.first.largest > 0
    assert report.differing > len(list(net().parameters()))


def test_what_differs_is_named_with_its_largest_difference() -> None:
    one = checkpoint(a=torch.zeros(3), b=torch.tensor([1.0, -2.0, 3.0]), c=torch.zeros(2))
    other = checkpoint(a=torch.zeros(3), b=torch.tensor([1.5, 2.0, 3.0]), d=torch.zeros(2))
    found = compare_checkpoints(one, other)
    assert found == [Difference("b", 4.0), Difference("c", None), Difference("d", None)]
    lr = Checkpoint(one.tensors, {"lr": 0.2, "history": []})
    assert compare_checkpoints(one, lr) == [Difference("lr", None)]


def test_it_compares_bits() -> None:
    nan = torch.tensor([float("nan"), 1.0])
    assert compare_checkpoints(checkpoint(a=nan), checkpoint(a=nan.clone())) == []
    signs = checkpoint(a=torch.tensor(0.0)), checkpoint(a=torch.tensor(-0.0))
    assert compare_checkpoints(*signs) == [Difference("a", 0.0)]
    types = checkpoint(a=torch.zeros(1)), checkpoint(a=torch.zeros(1, dtype=torch.int32))
    assert compare_checkpoints(*types) == [Difference("a", None)]


def test_the_report_is_json() -> None:
    report = ResumeReport(4, 2, 9, 1, Difference("model.w", 0.5))
    written = json.loads(json.dumps(report.as_dict()))
    assert written["first"] == {"name": "model.w", "largest": 0.5}


def test_a_run_of_one_step_cannot_be_stopped_in_the_middle() -> None:
    with pytest.raises(OptionError, match="at least 2 steps, to stop between them, got 1"):
        verify_resume(parts, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "recipe_name", "options"),
    [
        ("lenet5", "small-images", {}),
        ("convnextv2_atto", "convnext-2022", {"drop_path": 0.3}),
        ("densenet121", "densenet", {}),
        ("googlenet", "googlenet-2014", {}),
        ("mobilenetv2_100", "efficientnet", {}),
        ("resnet18", "strikes-back-a2", {}),
        ("resnet18", "finetune", {}),
    ],
)
def test_networks_with_published_recipes_resume_bit_for_bit(
    network: str, recipe_name: str, options: dict[str, float]
) -> None:
    recipe = find_recipe(recipe_name).override(
        {
            "training.epochs": 3,
            "training.precision": "fp32",
            "schedule.warmup_epochs": 0,
            "transfer.freeze_epochs": 1,
            "transfer.unfreeze_every_epochs": 1,
        }
    )
    digits = Digits()
    grey = Preprocessing(
        input_size=32,
        channels=1,
        mean=(0.3,),
        std=(0.4,),
        interpolation="bilinear",
        resize_mode="stretch",
    )
    images, labels = evaluation_images(digits, grey)[:32], digits.labels[:32]

    def made() -> Parts:
        torch.manual_seed(0)
        return Parts(
            create_model(network, num_classes=10, in_channels=1, **options),
            Classification(),
            TrainBatches(images, labels, grey, recipe.augmentation, 8, 0),
            EvalBatches(images, labels, grey, 32),
            recipe,
        )

    report = verify_resume(made, 10)
    assert report.first is None
    assert report.steps == 10
