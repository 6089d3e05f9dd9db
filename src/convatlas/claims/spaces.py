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
    power = "·".join
    by_stage = {
        name: power([term] * _STAGES)
        for name, term in (
            ("a", f"({d}·{w}·{b}·{g})"),
            ("b", f"({d}·{w}·{g})"),
            ("c", f"({d}·{w})"),
            ("d", str(d)),
        )
    }
    steps = [
        Step("one stage: depth, width, ratio, group width", f"{d}·{w}·{b}·{g}", d * w * b * g),
        Step("AnyNet A: all free", by_stage["a"], figures["a"]),
        Step("AnyNet B: one ratio", f"{by_stage['b']}·{b}", figures["b"]),
        Step("AnyNet C: one group width", f"{by_stage['c']}·{b}·{g}", figures["c"]),
        Step("widths that never fall", f"{w}·{w + 1}·{w + 2}·{w + 3}/{_ORDERS}", rising_w),
        Step("AnyNet D: widths never fall", f"{by_stage['d']}·{rising_w}·{b}·{g}", figures["d"]),
        Step("AnyNet D as the paper counts", f"{figures['c']}/{_ORDERS}", as_printed["d"]),
        Step("depths that never fall", f"{d}·{d + 1}·{d + 2}·{d + 3}/{_ORDERS}", rising_d),
        Step("AnyNet E: depths never fall", f"{rising_d}·{rising_w}·{b}·{g}", figures["e"]),
        Step("AnyNet E as the paper counts", f"{figures['c']}/({_ORDERS}·{_ORDERS})",
             as_printed["e"]),
        Step("RegNet: d, w_0, w_a, w_m, ratio, group width",
             f"{power([str(_STEPS)] * 4)}·{b}·{g}", figures["regnet"]),
    ]  # fmt: skip
    assumption = (
        f"one in {_ORDERS} orders of the stages is taken to rise, which forgets the nets whose "
        "stages are equal"
    )
    readings = [Reading(key, value, assumption, is_fair=True) for key, value in as_printed.items()]
    return Computed(
        figures,
        steps,
        readings,
        ["Counted as the paper does, without asking whether the group widths divide the widths."],
    )
