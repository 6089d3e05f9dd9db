"""What every page of ours is made with: templates, colours, style, and Plotly's own script.

A page loads nothing: all of this stands in it. It knows no result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from convatlas.render import units
from convatlas.render.figures import confusion_colours
from convatlas.render.palette import DARK, FONT, LIGHT, MONOSPACE, css_variables

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["page_environment", "page_palettes", "page_script", "page_style", "plotly_script"]

_LONGEST_NAME = 32  # letters of a class name on the first screen


def page_environment() -> Environment:
    """Return the templates, with the units and the ways to write JSON as filters."""
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


def page_palettes() -> dict[str, dict[str, Any]]:
    """Return the colours that a page's script paints figures with, for light and dark."""
    return {"light": _paints(LIGHT), "dark": _paints(DARK)}


def page_style(*more: str) -> str:
    """Return the style sheet and ``more`` of them, coloured as the reader's system asks."""
    fonts = f"--font: {FONT}; --monospace: {MONOSPACE};"
    light, dark = css_variables(LIGHT), css_variables(DARK)
    return "\n".join(
        [
            f":root {{ color-scheme: light dark; {fonts} {light} }}",
            f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}",
            *map(_read, ("report.css", *more)),
        ]
    )


def page_script(name: str) -> str:
    """Return a script of ours by its file name."""
    return _read(name)


def plotly_script() -> str:
    """Return Plotly's JavaScript, about 5 MB."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _paints(palette: Mapping[str, str]) -> dict[str, Any]:
    return {**palette, "confusion": confusion_colours(palette)}


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
