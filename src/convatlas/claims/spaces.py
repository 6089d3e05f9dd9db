"""Claims about design spaces: how many networks AnyNet and RegNet hold.

The ranges are those of Radosavovic et al., "Designing Network Design Spaces", 2020,
arXiv 2003.13678, sections 3.2 and 3.3.
"""

from __future__ import annotations

from math import comb, factorial

from convatlas.claims.verdicts import Computed, Reading, Step

__all__ = ["design_space_size", "non_decreasing"]

_STAGES = 4
_DEPTHS = range(1, 17)
_WIDTHS = range(8, 1025, 8)
_BOTTLENECK_RATIOS = (1, 2, 4)
_GROUP_WIDTHS = (1, 2, 4, 8, 16, 32)
_STEPS = 64  # values of each of d, w_0, w_a and w_m that the paper counts
_ORDERS = factorial(_STAGES)


def non_decreasing(values: int, stages: int) -> int:
    """Return the number of ways to give every stage at least the value of the one before."""
    return comb(values + stages - 1, stages)


def design_space_size() -> Computed:
    """Multiply out the choices of each space."""
    d, w, b, g = map(len, (_DEPTHS, _WIDTHS, _BOTTLENECK_RATIOS, _GROUP_WIDTHS))
    rising_d, rising_w = non_decreasing(d, _STAGES), non_decreasing(w, _STAGES)
    figures = {
        "a": (d * w * b * g) ** _STAGES,
        "b": (d * w * g) ** _STAGES * b,
        "c": (d * w) ** _STAGES * b * g,
        "d": d**_STAGES * rising_w * b * g,
        "e": rising_d * rising_w * b * g,
        "regnet": _STEPS**4 * b * g,
    }
    as_printed = {"d": figures["c"] / _ORDERS, "e": figures["c"] / _ORDERS**2}
    how = {
        "a": ("AnyNet A: all free", f"{_power(f'({d}·{w}·{b}·{g})')}"),
        "b": ("AnyNet B: one ratio", f"{_power(f'({d}·{w}·{g})')}·{b}"),
        "c": ("AnyNet C: one group width", f"{_power(f'({d}·{w})')}·{b}·{g}"),
        "d": ("AnyNet D: widths never fall", f"{_power(str(d))}·{rising_w}·{b}·{g}"),
        "e": ("AnyNet E: depths never fall", f"{rising_d}·{rising_w}·{b}·{g}"),
        "regnet": ("RegNet: d, w_0, w_a, w_m", f"{_power(str(_STEPS))}·{b}·{g}"),
    }
    steps = [
        Step("orders in which widths never fall", _choices(w), rising_w),
        Step("orders in which depths never fall", _choices(d), rising_d),
        *(Step(*how[key], value) for key, value in figures.items()),
        Step("AnyNet D as the paper counts", f"{figures['c']}/{_ORDERS}", as_printed["d"]),
        Step("AnyNet E as the paper counts", f"{figures['c']}/{_ORDERS**2}", as_printed["e"]),
    ]
    assumption = (
        f"one in {_ORDERS} orders of the stages is taken to rise, which forgets the nets whose "
        "stages are equal"
    )
    readings = [Reading(key, n, assumption, is_fair=True) for key, n in as_printed.items()]
    remark = "Counted as the paper does, without asking whether group widths divide the widths."
    return Computed(figures, steps, readings, [remark])


def _power(term: str) -> str:
    return "·".join([term] * _STAGES)


def _choices(values: int) -> str:
    """Return the binomial coefficient of ``non_decreasing`` as a product."""
    return "·".join(str(values + i) for i in range(_STAGES)) + f"/{_ORDERS}"
