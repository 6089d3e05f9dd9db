"""``convatlas choose --race``: the shortlist trained briefly on the data, by successive halving.

Every network has a run folder below the race's and goes on there from its checkpoint when it is
promoted, so no epoch is trained twice. What is finished is noted in an Optuna study.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convatlas.data.fingerprint import data_fingerprint
from convatlas.data.sampling import epoch_order
from convatlas.data.sources.splits import ImageSource, Subset, hold_out
from convatlas.data.statistics import describe_source
from convatlas.errors import InputSizeError, OptionError, WeightsError
from convatlas.files import require_writable, write_json
from convatlas.pipeline.preparation import Prepared, fitting_recipe, prepare, require_apart
from convatlas.pipeline.race_study import RaceStudy, held_networks, open_study
from convatlas.pipeline.race_training import RaceTrainer
from convatlas.pipeline.sole import alone_in
from convatlas.pipeline.watching import Listener
from convatlas.search.choose import Candidate, Choice
from convatlas.search.halving import (
    Racer,
    RaceReport,
    Rung,
    judged,
    promoted,
    reservations,
    rungs,
    verdict,
)

__all__ = ["RACE_FILE", "STUDY_FILE", "RaceSettings", "race", "race_shortlist"]

RACE_FILE = "race.json"
STUDY_FILE = "race.sqlite3"
_ENOUGH_IMAGES = 3_000  # that a network sees before it is first judged
_MOST_EPOCHS = 5
_UNTRAINABLE = (InputSizeError, OptionError, WeightsError)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceSettings:
    """The flags of ``convatlas choose --race``.

    Attributes:
        networks: How many of a choice's networks take part, the best first.
        epochs: Epochs of the first rung; None for enough to see 3,000 images, but at most 5, and
            in the last rung no more than the networks' recipes have, where one epoch in the
            first allows it.
        factor: One of so many networks goes on after each rung, for so many times as long.
        images: About how many of the training images the race uses at most, of every class alike.
        holdout: Share of each class of these that the networks are judged by.
        seed: Decides those, the first weights, order and augmentation.
    """

    networks: int = 9
    epochs: int | None = None
    factor: int = 3
    images: int = 10_000
    holdout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise OptionError(f"seed must be 0 or more, got {self.seed}")
        if self.images < 2:
            raise OptionError(f"expected 2 images or more in a race, got {self.images}")
        rungs(self.networks, self.factor, 1 if self.epochs is None else self.epochs)

    def rungs_for(self, shortlist: Sequence[Candidate], train_images: int) -> tuple[Rung, ...]:
        """Return the rounds for these networks and so many images to train on."""
        if self.epochs is not None:
            return rungs(len(shortlist), self.factor, self.epochs)
        stretch = rungs(len(shortlist), self.factor, 1)[-1].epochs
        recipes = [fitting_recipe(each, train_images) for each in shortlist]
        most = min(recipe.training.epochs for recipe in recipes) // stretch
        wanted = min(-(-_ENOUGH_IMAGES // train_images), _MOST_EPOCHS, most)
        return rungs(len(shortlist), self.factor, max(1, wanted))


def race_shortlist(
    choice: Choice,
    data: str,
    folder: Path,
    listener: Listener,
    settings: RaceSettings | None = None,
    *,
    skip_bad: bool = False,
) -> RaceReport:
    """Race the best networks of a choice on the images that it was made for.

    A race that goes on keeps the networks that it began with: a choice that measures times may
    be another one today, and is not asked again unless its budget has changed.

    Args:
        choice: The answer whose shortlist is raced.
        data: What ``open_source`` opens.
        folder: See :func:`race`.
        listener: Who is told.
        settings: How the race goes; its seed also decides which images stay out of it, where
            the data have no split of their own.
        skip_bad: Whether unreadable images are left out instead of raising.

    Raises:
        OptionError: The folder lies among the images.
        ConvAtlasError: As for :func:`race`.
    """
    require_apart(data, folder)
    settings = settings or RaceSettings()
    question = {"networks": settings.networks, "budget": asdict(choice.budget)}
    shortlist = _shortlist(choice, settings, held_networks(folder / STUDY_FILE, question))
    reading = listener.progress("reading the images")
    prepared = prepare(data, reading, seed=settings.seed, skip_bad=skip_bad)
    return race(shortlist, prepared, settings, folder, listener, question)


def race(
    shortlist: Sequence[Candidate],
    prepared: Prepared,
    settings: RaceSettings,
    folder: Path,
    listener: Listener,
    question: Mapping[str, Any] | None = None,
) -> RaceReport:
    """Train networks on the same images by successive halving, and rank them by what they got.

    They are judged by a part of the *training* images, which is held out for the race; the
    validation images are not looked at. A race that was stopped, at any moment and in any way,
    goes on in the same folder, and ends as it would have ended.

    Args:
        shortlist: The networks as they are built for the images, each name once.
        prepared: The images.
        settings: How the race goes; its ``networks`` is not read.
        folder: Gets ``race.json``, the study ``race.sqlite3`` and a run folder per network.
        listener: Who is told.
        question: What the networks were chosen by, as JSON values; noted, and not read.

    Raises:
        OptionError: No networks, one of them twice, or none that can be trained.
        CheckpointError: The folder holds another race, or another process is at work in it.
        OutputError: The folder cannot be written.
        DataError: A class with a single training image, or images that cannot be read.
        KeyboardInterrupt: Ctrl-C; the same call goes on.
    """
    names = sorted(each.name for each in shortlist)
    if not names or len(set(names)) < len(names):
        raise OptionError(
            f"expected different networks to race, got {', '.join(names) or 'none'}: name each once"
        )
    require_writable(folder / RACE_FILE)
    parted = _parted(prepared, settings, listener)
    rounds = settings.rungs_for(shortlist, parted.train.images)
    plan = {
        "seed": settings.seed,
        "images": settings.images,
        "holdout": settings.holdout,
        "rungs": [[each.networks, each.epochs] for each in rounds],
        "networks": sorted(map(_words, shortlist)),
        "data": data_fingerprint(prepared.splits.train)[:16],
    }
    study_file, asked = folder / STUDY_FILE, question or {}
    with alone_in(folder), _repeatable(folder), open_study(study_file, plan, names, asked) as study:
        trainer = RaceTrainer(parted, rounds, settings.seed, folder, listener)
        _run(shortlist, rounds, study, trainer, listener)
        racers = [_racer(each, study) for each in shortlist]
    report = _report(racers, parted, settings, rounds)
    write_json(folder / RACE_FILE, asdict(report))
    return report


def _shortlist(choice: Choice, settings: RaceSettings, held: Sequence[str]) -> list[Candidate]:
    """Return the networks that a race began with, or for a new one the best of the choice."""
    known = {each.name: each for each in choice.candidates}
    if held and known.keys() >= set(held):
        return [known[name] for name in held]
    return [each for each in choice.candidates if each.kept][: settings.networks]


def _run(
    shortlist: Sequence[Candidate],
    rounds: Sequence[Rung],
    study: RaceStudy,
    trainer: RaceTrainer,
    listener: Listener,
) -> None:
    """Run all rungs, those that the study holds only on paper."""
    going_on = list(shortlist)
    for number, rung in enumerate(rounds, start=1):
        for place, candidate in enumerate(going_on, start=1):
            name = candidate.name
            if study.failure(name) or len(study.stints(name)) >= number:
                continue
            listener.say(
                f"rung {number} of {len(rounds)}, network {place} of {len(going_on)}: {name} to "
                f"epoch {rung.epochs} of {rounds[-1].epochs}"
            )
            try:
                study.note(name, trainer.train(candidate, rung))
            except _UNTRAINABLE as error:
                study.fail(name, str(error))
                listener.say(f"{name} is out: {error}")
        racers = [_racer(each, study) for each in going_on]
        count = rounds[number].networks if number < len(rounds) else len(going_on)
        kept = {racer.name for racer in promoted(racers, count)}
        for candidate in going_on:
            if candidate.name not in kept:
                study.end(candidate.name, finished=False)
                trainer.forget(candidate)
        going_on = [candidate for candidate in going_on if candidate.name in kept]
    for candidate in going_on:
        study.end(candidate.name, finished=True)


def _parted(prepared: Prepared, settings: RaceSettings, listener: Listener) -> Prepared:
    """Return the training images alone, or some of them; a part of them is held out."""
    some = _some(prepared.splits.train, settings.images, settings.seed)
    splits = hold_out(some, settings.seed, settings.holdout)
    progress = listener.progress("looking at the images")
    train = describe_source(splits.train, progress)
    return Prepared(splits, train, describe_source(splits.validation, progress))


def _some(source: ImageSource, most: int, seed: int) -> ImageSource:
    """Return about ``most`` images, every class by its share but at least two of each."""
    share, labels = most / len(source), source.labels
    if share >= 1:
        return source
    wanted = {label: max(2, round(share * n)) for label, n in Counter(labels).items()}
    kept = []
    for index in epoch_order(len(source), seed, 0).tolist():
        if wanted[labels[index]]:
            wanted[labels[index]] -= 1
            kept.append(index)
    return Subset(source, sorted(kept))


def _racer(candidate: Candidate, study: RaceStudy) -> Racer:
    return Racer(
        name=candidate.name,
        weights=candidate.weights,
        input_size=candidate.input_size,
        params=candidate.cost.params,
        macs=candidate.cost.macs,
        stints=study.stints(candidate.name),
        failure=study.failure(candidate.name),
    )


def _report(
    racers: Sequence[Racer], parted: Prepared, settings: RaceSettings, rounds: tuple[Rung, ...]
) -> RaceReport:
    if all(racer.failure for racer in racers):
        raise OptionError(
            f"none of the {len(racers)} networks could be trained; {racers[0].name}: "
            f"{racers[0].failure}"
        )
    ranked = judged(racers)
    labels = parted.splits.validation.labels
    chance = max(Counter(labels).values()) / len(labels)
    recommended, sentence = verdict(ranked)
    return RaceReport(
        data=parted.name.removesuffix("/train"),
        train_images=parted.train.images,
        judged_images=parted.validation.images,
        chance=chance,
        seed=settings.seed,
        factor=settings.factor,
        rungs=rounds,
        racers=ranked,
        recommended=recommended,
        sentence=sentence,
        notes=reservations(ranked, chance),
        seconds=sum(racer.stints[-1].seconds for racer in ranked if racer.stints),
    )


def _words(candidate: Candidate) -> str:
    start = f"{candidate.weights} weights" if candidate.weights else "scratch"
    stem = f", {candidate.stem} stem" if candidate.stem else ""
    return f"{candidate.name} at {candidate.input_size} px from {start}{stem}"


@contextmanager
def _repeatable(folder: Path) -> Iterator[None]:
    """Add to the message of a Ctrl-C that what was trained is kept."""
    try:
        yield
    except KeyboardInterrupt as error:
        why = f"{str(error) or 'stopped'}; the same command goes on from {folder}"
        error.args = (why,)
        raise
