"""Write the generated pages: docs/cli.md from --help, docs/models.md from the catalogue.

`python tools/write_docs.py` writes them; with `--check` it only says whether they are current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import typer
from typer.testing import CliRunner

from convatlas.cli.main import app
from convatlas.models.catalogue import Entry, Family, list_entries

DOCS = Path(__file__).parents[1] / "docs"
HEADER = "<!-- Written by tools/write_docs.py; edit that, not this. -->\n\n"


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
        "Accuracy is the published one, in per cent, by the source beside it.\n",
    ]
    for family, entries in groupby(list_entries(), key=lambda entry: entry.family):
        parts.append(_family(family, entries))
    return HEADER + "\n".join(parts)


def _family(family: Family, entries: Iterable[Entry]) -> str:
    arxiv = f", arXiv {family.arxiv}" if family.arxiv else ""
    head = (
        f"## {family.name}\n\n*{family.title}*, {family.authors}, {family.venue}{arxiv}.\n\n"
        f"{family.idea}\n\nDifferences from the paper: {family.differences}\n\n"
        "| network | input px | params | MACs | top-1 % | data set | source of the accuracy |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    rows = (
        f"| `{e.name}` | {e.input_size} | {e.params:,} | {e.macs:,} "
        f"| {'' if e.top1 is None else e.top1} | {e.dataset} | {e.accuracy_source} |\n"
        for e in entries
    )
    return head + "".join(rows)


PAGES = {"cli.md": command_reference, "models.md": model_pages}


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` compare them; return the exit status."""
    stale = []
    for name, write in PAGES.items():
        path, text = DOCS / name, write()
        if "--check" in arguments:
            current = path.read_text(encoding="utf-8") if path.exists() else ""
            stale += [name] if current != text else []
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"out of date: {', '.join(stale)}; run python tools/write_docs.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
