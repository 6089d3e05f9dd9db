"""What a design rule is, and what it says about a network: records, no text with numbers in it.

A saying names the facts that belong in it and their unit (``{share:percent}``); writing the
numbers is another room's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from convatlas.analysis.lint.network import Network

__all__ = ["SEVERITIES", "Check", "Fact", "Finding", "Hit", "Limit", "LintReport", "Rule", "hit"]

SEVERITIES = ("serious", "warning", "info")
"""The worst first."""

Fact = float | str | tuple[int, ...]


class Hit(NamedTuple):
    """One place that a rule objects to: the layer's name, and the facts that triggered it."""

    layer: str
    facts: Mapping[str, Fact]


def hit(layer: str, **facts: Fact) -> Hit:
    """Return one place that a rule objects to."""
    return Hit(layer, facts)


Check = Callable[..., Iterable[Hit]]
"""Takes the network and the rule's limits by name."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A threshold of a rule.

    Attributes:
        name: The check's parameter.
        value: Its value.
        reason: Why this value.
    """

    name: str
    value: float
    reason: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A design guideline as a check.

    Attributes:
        id: Its name, by which it can be silenced.
        title: What it objects to.
        severity: ``"serious"``: part of the network cannot work; ``"warning"``: it costs much
            or loses something; ``"info"``: worth knowing, may be meant.
        sources: Lectures and papers that give the guideline.
        saying: What was found, with the names and units of the facts.
        advice: What to try.
        check: Looks for it.
        limits: The thresholds of the check.
    """

    id: str
    title: str
    severity: str
    sources: tuple[str, ...]
    saying: str
    advice: str
    check: Check
    limits: tuple[Limit, ...] = ()

    def findings(self, network: Network, changed: Mapping[str, float]) -> tuple[Finding, ...]:
        """Return what the rule objects to, with some limits ``changed`` by name."""
        limits = {limit.name: changed.get(limit.name, limit.value) for limit in self.limits}
        hits = self.check(network, **limits)
        return tuple(Finding(self, layer, {**limits, **facts}) for layer, facts in hits)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule objects to.

    Attributes:
        rule: The rule.
        layer: The layer, by its name in the report; the worst one when it is about several.
        facts: The numbers that triggered it, and the limits they are held against. Shares are
            of 1; names ending in ``_bytes`` and ``_px`` say their unit.
    """

    rule: Rule
    layer: str
    facts: Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class LintReport:
    """What the rules say about a network.

    Attributes:
        input_shape: Shape of the (first) input, with the batch.
        findings: The most severe first, then in the order of the rules and of execution.
        checked: The rules that looked.
        ignored: Ids of the rules that were silenced.
    """

    input_shape: tuple[int, ...]
    findings: tuple[Finding, ...]
    checked: tuple[Rule, ...]
    ignored: tuple[str, ...]

    def of_severity(self, *severities: str) -> tuple[Finding, ...]:
        """Return the findings of these severities."""
        return tuple(found for found in self.findings if found.rule.severity in severities)
