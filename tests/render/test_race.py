"""A race as a table and sentences, from a report written by hand."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from convatlas.render.race import race_sentences, race_table, rungs_sentence
from convatlas.search.halving import Racer, RaceReport, Rung, Stint


def stint(epochs, accuracy, low, high):
    return Stint(epochs, accuracy, (low, high), 200, 12.5 * epochs)


def racer(name, macs, *stints, **options):
    return Racer(
        name=name,
        weights=None,
        input_size=32,
        params=2_000_000,
        macs=macs,
        stints=stints,
        **options,
    )


REPORT = RaceReport(
    data="pets",
    train_images=1_200,
    judged_images=200,
    chance=0.5,
    seed=0,
    factor=2,
    rungs=(Rung(4, 1), Rung(2, 2)),
    racers=(
        racer("big", 9_000_000, stint(1, 0.8, 0.74, 0.85), stint(2, 0.9, 0.85, 0.93), tied=True),
        racer("small", 3_000_000, stint(1, 0.8, 0.74, 0.85), stint(2, 0.88, 0.83, 0.92), tied=True),
        racer("near", 4_000_000, stint(1, 0.78, 0.72, 0.83), close_call=True),
        racer("broken", 5_000_000, failure="the loss is not finite"),
    ),
    recommended="small",
    sentence="big and small tie.",
    notes=("The winner's figure is flattered.", "broken \x1b[31mbroke"),
    seconds=62.5,
)


def drawn(width):
    console = Console(file=StringIO(), width=width)
    console.print(race_table(REPORT, width))
    return console.file.getvalue()


def test_a_row_says_how_far_a_network_got_and_what_became_of_it():
    found = [" ".join(line.split()) for line in drawn(140).splitlines()]
    lines = {line.split()[0]: line for line in found if line}
    assert lines["big"] == "big 2 90.0 % 85.0–93.0 % 200 9.00 M 2.00 M 25.0 s tied"
    assert lines["small"].endswith("25.0 s tied, take this")
    assert lines["near"].endswith("12.5 s dropped, a close call")
    assert lines["broken"] == "broken – – – – 5.00 M 2.00 M – failed"


def test_a_narrow_terminal_keeps_network_and_accuracy():
    text = drawn(60)
    assert max(map(len, text.splitlines())) <= 60
    assert "90.0 %" in text
    assert "No room for:" in text


def test_the_sentences_are_plain_and_hold_nothing_that_steers_a_terminal():
    assert race_sentences(REPORT) == [
        "big and small tie.",
        "The winner's figure is flattered.",
        "broken ?[31mbroke",
    ]
    assert rungs_sentence(REPORT) == (
        "4 networks for 1 epoch, 2 for 2, in 1 min 2 s: 1,200 images of pets, judged by 200 others"
    )
