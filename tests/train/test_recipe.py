from __future__ import annotations

import json
import math

import pytest

from convatlas.errors import OptionError
from convatlas.train.recipe import Recipe


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(epochs=7, optimizer="adamw", finetune_lr=1e-4, warmup_epochs=0.5, ema_decay=0.9)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    "make", [Recipe, Recipe.small_images, Recipe.finetune, Recipe.from_scratch]
)
def test_every_named_recipe_is_valid_and_survives_json(make: type[Recipe]) -> None:
    recipe = make()
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_named_recipes_take_changes() -> None:
    assert Recipe.finetune(epochs=3, freeze_epochs=1).epochs == 3
    with pytest.raises(OptionError, match="did you mean epochs"):
        Recipe.finetune(epoch=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0}, "expected 0 < lr, got 0"),
        ({"lr": math.nan}, "expected 0 < lr, got nan"),
        ({"lr": math.inf}, "expected 0 < lr, got inf"),
        ({"momentum": 1.0}, "expected 0 ≤ momentum < 1, got 1"),
        ({"epochs": 0}, "expected 1 ≤ epochs, got 0"),
        ({"epochs": 2.5}, "epochs must be a whole number, got 2.5"),
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"optimizer": "lion"}, "optimizer must be one of sgd, adamw, got 'lion'"),
        ({"precision": "fp16"}, "precision must be one of fp32, bf16, got 'fp16'"),
        ({"nesterov": 1}, "nesterov must be true or false, got 1"),
        ({"nesterov": True, "optimizer": "adamw"}, "nesterov needs sgd with momentum"),
        ({"epochs": 3, "freeze_epochs": 3}, "freeze_epochs must be less than epochs, got 3 of 3"),
        ({"epochs": 3, "warmup_epochs": 3}, "warmup_epochs must be less than epochs, got 3 of 3"),
        ({"finetune_lr": -1.0}, "expected 0 < finetune_lr, got -1"),
    ],
)
def test_an_impossible_value_is_named_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Recipe.from_dict(values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_field_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(OptionError, match="no field 'learning_rate'"):
        Recipe.from_dict({"learning_rate": 0.1})
    with pytest.raises(OptionError, match="did you mean weight_decay"):
        Recipe.from_dict({"weight_decy": 0.1})
