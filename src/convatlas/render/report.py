"""A finished run as one HTML page that needs nothing but a browser.

Style, script, pictures and Plotly stand in the page itself; a content security policy forbids
it to load anything. It reads the run's JSON files and knows nothing of how they came about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convatlas.errors import CheckpointError
from convatlas.files import write_text
from convatlas.render import page_data, page_export, page_model, page_results, units
from convatlas.render.figures import confusion_colours
from convatlas.render.page_summary import summary
from convatlas.render.palette import DARK, FONT, LIGHT, MONOSPACE, css_variables
from convatlas.render.run_folder import FinishedRun, read_run, reading

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["REPORT_FILE", "write_report"]

REPORT_FILE = "report.html"

_LONGEST_NAME = 40  # letters of a class name on the first screen

Section = Callable[[FinishedRun], dict[str, Any] | None]

_SECTIONS: tuple[tuple[str, str, str, Section], ...] = (
    ("choice", "Why this network", "choice.json", page_model.choice),
    ("dataset", "The data", "data.json", page_data.dataset),
    ("training", "Training", "metrics.jsonl", page_data.training),
    ("evaluation", "What it confuses", "metrics.json", page_results.evaluation),
    ("mistakes", "Most confident mistakes", "explain.json", page_results.mistakes),
    ("right", "Right answers", "explain.json", page_results.right),
    ("cost", "What each layer costs", "cost.json", page_model.cost),
    ("scratch", "Against training from scratch", "metrics.json", page_data.scratch),
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
            _environment()
            .get_template("report.html.j2")
            .render(
                **facts,
                data_name=run.data["name"] if run.data else None,
                sections=sections,
                style=_style(),
                palettes={"light": _paints(LIGHT), "dark": _paints(DARK)},
                plotly=_plotly() if drawn else None,
                script=_read("report.js"),
            )
        )
    except UndefinedError as error:
        raise CheckpointError(
            f"a value is missing in the JSON files of {run.folder} ({error}): "
            "repeat the run that wrote them"
        ) from error


def _sections(run: FinishedRun) -> list[dict[str, Any]]:
    sections = []
    for name, title, file, build in _SECTIONS:
        with reading(run.folder / file):
            view = build(run)
        if view is not None:
            sections.append({"name": name, "title": title, "view": view})
    return sections


def _paints(palette: Mapping[str, str]) -> dict[str, Any]:
    """Return the colours that the page's script paints figures with."""
    return {**palette, "confusion": confusion_colours(palette)}


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("convatlas.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(units, name) for name in units.__all__ if name.islower()}
    environment.filters["breakable"] = _breakable
    environment.filters["short_name"] = _short_name
    environment.filters["figure_json"] = _figure_json
    environment.filters["script_json"] = _script_json
    return environment


def _style() -> str:
    fonts = f"--font: {FONT}; --monospace: {MONOSPACE};"
    light, dark = css_variables(LIGHT), css_variables(DARK)
    return "\n".join(
        [
            f":root {{ color-scheme: light dark; {fonts} {light} }}",
            f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}",
            _read("report.css"),
        ]
    )


def _breakable(name: object) -> Markup:
    """Return a name that may be broken behind its underscores, hyphens and slashes."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(r"(?<=[_/-])", str(name)))


def _short_name(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _figure_json(figure: Any) -> str:
    return _script_json(json.loads(figure.to_json()))


def _script_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _read(name: str) -> str:
    return (files("convatlas.render") / "templates" / name).read_text(encoding="utf-8")
