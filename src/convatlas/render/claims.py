"""Judged claims as tables for the terminal, as JSON and as the page docs/claims.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from convatlas.render.columns import Column, fitted_table, terminal_width
from convatlas.render.data import to_json
from convatlas.render.units import MISSING, plural

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from convatlas.claims.printed import Printed
    from convatlas.claims.verdicts import Comparison, Outcome, Values

__all__ = ["claim_pages", "claim_parts", "claims_table", "claims_to_json", "written_alike"]


def claims_table(outcomes: Sequence[Outcome], width: int | None = None) -> Table:
    """Return one row per claim with its most telling figures.

    Args:
        outcomes: One row each.
        width: Terminal cells; those of this terminal by default.
    """
    columns = [
        Column("claim", [each.claim.id for each in outcomes]),
        Column("lecture", [" ".join(each.claim.lectures) for each in outcomes], 0),
        Column("lecture says", [_says(each) for each in outcomes], is_prose=True),
        Column("we get", [_gets(each) for each in outcomes], is_prose=True),
        Column("verdict", [each.verdict.value for each in outcomes]),
    ]
    notes = [_summary(outcomes), "`convatlas claims ID` shows every figure and the working."]
    return fitted_table(columns, width or terminal_width(), notes=notes)


def claim_parts(outcome: Outcome, width: int | None = None) -> Iterator[RenderableType]:
    """Yield a claim, its figures, why they do not agree, and the whole working.

    Args:
        outcome: The claim, judged.
        width: Terminal cells; those of this terminal by default.
    """
    from rich.text import Text

    claim, width = outcome.claim, width or terminal_width()
    yield Text(f"{claim.id}: {claim.title} ({', '.join(claim.lectures)})", style="bold")
    yield Text(f"{claim.statement}\n")
    if outcome.comparisons:
        yield fitted_table(_figure_columns(outcome.comparisons), width)
    for sentence in (*_explanations(outcome), *outcome.remarks):
        yield Text(f"· {sentence}")
    yield Text(f"\nVerdict: {outcome.verdict.value}.\n", style="bold")
    if outcome.working:
        columns = [
            Column("working", [step.name for step in outcome.working]),
            Column("arithmetic", [step.how for step in outcome.working], is_prose=True),
            Column("value", [_value(step.value) for step in outcome.working], is_number=True),
        ]
        yield fitted_table(columns, width)


def claims_to_json(outcomes: Sequence[Outcome]) -> str:
    """Return every figure, reading, remark and step of the working as JSON."""
    return to_json([_row(outcome) for outcome in outcomes])


def claim_pages(outcomes: Sequence[Outcome], lectures: dict[str, str]) -> str:
    """Return the page of the claims as Markdown.

    Args:
        outcomes: Every claim, judged.
        lectures: Short name → the lecture.
    """
    parts = [
        "# The lectures' claims\n",
        "Each figure is computed by our own code and compared by one rule: it agrees when, rounded "
        "as the lecture rounds, it is the lecture's. What agrees only by another convention or "
        "variant holds with a remark; what takes a slip to come out does not hold. "
        "`convatlas claims` computes all of it anew, in seconds.\n",
        "".join(f"- **{name}** {title}\n" for name, title in lectures.items()),
        f"{_summary(outcomes)}\n",
        "| claim | lecture says | we get | verdict |\n|---|---|---|---|\n"
        + "".join(
            f"| [{each.claim.id}](#{each.claim.id}) | {_says(each)} | {_gets(each)} "
            f"| {each.verdict.value} |\n"
            for each in outcomes
        ),
        *map(_section, outcomes),
    ]
    return "\n".join(parts)


def written_alike(says: str, printed: Sequence[Printed], values: Sequence[float]) -> str:
    """Return ``says`` with our values in place of its numbers, one digit more precise."""
    text, place = "", 0
    for number, value in zip(printed, values, strict=True):
        start, end = number.span
        text += says[place:start] + _alike(says[start:end], number, value)
        place = end
    return text + says[place:]


def _alike(digits: str, number: Printed, value: float) -> str:
    if not number.step:
        if value == round(value):
            return f"{value:,.0f}" if "," in digits else f"{value:.0f}"
        return f"{value:.3f}"
    _, e, power = digits.partition("e")
    return f"{value / number.factor:.{number.decimals + 1}f}{e}{power}"


def _alike_figure(comparison: Comparison) -> str:
    figure = comparison.figure
    return written_alike(figure.says, figure.printed, comparison.got)


def _telling(outcome: Outcome) -> Comparison:
    """Return the first figure that disagrees, or else the first."""
    return next((c for c in outcome.comparisons if not c.agrees), outcome.comparisons[0])


def _says(outcome: Outcome) -> str:
    if not outcome.comparisons:
        return outcome.claim.statement
    figure, others = _telling(outcome).figure, len(outcome.comparisons) - 1
    more = f" (and {plural(others, 'figure')} more)" if others else ""
    return f"{figure.label}: {figure.says}{more}"


def _gets(outcome: Outcome) -> str:
    return _alike_figure(_telling(outcome)) if outcome.comparisons else MISSING


def _summary(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(outcome.verdict for outcome in outcomes)
    parts = ", ".join(f"{verdict} {counts[verdict]}" for verdict in type(outcomes[0].verdict))
    return f"{plural(len(outcomes), 'claim')}: {parts}."


def _figure_columns(comparisons: Sequence[Comparison]) -> list[Column]:
    return [
        Column("figure", [c.figure.label for c in comparisons]),
        Column("lecture says", [_allowed(c) for c in comparisons], is_prose=True),
        Column("we get", [_alike_figure(c) for c in comparisons], is_prose=True),
        Column("agrees", list(map(_agreement, comparisons))),
    ]


def _agreement(comparison: Comparison) -> str:
    if comparison.agrees:
        return "yes"
    return "see below" if comparison.reading and comparison.reading.is_fair else "no"


def _allowed(comparison: Comparison) -> str:
    within, says = comparison.figure.within, comparison.figure.says
    return f"{says} (± {100 * within:g} %)" if within else says


def _explanations(outcome: Outcome) -> Iterator[str]:
    """Yield under which assumption figures come out that do not by the plain reading."""
    under: dict[str, list[str]] = {}
    for each in outcome.comparisons:
        if each.reading is not None:
            figure = each.figure
            ours = written_alike(figure.says, figure.printed, each.reading_got)
            under.setdefault(each.reading.assumption, []).append(f"{figure.label} {ours}")
    for assumption, figures in under.items():
        yield f"If {assumption}, we get: {', '.join(figures)}."


def _value(value: Values) -> str:
    if not isinstance(value, int | float):
        return ", ".join(map(_value, value))
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}" if isinstance(value, float) else f"{value:,}"
    return f"{value:.6g}"


def _row(outcome: Outcome) -> dict[str, Any]:
    claim = outcome.claim
    return {
        "id": claim.id,
        "lectures": list(claim.lectures),
        "title": claim.title,
        "statement": claim.statement,
        "verdict": outcome.verdict.value,
        "figures": [
            {
                "key": each.figure.key,
                "label": each.figure.label,
                "says": each.figure.says,
                "said": [number.value for number in each.figure.printed],
                "within": each.figure.within,
                "got": list(each.got),
                "agrees": each.agrees,
                "agrees_if": each.reading.assumption if each.reading else None,
                "got_if": list(each.reading_got),
                "is_fair_reading": each.reading.is_fair if each.reading else None,
            }
            for each in outcome.comparisons
        ],
        "remarks": list(outcome.remarks),
        "working": [
            {"name": step.name, "how": step.how, "value": step.value} for step in outcome.working
        ],
    }


def _section(outcome: Outcome) -> str:
    claim = outcome.claim
    parts = [
        f"## {claim.id}\n",
        f"*{claim.title}* ({', '.join(claim.lectures)}). {claim.statement}\n",
    ]
    if outcome.comparisons:
        columns = _figure_columns(outcome.comparisons)
        parts.append(_markdown(columns))
    notes = [*_explanations(outcome), *outcome.remarks]
    if notes:
        parts.append("".join(f"- {note}\n" for note in notes))
    parts.append(f"**Verdict: {outcome.verdict.value}.**\n")
    if outcome.working:
        steps = outcome.working
        columns = [
            Column("step", [step.name for step in steps]),
            Column("arithmetic", [step.how for step in steps]),
            Column("value", [_value(step.value) for step in steps], is_number=True),
        ]
        parts.append(
            f"<details><summary>The working</summary>\n\n{_markdown(columns)}\n</details>\n"
        )
    return "\n".join(parts)


def _markdown(columns: Sequence[Column]) -> str:
    rule = "|".join("---:" if column.is_number else "---" for column in columns)
    rows = zip(*(column.cells for column in columns), strict=True)
    lines = ["| " + " | ".join(column.header for column in columns) + " |", f"|{rule}|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
