"""A choice in the terminal: figures with their origin, and nothing wider than the terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from convatlas.render.choice import (
    choice_notes,
    choice_sentences,
    dropped_sentence,
    dropped_table,
    figure_text,
    margin_text,
    ranking_table,
    training_sentence,
)
from convatlas.render.limits import SHOWN, flag, limit_words
from convatlas.search.budget import Budget
from convatlas.search.choose import choose
from convatlas.search.figures import Figure

LATENCY = next(limit for limit in SHOWN if limit.figure == "latency_ms")


@pytest.fixture(scope="module")
def choice():
    return choose(Budget(max_macs=300e6))


def _text(table, width):
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()


def _timed(candidate, figure):
    cost = replace(candidate.cost, latency_ms=figure.value)
    return replace(candidate, cost=cost, figures={**candidate.figures, "latency_ms": figure})


@pytest.mark.parametrize("width", [60, 80, 140])
def test_tables_are_no_wider_than_the_terminal_and_lose_no_row(choice, width):
    ranking = _text(ranking_table(choice, width, every=True), width)
    dropped = _text(dropped_table(choice, width), width)
    assert max(map(len, (ranking + dropped).splitlines())) <= width
    for candidate in choice.candidates:
        assert candidate.name in (ranking if candidate.kept else dropped)


def test_ten_networks_are_enough_and_the_others_are_counted(choice):
    kept = [candidate for candidate in choice.candidates if candidate.kept]
    text = _text(ranking_table(choice, 120), 120)
    assert kept[9].name in text
    assert kept[10].name not in text
    assert f"and {len(kept) - 10} more" in text


@pytest.mark.parametrize(
    ("figure", "told"),
    [
        (Figure(12.34, "measured", low=11.1, high=14.0), "12.3 ms (11.1–14.0 ms)"),
        (Figure(12.34, "predicted", low=11.1, high=14.0), "≈ 12.3 ms (11.1–14.0 ms)"),
        (Figure(12.34, "predicted", low=12.34), "≥ 12.3 ms"),
        (Figure(990.0, "measured", low=980.0, high=1250.0), "990 ms (980 ms–1.25 s)"),
    ],
)
def test_a_time_says_how_it_is_known(choice, figure, told):
    assert figure_text(_timed(choice.chosen, figure), LATENCY) == told


def test_a_figure_of_another_input_is_not_shown(choice):
    memory = next(limit for limit in SHOWN if limit.figure == "memory_bytes")
    assert figure_text(choice.chosen, memory).endswith("MB")
    cost = replace(choice.chosen.cost, memory_bytes=None)  # not predicted for the images at hand
    assert figure_text(replace(choice.chosen, cost=cost), memory) == "–"


def test_a_figure_that_nobody_knows_is_a_dash(choice):
    assert figure_text(choice.chosen, LATENCY) == "–"


def test_the_tightest_limit_is_the_one_that_is_told(choice):
    close = replace(choice.chosen, margins={"max_macs": 0.5, "max_params": 0.04, "min_input": 0.0})
    assert margin_text(close) == "4 % params"
    assert margin_text(replace(choice.chosen, margins={})) == "–"


def test_the_dropped_are_counted_by_what_dropped_them(choice):
    told = dropped_sentence(choice)
    numbers = [int(word) for word in told.split() if word.isdigit()]
    assert sum(numbers) == sum(not candidate.kept for candidate in choice.candidates)
    assert "by --max-macs" in told


def test_every_limit_is_a_field_of_the_budget_and_a_known_figure(choice):
    figures = {name for candidate in choice.candidates for name in candidate.figures}
    for limit in SHOWN:
        assert hasattr(Budget(), limit.name)
        assert limit.figure in figures | {"latency_ms"}
    assert flag("max_size_mb") == "--max-size-mb"
    assert limit_words("min_input") == "by --min-input"
    assert limit_words("accuracy") == "without a published accuracy"


def test_sentences_name_the_pareto_set_in_order_of_cost(choice):
    first, *_ = choice_sentences(choice)
    front = sorted((c for c in choice.candidates if c.pareto), key=lambda c: c.cost.macs)
    places = [first.index(f" {candidate.name} ") for candidate in front]
    assert places == sorted(places)


def test_notes_say_where_a_time_comes_from(choice):
    assert not any("≈" in note for note in choice_notes(choice))
    predicted = _timed(choice.chosen, Figure(12.0, "predicted", low=11.0, high=13.0))
    timed = replace(choice, candidates=(predicted, *choice.candidates[1:]))
    assert any("convatlas calibrate" in note for note in choice_notes(timed))


def test_notes_speak_of_memory_only_where_it_is_shown(choice):
    told = "size are counted, memory is predicted, for one image"
    assert any(told in note for note in choice_notes(choice))
    without = tuple(
        replace(each, cost=replace(each.cost, memory_bytes=None)) for each in choice.candidates
    )
    notes = choice_notes(replace(choice, chosen=without[0], candidates=without))
    assert any("size are counted, for one image" in note for note in notes)
    assert not any("memory" in note for note in notes)


def test_a_training_is_told_with_its_recipe_and_how_it_is_known():
    told = training_sentence(
        {
            "name": "resnet18",
            "recipe": "finetune",
            "epochs": 12,
            "batch_size": 32,
            "step_ms": 1500.0,
            "device": "cuda",
            "seconds": 144.0,
            "origin": "measured",
            "source": "steps of 4 images",
        }
    )
    assert told == (
        "Training resnet18 takes about 2 min 24 s on the GPU: 12 epochs with the recipe finetune, "
        "batch 32, 1.50 s a step (measured: steps of 4 images)."
    )
