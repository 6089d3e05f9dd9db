"""A finished run as one HTML page that needs nothing but a browser.

Style, script, pictures and Plotly stand in the page itself; a content security policy forbids
it to load anything. It reads the run's JSON files and knows nothing of how they came about.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from convatlas.errors import CheckpointError
from convatlas.files import write_text
from convatlas.render import page_data, page_export, page_model, page_plan, page_results
from convatlas.render.page import (
    page_environment,
    page_palettes,
    page_script,
    page_style,
    plotly_script,
)
from convatlas.render.page_summary import summary
from convatlas.render.page_trust import trust
from convatlas.render.run_folder import FinishedRun, read_run, reading

__all__ = ["REPORT_FILE", "write_report"]

REPORT_FILE = "report.html"

Section = Callable[[FinishedRun], dict[str, Any] | None]

_SECTIONS: tuple[tuple[str, str, str, Section], ...] = (
    ("trust", "Can I trust it?", "", trust),
    ("evaluation", "What it confuses", "metrics.json", page_results.evaluation),
    ("calibration", "What its confidence is worth", "metrics.json", page_results.calibration),
    ("mistakes", "Most confident mistakes", "explain.json", page_results.mistakes),
    ("right", "Right answers", "explain.json", page_results.right),
    ("sight", "What it sees", "explain.json", page_results.sight),
    ("choice", "Why this network", "choice.json", page_model.choice),
    ("dataset", "The data", "data.json", page_data.dataset),
    ("training", "Training", "metrics.jsonl", page_data.training),
    ("plan", "Predicted and measured", "plan.json", page_plan.plan),
    ("scratch", "Against training from scratch", "metrics.json", page_data.scratch),
    ("cost", "What each layer costs", "cost.json", page_model.cost),
    ("export", "The exported file", "parity.json", page_export.export),
    ("reproduce", "How to reproduce this", "run.json", page_export.reproduce),
)


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into the folder of a finished run, and return its path.

    A section whose file is not there is left out; only ``run.json`` must be there.

    Raises:
        CheckpointError: No such run, or one of its files is damaged.
        OutputError: The folder cannot be written.
    """
    run = read_run(Path(run_folder))
    path = run.folder / REPORT_FILE
    page = _render(run)
    # A file name with foreign bytes holds surrogates, which UTF-8 cannot carry.
    write_text(path, page.encode("utf-8", errors="backslashreplace").decode("utf-8"))
    return path


def _render(run: FinishedRun) -> str:
    from jinja2 import UndefinedError

    with reading(run.folder / "run.json"):
        facts = {"name": run.run["name"], "version": run.run["versions"]["convatlas"]}
    sections = _sections(run)
    with reading(run.folder):
        facts["summary"] = summary(run)
    drawn = any("figure" in each["view"] or each["view"].get("figures") for each in sections)
    try:
        return (
            page_environment()
            .get_template("report.html.j2")
            .render(
                **facts,
                data_name=run.data["name"] if run.data else None,
                sections=sections,
                style=page_style(),
                palettes=page_palettes(),
                plotly=plotly_script() if drawn else None,
                script=page_script("report.js"),
            )
        )
    except UndefinedError as error:
        raise CheckpointError(
            f"a value is missing in the JSON files of {run.folder} ({error}): "
            "repeat the run that wrote them"
        ) from error


def _sections(run: FinishedRun) -> list[dict[str, Any]]:
    """Return the sections in order.

    They are built backwards, so that a damaged file is met by the section that is about it, and
    only then by the checks, which read several.
    """
    sections = []
    for name, title, file, build in reversed(_SECTIONS):
        with reading(run.folder / file):
            view = build(run)
        if view is not None:
            sections.append({"name": name, "title": title, "view": view})
    return sections[::-1]
