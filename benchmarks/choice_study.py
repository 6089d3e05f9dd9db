"""Is the chosen network as good as the best one? All networks within a budget, trained alike.

    python benchmarks/choice_study.py digits --max-macs 20M --out studies/digits
    python benchmarks/choice_study.py FASHION_FOLDER --images 2500 --held-out 2500 \\
        --max-macs 60M --out studies/fashion NAME ...
    python benchmarks/choice_study.py PHOTOS --max-macs 900M --out studies/photos NAME ...

Every network that suits such images and meets the budget is trained by its fitting recipe on the
same images with the same seed, also those that the choice cannot rank for want of a published
accuracy; or the named ones. Prints them by the accuracy of the last epoch on the held-out images,
with its 95 % interval (Wilson), and how far the chosen one is from the best. A study that was
stopped goes on in its folder; started again with other names, it trains those too. [--epochs N]
[--seed N]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from convatlas.cli.numbers import parse_count
from convatlas.cli.terminal import Terminal
from convatlas.data.source import ImageSource, Splits
from convatlas.data.sources.splits import hold_out
from convatlas.data.statistics import describe_source
from convatlas.errors import BudgetError, OptionError
from convatlas.files import write_json
from convatlas.pipeline.preparation import Prepared, fitting_recipe, lasting, prepare, task_of
from convatlas.pipeline.training import evaluate, make_job, train
from convatlas.pipeline.watching import Watch
from convatlas.search.budget import Budget
from convatlas.search.choose import Candidate, choose

_SUITABLE = ("", "accuracy")  # what may have dropped a network of the sweep


@dataclass(frozen=True, slots=True)
class Row:
    """One trained network; accuracy is a share of the held-out images, 0 where training failed."""

    name: str
    params: int
    macs: int
    accuracy: float
    low: float
    high: float
    seconds: float
    failure: str = ""


def main() -> None:
    """Choose, train all, and print where the chosen one stands."""
    asked = _arguments()
    prepared = _some(prepare(asked.data, seed=asked.seed), asked)
    budget = Budget(max_macs=parse_count(asked.max_macs, "--max-macs"))
    choice = choose(budget, task_of(prepared))
    names = asked.names or [each.name for each in choice.candidates if each.dropped_by in _SUITABLE]
    sweep = [one for name in names if (one := _within(name, budget, prepared)) is not None]
    print(f"{prepared.train.images:,} training images, {prepared.validation.images:,} held out")
    rows = [_row(each, prepared, asked) for each in sweep]
    _print(rows, choice.chosen.name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="as for convatlas run")
    parser.add_argument("names", nargs="*", help="networks; all suitable ones if left out")
    parser.add_argument("--max-macs", required=True, help="multiply-accumulates per image: 200M")
    parser.add_argument("--images", type=int, help="training images to take; all if left out")
    parser.add_argument("--held-out", type=int, help="held-out images to judge by; all if left out")
    parser.add_argument("--epochs", type=int, help="the recipe's if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    return parser.parse_intermixed_args()


def _some(prepared: Prepared, asked: argparse.Namespace) -> Prepared:
    """Return the data with as many images as were asked for."""
    splits = prepared.splits
    train = _fewer(splits.train, asked.images, asked.seed)
    held_out = _fewer(splits.validation, asked.held_out, asked.seed)
    fewer = Splits(train, held_out, splits.origin)
    return Prepared(fewer, describe_source(train), describe_source(held_out))


def _fewer(source: ImageSource, images: int | None, seed: int) -> ImageSource:
    """Return so many of the images, the same share of each class; all of them for None."""
    if images is None or images >= len(source):
        return source
    return hold_out(source, seed, 1 - images / len(source)).train


def _within(name: str, budget: Budget, prepared: Prepared) -> Candidate | None:
    try:
        return choose(budget, task_of(prepared), name=name).chosen
    except BudgetError:
        return None


def _row(candidate: Candidate, prepared: Prepared, asked: argparse.Namespace) -> Row:
    """Train a network, or read what an earlier start of the study found."""
    folder: Path = asked.out / candidate.name
    found = folder / "row.json"
    if found.is_file():
        return Row(**json.loads(found.read_text(encoding="utf-8")))
    listener = Terminal()
    listener.say(f"{candidate.name}, {candidate.cost.macs / 1e6:.1f} M MACs")
    recipe = fitting_recipe(candidate, prepared.train.images)
    recipe = recipe.override({"training.seed": asked.seed})
    job = make_job(candidate, prepared, lasting(recipe, asked.epochs) if asked.epochs else recipe)
    row = Row(candidate.name, candidate.cost.params, candidate.cost.macs, 0.0, 0.0, 0.0, 0.0)
    try:
        evaluation = evaluate(train(job, folder, Watch(listener)).model, job)
        low, high = evaluation.accuracy_interval
        row = replace(row, accuracy=evaluation.accuracy, low=low, high=high)
    except OptionError as error:  # as the loop tells a loss or weights that are not finite
        row = replace(row, failure=str(error))
        listener.say(row.failure)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    row = replace(row, seconds=sum(json.loads(line).get("seconds", 0.0) for line in lines))
    write_json(found, asdict(row))
    return row


def _print(rows: Sequence[Row], chosen: str) -> None:
    print(f"{'network':<28}{'M params':>9}{'M MACs':>9}{'accuracy':>10}  95 % interval  seconds")
    ranked = sorted(rows, key=lambda row: (-row.accuracy, row.macs))
    for row in ranked:
        name = f"{row.name} *" if row.name == chosen else row.name
        interval = f"{100 * row.low:.1f}–{100 * row.high:.1f} %"
        found = f"{row.accuracy:>10.2%}  {interval:<15}{row.seconds:>7.0f}"
        found = "  diverged" if row.failure else found
        print(f"{name:<28}{row.params / 1e6:>9.2f}{row.macs / 1e6:>9.1f}{found}")
    best, ours = ranked[0], next(row for row in rows if row.name == chosen)
    gap = 100 * (best.accuracy - ours.accuracy)
    print(f"* chosen: {gap:.2f} points below the best of {len(rows)}, {best.name}")


if __name__ == "__main__":
    main()
