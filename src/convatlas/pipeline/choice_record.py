"""A choice of a network as JSON values, for the run folder and the command; needs no torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from convatlas.search.candidate import Candidate, Choice

__all__ = ["choice_record"]


def choice_record(choice: Choice) -> dict[str, Any]:
    """Return which network was chosen, what became of the others, and where figures come from."""
    return {
        "budget": asdict(choice.budget),
        "input_size": choice.chosen.input_size,
        "chosen": _candidate_record(choice.chosen),
        "reason": choice.reason,
        "candidates": [_candidate_record(candidate) for candidate in choice.candidates],
        "neighbours": [asdict(neighbour) for neighbour in choice.neighbours],
        "advice": list(choice.advice),
    }


def _candidate_record(candidate: Candidate) -> dict[str, Any]:
    record = asdict(candidate)
    cost = record.pop("cost")
    return {**record, **cost}
