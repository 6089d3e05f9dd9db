"""Figures hold the numbers they were given, and nothing of them is read as markup."""

from __future__ import annotations

import json

import pytest

from convatlas.render.figures import (
    MOST_CLASSES_NAMED,
    class_balance,
    confusion_matrix,
    learning_curves,
    stage_bars,
)
from convatlas.render.palette import LIGHT

EPOCHS = [
    {"epoch": 1, "phase": "head", "train_loss": 2.0, "validation_loss": 1.9,
     "validation_accuracy": 0.4, "lr": 0.1},
    {"epoch": 2, "phase": "all", "train_loss": 1.0, "validation_loss": 1.2,
     "validation_accuracy": 0.75, "lr": 0.05},
    {"epoch": 3, "phase": "all", "train_loss": 0.5, "validation_accuracy": None},
]  # fmt: skip


def _json(figure):
    return json.loads(figure.to_json())


def test_curves_show_what_was_measured():
    curves = learning_curves(EPOCHS, best_epoch=2)
    assert list(curves) == ["loss", "accuracy", "lr"]
    train, validation = curves["loss"].data
    assert (train.name, list(train.x), list(train.y)) == ("train", [1, 2, 3], [2.0, 1.0, 0.5])
    assert list(validation.x) == [1, 2]
    (accuracy,) = curves["accuracy"].data
    assert list(accuracy.y) == [40, 75]
    assert curves["accuracy"].layout.yaxis.title.text == "Accuracy (%)"
    assert curves["loss"].layout.xaxis.dtick == 1  # no half epochs on the axis
    assert train.line.dash != validation.line.dash  # not by colour alone


def test_new_phases_and_the_kept_epoch_are_marked():
    layout = learning_curves(EPOCHS, best_epoch=2)["loss"].layout
    assert [shape.x0 for shape in layout.shapes] == [1.5, 2]
    assert [note.text for note in layout.annotations] == ["all", "kept"]


def test_no_measures_no_curves():
    assert learning_curves([{"epoch": 1}]) == {}


def test_the_matrix_shows_counts_and_colours_shares():
    figure = confusion_matrix([[3, 1], [0, 0]], ["a", "b"])
    (heat,) = figure.data
    assert [list(row) for row in heat.z] == [[0.75, -0.25], [0, 0]]
    assert [list(row) for row in heat.text] == [["3", "1"], ["", ""]]
    assert heat.hovertext[0][1] == "a → b<br>1 image, 25.0 % of a"
    assert figure.layout.yaxis.autorange == "reversed"


def test_class_names_are_labels_not_numbers_and_not_markup():
    names = ["3", "3", "<b>x</b>", "cost $a$ or $b$", "a very long class name indeed"]
    figure = confusion_matrix([[1] * 5] * 5, names)
    assert list(figure.layout.xaxis.tickvals) == [0, 1, 2, 3, 4]
    ticks = figure.layout.xaxis.ticktext
    assert ticks[:3] == ("3", "3", "&lt;b&gt;x&lt;/b&gt;")
    assert "$" not in ticks[3]
    assert ticks[4] == "a very long class…"
    assert "<b>" not in figure.to_json()


def test_bars_carry_their_numbers_with_units():
    stages = [{"name": "stem", "macs": 1_000_000, "activation_bytes": 2_000}]
    stages.append({"name": "head", "macs": 0, "activation_bytes": 0})
    (bars,) = stage_bars(stages, "macs").data
    assert list(bars.x) == [1_000_000, 0]
    assert bars.text == ("1.00 M", "0")
    (bars,) = stage_bars(stages, "activation_bytes").data
    assert bars.text == ("2.0 kB", "0 B")
    assert stage_bars([], "macs").data[0].x == ()


def test_balance_keeps_the_order_of_a_few_classes_and_sorts_many():
    few = class_balance(["a", "b"], {"train": [1, 5], "validation": [2, 2]})
    assert [list(trace.x) for trace in few.data] == [[1, 5], [2, 2]]
    many = MOST_CLASSES_NAMED + 1
    sorted_figure = class_balance([str(n) for n in range(many)], {"train": list(range(many))})
    assert list(sorted_figure.data[0].x) == list(reversed(range(many)))
    assert not sorted_figure.layout.yaxis.showticklabels


@pytest.mark.parametrize(
    "figure",
    [
        *learning_curves(EPOCHS, 2).values(),
        confusion_matrix([[1]], ["a"]),
        stage_bars([{"name": "stem", "macs": 1}], "macs"),
        class_balance(["a"], {"train": [1], "validation": [1]}),
    ],
)
def test_figures_can_be_painted_anew(figure):
    drawn = _json(figure)
    assert drawn["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"
    assert "template" not in drawn["layout"] or not drawn["layout"]["template"]
    for trace in drawn["data"]:
        assert trace["meta"] in LIGHT or trace["meta"] == "confusion"
    for shape in drawn["layout"].get("shapes", []):
        assert shape["name"] in LIGHT
