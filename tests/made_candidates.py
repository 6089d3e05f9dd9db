"""Candidates that nobody published, for rules that are worked out by hand."""

from __future__ import annotations

from convatlas.search.budget import Cost
from convatlas.search.candidate import Candidate
from convatlas.search.figures import Figure


def made(name, top1=None, macs=1, *, params=1, ms=None, **cost):
    """Return a candidate with these figures, within every limit so far."""
    figures = {} if ms is None else {"latency_ms": Figure(ms, "predicted")}
    return Candidate(
        name=name,
        weights=None,
        input_size=224,
        in_channels=3,
        stem=None,
        cost=Cost(params=params, macs=macs, latency_ms=ms, **cost),
        top1=top1,
        dataset="ImageNet-1k",
        kept=True,
        reason="",
        figures=figures,
    )
