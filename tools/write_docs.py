"""Write the generated pages: docs/cli.md from --help, docs/models.md from the catalogue, and
docs/claims.md from the lectures' claims.

The pictures of the families' blocks are drawn from the built networks.
`python tools/write_docs.py` writes all; with `--check` it only says what is out of date.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import torch
import typer
from typer.testing import CliRunner

from convatlas.analysis.diagram import diagram
from convatlas.claims.check import check
from convatlas.claims.records import LECTURES
from convatlas.cli.commands import app
from convatlas.models.catalogue import Entry, Family, list_entries
from convatlas.models.registry import create_model
from convatlas.models.timeline import list_milestones
from convatlas.render.claims import claim_pages
from convatlas.render.diagram import blocks_svg
from convatlas.render.timeline import timeline_svg

PUBLISHED = Path(__file__).parents[1] / "tests" / "fixtures" / "published.csv"
DOCS = Path(__file__).parents[1] / "docs"
HEADER = "<!-- Written by tools/write_docs.py; edit that, not this. -->\n\n"
# What the exponents of the published figures are called.
_PREFIXES = {"3": "k", "6": "M", "9": "G"}


def command_reference() -> str:
    """Return the help of every command."""
    names = ["", *getattr(typer.main.get_command(app), "commands", {})]
    runner = CliRunner()
    parts = ["# Commands\n"]
    for name in names:
        arguments = [name, "--help"] if name else ["--help"]
        result = runner.invoke(app, arguments, prog_name="convatlas", terminal_width=80)
        title = f"convatlas {name}".strip()
        text = "\n".join(line.rstrip() for line in result.output.strip().splitlines())
        parts.append(f"## {title}\n\n```text\n{text}\n```\n")
    return HEADER + "\n".join(parts)


def model_pages() -> str:
    """Return the families with their networks and figures."""
    parts = [
        "# Networks\n",
        "Parameters count every trainable number. MACs count the multiply-accumulates of "
        "convolutions and linear layers for one image of the given size (1 MAC = 2 FLOPs). "
        "Accuracy is the published one, in per cent, by the source beside it. Published parameters "
        "and MACs, where others state them, are those of `tests/fixtures/published.csv`, which "
        "names the source of each and what it counts otherwise.\n",
        "![Top-5 errors on ImageNet by year](images/timeline.svg)\n",
    ]
    for family, entries in groupby(list_entries(), key=lambda entry: entry.family):
        parts.append(_family(family, entries))
    return HEADER + "\n".join(parts)


def _family(family: Family, entries: Iterable[Entry]) -> str:
    link = f"[{family.arxiv}](https://arxiv.org/abs/{family.arxiv})"
    arxiv = f", arXiv {link}" if family.arxiv else ""
    head = (
        f"## {family.name}\n\n*{family.title}*, {family.authors}, {family.year}, "
        f"{family.venue}{arxiv}.\n\n"
        f"{family.idea}\n\n"
        f"![The blocks of {_representative(family).name}](images/blocks/{family.name}.svg)\n\n"
        f"Differences from the paper: {family.differences}\n\n"
        "| network | input px | params | published | MACs | published | top-1 % | top-5 % "
        "| data set | source of the accuracy |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(map(_row, entries))


def _row(entry: Entry) -> str:
    params, macs = _published().get((entry.name, entry.input_size), ("", ""))
    cells = [
        f"`{entry.name}`",
        entry.input_size,
        f"{entry.params:,}",
        params,
        f"{entry.macs:,}",
        macs,
        "" if entry.top1 is None else entry.top1,
        "" if entry.top5 is None else entry.top5,
        entry.dataset,
        entry.accuracy_source,
    ]
    return f"| {' | '.join(map(str, cells))} |\n"


@cache
def _published() -> dict[tuple[str, int], tuple[str, str]]:
    """Return params and MACs that others state, by network and input size."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return {
            (row["name"], int(row["input_size"])): (
                _figure(row["params"], row["params_tolerance"]),
                _figure(row["macs"], row["macs_tolerance"]),
            )
            for row in csv.DictReader(file)
        }


def _figure(text: str, tolerance: str) -> str:
    """Return a number as precise as its source states it."""
    digits, _, exponent = text.partition("e")
    if not text or tolerance == "0" or not exponent:
        return f"{int(float(text)):,}" if text else ""
    return f"{digits} {_PREFIXES[exponent]}"


def _representative(family: Family) -> Entry:
    """Return the family's network in the timeline, or its first one."""
    known = [milestone.entry for milestone in list_milestones()]
    return next(e for e in (*known, *list_entries(family=family.name)) if e.family == family)


def pictures() -> Iterator[tuple[str, str]]:
    """Yield name and text of every drawing."""
    yield "images/timeline.svg", timeline_svg(list_milestones())
    for family in dict.fromkeys(entry.family for entry in list_entries()):
        entry = _representative(family)
        with torch.device("meta"):
            model = create_model(entry.name)
        drawing = blocks_svg(diagram(model, entry.input_size), entry.name)
        yield f"images/blocks/{family.name}.svg", drawing


def generated() -> Iterator[tuple[str, str]]:
    """Yield path below docs/ and text of everything that this file writes."""
    yield "cli.md", command_reference()
    yield "models.md", model_pages()
    yield "claims.md", HEADER + claim_pages(check(), LECTURES)
    yield from pictures()


def _left_over() -> list[Path]:
    """Return the pictures of families that are there no more."""
    known = {entry.family.name for entry in list_entries()}
    blocks = sorted((DOCS / "images" / "blocks").glob("*.svg"))
    return [path for path in blocks if path.stem not in known]


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` compare them; return the exit status."""
    stale = [str(path) for path in _left_over()]
    if "--check" not in arguments:
        for path in _left_over():
            path.unlink()
        stale = []
    for name, text in generated():
        path = DOCS / name
        if "--check" in arguments:
            current = path.read_text(encoding="utf-8") if path.exists() else ""
            stale += [name] if current != text else []
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"out of date: {', '.join(stale)}; run python tools/write_docs.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
