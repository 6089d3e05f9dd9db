"""Successive halving: who trains for how long, who goes on, and what came out of it.

Many networks train briefly, the best of them longer, the best of those longer still. It is pure
arithmetic on figures that somebody else measured.

Source: Jamieson & Talwalkar 2016, arXiv:1502.07943, with any rate in place of 2 as in Li et al.
2018, arXiv:1603.06560, algorithm 1: of n networks ⌊n η⁻ⁱ⌋ are in rung i, trained for r ηⁱ epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from convatlas.errors import OptionError

__all__ = [
    "RaceReport",
    "Racer",
    "Rung",
    "Stint",
    "judged",
    "promoted",
    "reservations",
    "rungs",
    "verdict",
]


@dataclass(frozen=True, slots=True)
class Rung:
    """One round of a race.

    Attributes:
        networks: How many take part at most.
        epochs: Epochs that each of them has been trained for at its end, from the start on.
    """

    networks: int
    epochs: int


@dataclass(frozen=True, slots=True)
class Stint:
    """What a network was worth at the end of one rung.

    Attributes:
        epochs: Epochs of training by then.
        accuracy: Share of the judging images that it had right, 0 … 1.
        interval: Its 95 % Wilson interval.
        images: Number of judging images.
        seconds: Time of training by then, without evaluation.
    """

    epochs: int
    accuracy: float
    interval: tuple[float, float]
    images: int
    seconds: float

    def reaches(self, accuracy: float) -> bool:
        """Tell whether ``accuracy`` lies within the interval."""
        return self.interval[0] <= accuracy <= self.interval[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Racer:
    """One network of a race.

    Attributes:
        name: Name for ``create_model``.
        weights: Source of pretrained weights, or None.
        input_size: Height and width of its input, in pixels.
        params: Number of trainable parameters.
        macs: Multiply-accumulates for one image.
        stints: What it was worth at the end of each rung that it finished.
        failure: Why it could not be trained further; ``""`` if it could.
        tied: Whether it cannot be told apart from the winner; true of the winner, too, then.
        close_call: Whether it was dropped with a figure within the interval of one that went
            on, so that chance may have decided.
    """

    name: str
    weights: str | None
    input_size: int
    params: int
    macs: int
    stints: tuple[Stint, ...]
    failure: str = ""
    tied: bool = False
    close_call: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceReport:
    """What came out of a race.

    Attributes:
        data: Name of the images.
        train_images: Images that the networks were trained on.
        judged_images: Other training images, which they were judged by.
        chance: Share of the most frequent class among the latter, 0 … 1.
        seed: What decided the split, the first weights, order and augmentation.
        factor: One of so many networks went on after each rung.
        rungs: The rounds.
        racers: The networks, the best first.
        recommended: Name of the winner, or of the one with the fewest multiply-accumulates of
            those that tie with it.
        sentence: Why.
        notes: What else must be known to read the figures, a sentence each.
        seconds: Time of training, all networks together.
    """

    data: str
    train_images: int
    judged_images: int
    chance: float
    seed: int
    factor: int
    rungs: tuple[Rung, ...]
    racers: tuple[Racer, ...]
    recommended: str
    sentence: str
    notes: tuple[str, ...]
    seconds: float


def rungs(networks: int, factor: int, epochs: int) -> tuple[Rung, ...]:
    """Return the rounds of a race: 9 networks, factor 3 and 1 epoch give 9, 3, 1 for 1, 3, 9.

    Args:
        networks: Networks at the start.
        factor: One of so many goes on, and trains for so many times as long.
        epochs: Epochs of the first round.

    Raises:
        OptionError: No network, a factor below 2, or no epoch.
    """
    for name, value, least in (("networks", networks, 1), ("factor", factor, 2)):
        if value < least:
            raise OptionError(f"expected {name} of {least} or more in a race, got {value}")
    if epochs < 1:
        raise OptionError(f"expected a first rung of 1 epoch or more, got {epochs}")
    found = []
    while networks:
        found.append(Rung(networks, epochs))
        networks, epochs = networks // factor, epochs * factor
    return tuple(found)


def promoted(racers: Sequence[Racer], count: int) -> list[Racer]:
    """Return the ``count`` best of a rung's networks, those that failed left out."""
    return sorted((each for each in racers if not each.failure), key=_place)[:count]


def judged(racers: Sequence[Racer]) -> tuple[Racer, ...]:
    """Return the networks of a finished race, best first, with ties and close calls marked.

    The further a network got the better, then the higher its last accuracy; at least one must
    not have failed. A network ties with the winner when both took part in the last rung that was
    a contest, and its accuracy there lies within the winner's interval. All are judged by the
    same images and fail on much the same ones: were mistakes correlated by a half, the interval
    of the difference would be just as wide.
    """
    ranked = sorted(racers, key=_place)
    winner = ranked[0]
    final = _last_contest(ranked)
    rivals = [
        each.name
        for each in ranked[1:]
        if len(each.stints) > final
        and not each.failure
        and winner.stints[final].reaches(each.stints[final].accuracy)
    ]
    tied = {winner.name, *rivals} if rivals else set()
    return tuple(
        replace(each, tied=each.name in tied, close_call=_close_call(each, ranked, final))
        for each in ranked
    )


def verdict(racers: Sequence[Racer]) -> tuple[str, str]:
    """Return the name of the network to take, and why in a sentence.

    Args:
        racers: What :func:`judged` gave.
    """
    winner, tied = racers[0], [each for each in racers if each.tied]
    stint = winner.stints[_last_contest(racers)]
    low, high = (f"{100 * bound:.1f}" for bound in stint.interval)
    span = f"{low}–{high} % of {stint.images:,} images after {_epochs(stint.epochs)}"
    if all(each.failure for each in racers[1:]):
        why = "is the only one that could be trained" if len(racers) > 1 else "raced alone"
        return winner.name, f"{winner.name} {why}: {span}."
    if not tied:
        return winner.name, f"{winner.name} won: no rival came within its interval, {span}."
    cheapest = min(tied, key=lambda each: each.macs)
    names = ", ".join(each.name for each in tied[:-1]) + f" and {tied[-1].name}"
    lead = f"{names} tie, all within the interval of {winner.name}, {span}"
    share = f"{cheapest.macs / 1e6:,.4g} M MACs"
    return cheapest.name, f"{lead}: {cheapest.name} is the cheapest of them with {share}."


def reservations(racers: Sequence[Racer], chance: float) -> tuple[str, ...]:
    """Return what must be known to read the figures, a sentence each.

    Args:
        racers: What :func:`judged` gave.
        chance: Share of the most frequent class among the judging images.
    """
    last = racers[0].stints[-1]
    theirs = "training images, and those held out for the final evaluation took no part."
    notes = [f"The {last.images:,} images that its figure is of are {theirs}"]
    if sum(not each.failure for each in racers) > 1:
        notes = [
            f"The winner was picked by the same {last.images:,} images that its figure is of, "
            f"which flatters it; they are {theirs}"
        ]
    if last.reaches(chance) or last.accuracy < chance:
        notes.append(
            "No network is surely better than naming the most frequent class every time "
            f"({100 * chance:.1f} %): race again with a longer first rung."
        )
    close = [each.name for each in racers if each.close_call]
    if close:
        notes.append(
            f"Chance may have decided that {', '.join(close)} did not go on: within the interval "
            "of one that did. A longer first rung says more."
        )
    notes += [
        f"{each.name} could not be trained: {each.failure}" for each in racers if each.failure
    ]
    return tuple(notes)


def _place(racer: Racer) -> tuple[bool, int, float, int, str]:
    """Return what networks are sorted by, best first; those that failed come last."""
    accuracy = racer.stints[-1].accuracy if racer.stints else 0.0
    return bool(racer.failure), -len(racer.stints), -accuracy, racer.macs, racer.name


def _last_contest(ranked: Sequence[Racer]) -> int:
    """Return the number of the last rung that two networks finished, or the only one if it is."""
    sound = [each for each in ranked if not each.failure]
    return len(sound[1 if len(sound) > 1 else 0].stints) - 1


def _close_call(racer: Racer, ranked: Sequence[Racer], final: int) -> bool:
    """Tell whether a network that was dropped before the final is within a better one's reach."""
    rung = len(racer.stints) - 1
    if racer.failure or not 0 <= rung < final:
        return False
    further = [each.stints[rung] for each in ranked if len(each.stints) > rung + 1]
    return any(stint.reaches(racer.stints[rung].accuracy) for stint in further)


def _epochs(number: int) -> str:
    return f"{number} epoch" if number == 1 else f"{number} epochs"
