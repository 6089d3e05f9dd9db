"""``convatlas recipes``: the list, one file as it is, and what comes out of changes."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.resources import files

import pytest

from convatlas.cli.main import main
from convatlas.train.recipe import Recipe, find_recipe, list_recipes


def printed(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["recipes", *arguments])
    assert ended.value.code == 0
    return capsys.readouterr().out


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["recipes", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_the_list_has_every_recipe_with_its_main_values(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "180")
    lines = printed(capsys).splitlines()
    for name in list_recipes():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        recipe = find_recipe(name)
        for value in (recipe.training.epochs, recipe.optimizer.name, recipe.schedule.name):
            assert str(value) in line.split()
    assert any("Krizhevsky, Sutskever & Hinton 2012" in line for line in lines)


def test_one_recipe_is_its_file(capsys):
    file = files("convatlas.train").joinpath("recipes", "resnet-2015.toml")
    assert printed(capsys, "resnet-2015") == file.read_text(encoding="utf-8")


def test_changes_show_the_recipe_that_comes_out(capsys, tmp_path):
    text = printed(capsys, "resnet-2015", "--set", "optimizer.lr=.02", "--set", "training.epochs=9")
    changed = find_recipe("resnet-2015").override({"optimizer.lr": 0.02, "training.epochs": 9})
    assert Recipe.from_toml(text, "the output") == changed
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    assert tomllib.loads(printed(capsys, str(path))) == tomllib.loads(text)


def test_json_has_every_value(capsys):
    found = json.loads(printed(capsys, "--json"))
    assert [Recipe.from_dict(each) for each in found] == list(map(find_recipe, list_recipes()))
    (one,) = json.loads(printed(capsys, "finetune", "--json", "--set", "optimizer.lr=.5"))
    assert one["optimizer"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet-2016"], "unknown recipe 'resnet-2016'; did you mean resnet-2015"),
        (["finetune", "--set", "lr=.5"], "did you mean optimizer.lr?"),
        (["finetune", "--set", "optimizer.lr=0"], "expected 0 < optimizer.lr, got 0"),
        (["--set", "optimizer.lr=.5"], "--set changes one recipe, got none: give its name"),
        (["none.toml"], "expected a recipe in none.toml"),
    ],
)
def test_a_mistake_is_one_line(capsys, arguments, message):
    line = refused(capsys, *arguments)
    assert message in line
    assert line.count("\n") == 1


def test_it_does_not_import_torch():
    script = (
        "import sys\nfrom convatlas.cli.main import main\n"
        "try: main(['recipes'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert {"torch", "numpy", "PIL"}.isdisjoint(result.stdout.splitlines()[-1].split())
