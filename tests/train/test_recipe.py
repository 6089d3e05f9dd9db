from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from convatlas.errors import OptionError, UnknownNameError
from convatlas.train.recipe import Recipe, find_recipe, list_recipes, parse_setting, recipe_text

# What the papers say, typed from them and from their authors' code, row by row.
PAPERS = Path(__file__).parents[1] / "fixtures" / "paper_recipes.csv"
ROWS = list(csv.DictReader(PAPERS.read_text(encoding="utf-8").splitlines()))
OWN = {"finetune", "from-scratch", "linear-probe", "small-images"}
recipe_of = Recipe().override


def rounded(value: Any) -> Any:
    """Give ranges, which a recipe writes with four digits, as the digits that must agree."""
    return [round(each, 4) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['recipe']}-{row['value']}" for row in ROWS])
def test_a_shipped_recipe_has_the_papers_value(row: dict[str, str]) -> None:
    ours = find_recipe(row["recipe"]).flat()[row["value"]]
    assert row["source"]
    assert ours == rounded(json.loads(row["expected"])), row["source"]


def test_every_paper_has_its_recipe_and_the_others_say_that_they_are_ours() -> None:
    assert {row["recipe"] for row in ROWS} | OWN == set(list_recipes())


@pytest.mark.parametrize("name", sorted(set(list_recipes()) - OWN))
def test_no_value_of_a_paper_recipe_is_without_a_source(name: str) -> None:
    plain, ours = Recipe().flat(), find_recipe(name).flat()
    changed = {value for value in ours if ours[value] != plain[value]}
    sourced = {row["value"] for row in ROWS if row["recipe"] == name}
    assert changed - sourced <= {"name", "paper", "evidence", "training.keep"}


@pytest.mark.parametrize("name", list_recipes())
def test_a_shipped_recipe_says_where_it_comes_from_and_what_came_out(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.name == name
    assert recipe.paper
    assert re.match(
        r"Published: .*Not measured by us\.|None of our own yet|\w+ on ", recipe.evidence
    )
    for line in recipe_text(name).splitlines():
        if re.match(r"\w+ = [\d\[]", line):
            assert re.search(r"# \S", line), f"{line} has no unit"


@pytest.mark.parametrize("name", list_recipes())
def test_a_shipped_recipe_survives_json_and_toml(name: str) -> None:
    recipe = find_recipe(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert Recipe.from_toml(recipe.to_toml(), "a test") == recipe
    assert Recipe().override(recipe.flat()) == recipe


def test_a_recipe_survives_json() -> None:
    changes = {
        "training.epochs": 7,
        "optimizer.name": "adamw",
        "transfer.finetune_lr": 1e-4,
        "schedule.warmup_epochs": 0.5,
        "regularization.ema_decay": 0.9,
        "augmentation.crop_scale": (0.5, 1.0),
        "schedule.milestones": [1, 2.5],
    }
    recipe = recipe_of(changes)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert {name: recipe.flat()[name] for name in changes} == {
        **changes,
        "augmentation.crop_scale": [0.5, 1.0],
    }


def test_a_file_by_its_path_is_read_and_one_that_is_none_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[optimizer]\nlr = 0.5\n', encoding="utf-8")
    assert find_recipe(path) == recipe_of({"name": "mine", "optimizer.lr": 0.5})
    path.write_text("[optimizer]\nlr = fast\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"mine\.toml: .*line 2"):
        find_recipe(path)
    with pytest.raises(OptionError, match="which cannot be read"):
        find_recipe(tmp_path / "none.toml")
    with pytest.raises(UnknownNameError, match="did you mean finetune"):
        find_recipe("finetun")


def test_changes_are_checked_together() -> None:
    linear = find_recipe("finetune")
    with pytest.raises(OptionError, match="must be at most training"):
        linear.override({"training.epochs": 3})
    shorter = linear.override({"training.epochs": 3, "transfer.freeze_epochs": 1})
    assert (shorter.training.epochs, shorter.transfer.freeze_epochs) == (3, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer.lr": 0}, "expected 0 < optimizer.lr, got 0"),
        ({"optimizer.lr": math.nan}, "expected 0 < optimizer.lr, got nan"),
        ({"optimizer.lr": math.inf}, "expected 0 < optimizer.lr, got inf"),
        ({"optimizer.momentum": 1.0}, "expected 0 ≤ optimizer.momentum < 1, got 1"),
        ({"training.epochs": 0}, "expected 1 ≤ training.epochs, got 0"),
        ({"training.epochs": 2.5}, "training.epochs must be a whole number, got 2.5"),
        ({"training.epochs": True}, "training.epochs must be a whole number, got True"),
        ({"optimizer.lr": "fast"}, "optimizer.lr must be a number, got 'fast'"),
        (
            {"optimizer.name": "lion"},
            "optimizer.name must be one of sgd, rmsprop, adamw, lamb, got 'lion'",
        ),
        ({"optimizer.name": "adam"}, "did you mean adamw"),
        ({"training.precision": "fp16"}, "precision must be one of auto, fp32, bf16, got 'fp16'"),
        ({"optimizer.nesterov": 1}, "optimizer.nesterov must be true or false, got 1"),
        (
            {"optimizer.nesterov": True, "optimizer.name": "adamw"},
            "optimizer.nesterov needs sgd with momentum",
        ),
        (
            {"training.epochs": 3, "transfer.freeze_epochs": 4},
            "transfer.freeze_epochs must be at most training.epochs, got 4 of 3",
        ),
        (
            {"training.epochs": 3, "schedule.warmup_epochs": 3},
            "schedule.warmup_epochs must be less than training.epochs, got 3 of 3",
        ),
        ({"transfer.finetune_lr": -1.0}, "expected 0 < transfer.finetune_lr, got -1"),
        ({"schedule.name": "step"}, "the schedule step needs schedule.milestones"),
        ({"schedule.milestones": [60, 30]}, "milestones must be epochs above 0 in order"),
        ({"schedule.milestones": ["a"]}, "milestones must be epochs above 0 in order"),
        ({"schedule.milestones": 30}, "schedule.milestones must be a list, got 30"),
        ({"growth.network": None}, "growth.network must be a text, got None"),
        ({"input.sizes": [0]}, "input.sizes must be whole numbers of pixels, got [0]"),
        (
            {"schedule.name": "one-cycle", "schedule.warmup_epochs": 1},
            "set schedule.warmup_epochs to 0",
        ),
    ],
)
def test_an_impossible_value_is_named_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        recipe_of(values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["name", "paper", "evidence"])
def test_a_word_that_is_no_text_is_refused(word: str) -> None:
    with pytest.raises(OptionError, match=f"mine.toml: {word} must be text, got 3"):
        Recipe.from_toml(f"{word} = 3", "mine.toml")


@pytest.mark.parametrize("path", ["/runs/teacher", "./teacher", "~/teacher", "../a-b/c_d"])
def test_a_path_needs_no_quotes(path: str) -> None:
    assert parse_setting(f"loss.teacher={path}") == ("loss.teacher", path)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lr", "did you mean optimizer.lr?"),
        ("schedule.lr", "did you mean optimizer.lr?"),
        ("epochs", "did you mean training.epochs, growth.epochs?"),
        ("weight_decy", "did you mean optimizer.weight_decay"),
        ("optimiser.momentum", "did you mean optimizer.momentum?"),
        ("optimizer", "a recipe has no value 'optimizer'"),
        ("", "a recipe has no value ''"),
    ],
)
def test_an_unknown_value_is_refused_with_the_nearest_one(name: str, hint: str) -> None:
    with pytest.raises(OptionError) as caught:
        recipe_of({name: 0.1})
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimizer.lr=.02", ("optimizer.lr", 0.02)),
        ("optimizer.lr = 1e-3", ("optimizer.lr", 1e-3)),
        ("a.b=-.5", ("a.b", -0.5)),
        ("optimizer.nesterov=true", ("optimizer.nesterov", True)),
        ("optimizer.name=adamw", ("optimizer.name", "adamw")),
        ("schedule.name=one-cycle", ("schedule.name", "one-cycle")),
        ('growth.network="vgg11"', ("growth.network", "vgg11")),
        ("loss.teacher=runs/a.5/b", ("loss.teacher", "runs/a.5/b")),
        ('loss.teacher="a .5 = b"', ("loss.teacher", "a .5 = b")),
        ("schedule.milestones=[30,60]", ("schedule.milestones", [30, 60])),
        ("augmentation.crop_scale=[.35, 1]", ("augmentation.crop_scale", [0.35, 1])),
        ("regularization.dropout=", ("regularization.dropout", None)),
    ],
)
def test_a_setting_is_a_name_and_a_literal(text: str, expected: tuple[str, Any]) -> None:
    found = parse_setting(text)
    assert found == expected
    assert type(found[1]) is type(expected[1])


@pytest.mark.parametrize("text", ["", "optimizer.lr", "=3", "a=[1,", "a=1 2", "a=1\nb=2", "a=5x"])
def test_what_is_no_setting_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(OptionError, match=r"^expected a"):
        parse_setting(text)


def test_a_setting_opens_a_value_again() -> None:
    recipe = find_recipe("strikes-back-a1")
    name, value = parse_setting("regularization.drop_path=")
    assert recipe.override({name: value}).regularization.drop_path is None
