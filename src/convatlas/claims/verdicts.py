"""From what a lecture says and what we computed to a verdict, by one rule.

A figure agrees when ours, rounded as the lecture rounds, is the lecture's. A figure that agrees
only under a stated reading of the claim holds with a remark if the reading is a fair one (another
convention, another variant of the network), and does not hold if it is a slip (a layer left out,
two conventions mixed). Knows nothing about networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from convatlas.claims.printed import agrees
from convatlas.claims.records import Claim, Figure
from convatlas.errors import OptionError

__all__ = ["Comparison", "Computed", "Outcome", "Reading", "Step", "Values", "Verdict", "judge"]

Values = float | Sequence[float]


class Verdict(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    REMARK = "holds with a remark"
    FAILS = "does not hold"
    OPEN = "needs training"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the working.

    Attributes:
        name: What was computed: a layer, a sum, a ratio.
        how: The arithmetic that gives the same (``"(3·3·3 + 1)·64"``), or what was counted.
        value: What our code got.
    """

    name: str
    how: str
    value: Values


@dataclass(frozen=True, slots=True)
class Reading:
    """What a figure becomes under an assumption that the plain reading does not make.

    Attributes:
        key: The figure.
        value: What our code gets under the assumption.
        assumption: The assumption, to follow "if".
        is_fair: Whether it is a convention or variant, not a slip.
    """

    key: str
    value: Values
    assumption: str
    is_fair: bool = False


@dataclass(frozen=True, slots=True)
class Computed:
    """What our code says about a claim.

    Attributes:
        figures: Figure → value or values, by the plain reading.
        working: How they came about.
        readings: Other readings of figures that may not agree.
        remarks: What must be said although the figures agree.
    """

    figures: Mapping[str, Values]
    working: Sequence[Step]
    readings: Sequence[Reading] = ()
    remarks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure beside ours.

    Attributes:
        figure: What the lecture says.
        got: Our values, as many as the lecture has.
        agrees: Whether they agree by the plain reading.
        reading: The first reading under which they agree, where the plain one does not.
        reading_got: Our values under that reading.
    """

    figure: Figure
    got: tuple[float, ...]
    agrees: bool
    reading: Reading | None = None
    reading_got: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A claim, judged.

    Attributes:
        claim: The claim.
        verdict: What became of it.
        comparisons: Its figures beside ours.
        remarks: What must be said with the verdict.
        working: How our figures came about.
    """

    claim: Claim
    verdict: Verdict
    comparisons: tuple[Comparison, ...]
    remarks: tuple[str, ...]
    working: tuple[Step, ...]


def judge(claim: Claim, computed: Computed | None) -> Outcome:
    """Compare a claim's figures with ours.

    Args:
        claim: The claim.
        computed: What our code got; None for a claim without figures.

    Raises:
        OptionError: A figure that was not computed, or with another number of values.
    """
    if computed is None:
        if claim.figures:
            raise OptionError(f"{claim.id} has figures: pass what was computed for them")
        return Outcome(claim, Verdict.OPEN, (), (claim.training,), ())
    compared = tuple(_compare(figure, computed) for figure in claim.figures)
    remarks = [*computed.remarks, *([claim.training] if claim.training else [])]
    return Outcome(
        claim, _verdict(compared, remarks), compared, tuple(remarks), tuple(computed.working)
    )


def _verdict(compared: Sequence[Comparison], remarks: Sequence[str]) -> Verdict:
    if any(not (each.agrees or (each.reading and each.reading.is_fair)) for each in compared):
        return Verdict.FAILS
    if remarks or not all(each.agrees for each in compared):
        return Verdict.REMARK
    return Verdict.HOLDS


def _compare(figure: Figure, computed: Computed) -> Comparison:
    got = _values(figure, computed.figures.get(figure.key, ()))
    if _agree(figure, got):
        return Comparison(figure, got, True)
    for reading in computed.readings:
        other = _values(figure, reading.value) if reading.key == figure.key else ()
        if other and _agree(figure, other):
            return Comparison(figure, got, False, reading, other)
    return Comparison(figure, got, False)


def _values(figure: Figure, value: Values) -> tuple[float, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    if len(values) != len(figure.printed):
        raise OptionError(
            f"expected {len(figure.printed)} numbers for {figure.key} ({figure.says!r}), "
            f"got {len(values)}: compute one for each"
        )
    return values


def _agree(figure: Figure, values: Sequence[float]) -> bool:
    pairs = zip(figure.printed, values, strict=True)
    return all(agrees(printed, value, figure.within) for printed, value in pairs)
