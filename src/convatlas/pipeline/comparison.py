"""Collect what is said of networks that stand beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from convatlas.analysis.comparison import Compared, Comparison, pareto_front
from convatlas.analysis.cost import analyze
from convatlas.analysis.latency import Latency, measure_latency
from convatlas.analysis.memory import predict_memory
from convatlas.errors import OptionError
from convatlas.models.catalogue import Entry, find_entry, list_entries
from convatlas.models.registry import create_model

__all__ = ["compare"]

_DATASET = "ImageNet-1k"


def compare(
    names: Sequence[str],
    *,
    input_size: int | None = None,
    measure: bool = False,
    runs: int = 20,
    progress: Callable[[int, int], object] | None = None,
) -> Comparison:
    """Count, predict and, if asked, measure what networks of the catalogue cost for one image.

    Costs and memory need no memory themselves. A name that is given twice counts once.

    Args:
        names: Networks of the catalogue.
        input_size: Height and width in pixels for all of them; each paper's by default.
        measure: Whether a forward pass of each is timed on this machine, in single precision,
            with random weights.
        runs: Timed passes, after three to warm up.
        progress: Called with the number of networks that are done, and of all.

    Raises:
        UnknownNameError: No such network; the nearest names are in the message.
        InputSizeError: An input that one of them does not take.
        OptionError: No name, or fewer than one run.
    """
    if not names:
        raise OptionError("expected the names of networks, got none: see `convatlas list`")
    if runs < 1:
        raise OptionError(f"runs must be 1 or more, got {runs}")
    entries = [find_entry(name) for name in dict.fromkeys(names)]
    networks = []
    for number, entry in enumerate(entries):
        if progress:
            progress(number, len(entries))
        networks.append(_compared(entry, input_size or entry.input_size, runs if measure else 0))
    if progress:
        progress(len(entries), len(entries))
    published = [e for e in list_entries(min_top1=0) if e.dataset == _DATASET]
    return Comparison(tuple(networks), tuple(published), pareto_front(published))


def _compared(entry: Entry, size: int, runs: int) -> Compared:
    with torch.device("meta"):
        model = create_model(entry.name).eval()
    cost = analyze(model, size, in_channels=entry.in_channels)
    memory = predict_memory(model, size)
    return Compared(entry, size, cost, memory, _measured(entry, size, runs) if runs else None)


def _measured(entry: Entry, size: int, runs: int) -> Latency:
    model = create_model(entry.name).eval()
    return measure_latency(model, size, in_channels=entry.in_channels, runs=runs)
