"""Count timm's networks and list the operators that no formula covers.

Three networks of each of timm's architecture files (the first, the middle and the last by name),
without memory where timm can build them so; nothing is downloaded. It takes some minutes. Run in
the environment of the oracles:

    PYTHONPATH=src:tools/oracles ~/.cache/convatlas/oracles/bin/python tools/oracles/count_timm.py
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from importlib import import_module

import torch
from operator_schemas import declare_operator_schemas
from torch import nn

from convatlas.analysis.cost import analyze
from convatlas.errors import ConvAtlasError


def names(per_file: int) -> list[str]:
    """Return up to ``per_file`` names from each architecture file, evenly spread."""
    timm = import_module("timm")
    found: list[str] = []
    for module in timm.list_modules():
        listed = timm.list_models(module=module)
        last = max(1, per_file - 1)
        places = {round(i * (len(listed) - 1) / last) for i in range(per_file)} if listed else ()
        found += [listed[place] for place in sorted(places)]
    return found


def build(name: str) -> nn.Module:
    """Return a network without memory, or with it where its constructor computes with values."""
    create = import_module("timm").create_model
    try:
        with torch.device("meta"):
            net: nn.Module = create(name, pretrained=False)
    except (NotImplementedError, RuntimeError):
        net = create(name, pretrained=False)
    return net.eval()


def main() -> int:
    """Print each network's cost, and at the end what was not counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-file", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    declare_operator_schemas()
    uncounted: Counter[str] = Counter()
    failed = []
    asked = names(arguments.per_file)
    for name in asked:
        net = build(name)
        size = getattr(net, "pretrained_cfg")["input_size"]  # noqa: B009  # no attribute of Module
        try:
            report = analyze(net, tuple(size))
        except ConvAtlasError as error:
            failed.append(f"{name}: {error}")
            continue
        uncounted.update({each.operator for each in report.uncounted})
        print(f"{name:<48}{'at least' if report.is_lower_bound else '':>9}{report.macs:>18,}")
    print(f"{len(asked)} networks, {len(failed)} refused; networks per uncounted operator:")
    print(dict(uncounted) or "none", *failed, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
