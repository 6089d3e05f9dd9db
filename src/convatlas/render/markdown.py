"""Markdown in which a name stays a name, whatever letters it has. It knows no result."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from convatlas.render import units
from convatlas.render.columns import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["fenced", "markdown_environment", "plain"]

# What CommonMark or GitHub's dialect would take for more than a letter inside a line.
_MARKS = re.compile(r"([\\`*_\[\]<>#|~&$]|:(?=[a-z+-][\w+-]*:))")  # the last: an emoji's name
_TICKS = re.compile(r"`+")


def plain(text: object) -> str:
    """Return ``text`` on one line such that Markdown shows it letter by letter.

    For the middle of a line or a cell of a table, not for the beginning of a line.
    """
    line = " ".join(printable(" ".join(str(text).splitlines())).split())
    return _MARKS.sub(r"\\\1", line) or "(no name)"


def fenced(text: str, language: str = "") -> Markup:
    """Return a block of code, fenced by more backticks than it holds."""
    from markupsafe import Markup

    longest = max((len(ticks) for ticks in _TICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = "\n".join(printable(line) for line in text.splitlines())
    return Markup(f"{fence}{language}\n{body}\n{fence}")  # noqa: S704 (not HTML, and fenced)


def markdown_environment() -> Environment:
    """Return the templates with the units as filters; what they insert is shown as it is."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701 (Markdown, which ``finalize`` escapes)
        loader=PackageLoader("convatlas.render"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    environment.filters |= {name: getattr(units, name) for name in units.__all__ if name.islower()}
    environment.filters["fenced"] = fenced
    return environment


def _shown(value: Any) -> Any:
    from markupsafe import Markup

    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
