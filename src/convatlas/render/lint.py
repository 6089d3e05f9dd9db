"""What the design rules found, as a list for the terminal and as JSON.

Fills the numbers into the rules' sentences; it knows no rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from string import Formatter
from typing import TYPE_CHECKING, Any

from convatlas.render.columns import printable, terminal_width
from convatlas.render.data import to_json
from convatlas.render.units import bytes_text, count, percent, pixels, plural, whole

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from convatlas.analysis.lint.rule import Finding, LintReport

__all__ = ["finding_text", "lint_list", "lint_to_json"]

_SHOWN = 3  # findings of one rule that are written out
_COLOURS = {"serious": "bold red", "warning": "yellow", "info": "blue"}
_UNITS = {
    "": printable,
    "bytes": bytes_text,
    "count": count,
    "decimal": lambda value: f"{value:.1f}",
    "percent": percent,
    "px": pixels,
    "shape": lambda sides: "×".join(map(str, sides)),
    "whole": whole,
}


class _Sentence(Formatter):
    """Writes a fact with the unit that stands behind its name."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return the number as people read it."""
        return _UNITS[format_spec](value)


def finding_text(finding: Finding) -> str:
    """Return what was found as a sentence with its numbers."""
    text = _Sentence().vformat(finding.rule.saying, (), finding.facts)
    return text[:1].upper() + text[1:]


def lint_list(report: LintReport, width: int | None = None) -> Table:
    """Return the findings rule by rule: where, by which numbers, what to try, who says so.

    Args:
        report: What the rules say.
        width: Terminal cells; those of this terminal by default.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1, 0, 0))
    table.width = width or terminal_width()
    table.add_column(no_wrap=True)
    table.add_column(ratio=1)
    for rule, group in groupby(report.findings, key=lambda found: found.rule):
        lines = Text(f"{rule.title} ({rule.id})\n", style="bold")
        lines.append_text(
            Text("".join(f"{line}\n" for line in _lines(list(group))), style="not bold")
        )
        table.add_row(Text(rule.severity, style=_COLOURS[rule.severity]), lines)
    table.caption, table.caption_justify = _summary(report), "left"
    return table


def lint_to_json(report: LintReport) -> str:
    """Return every finding with its facts, its sentence, advice and sources, as JSON."""
    return to_json(
        {
            "input_shape": report.input_shape,
            "checked": [rule.id for rule in report.checked],
            "ignored": report.ignored,
            "findings": [
                {
                    "rule": found.rule.id,
                    "severity": found.rule.severity,
                    "title": found.rule.title,
                    "layer": found.layer,
                    "facts": found.facts,
                    "finding": finding_text(found),
                    "advice": found.rule.advice,
                    "sources": found.rule.sources,
                }
                for found in report.findings
            ],
        }
    )


def _lines(found: list[Finding]) -> Iterator[str]:
    for finding in found[:_SHOWN]:
        yield f"{printable(finding.layer)}: {finding_text(finding)}"
    rest = [printable(finding.layer) for finding in found[_SHOWN:]]
    if rest:
        yield f"And {plural(len(rest), 'more layer')}, the last one {rest[-1]}."
    yield f"Try: {found[0].rule.advice}"
    yield f"Source: {found[0].rule.sources[0]}"


def _summary(report: LintReport) -> Text:
    """Say how many rules looked at what, and what came of it."""
    from rich.text import Text

    counts = [f"{len(report.of_severity(severity))} {severity}" for severity in _COLOURS]
    shape = "×".join(map(str, report.input_shape))
    verdict = ", ".join(counts) if report.findings else "nothing to object to"
    text = f"Input {shape}, {plural(len(report.checked), 'rule')}: {verdict}."
    if report.ignored:
        text += f" Ignored: {', '.join(report.ignored)}."
    return Text(text)
