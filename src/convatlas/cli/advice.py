"""What to run next after an error, where the room that tells it knows no commands."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["advised", "usage_line"]

_ADVICE = (
    (r"unknown (model|family) '[^']*'", ": see `convatlas list`"),
    (r"unknown claim '[^']*'", ": see `convatlas claims`"),
    (r"a recipe has no value '[^']*'", ": see `convatlas recipes NAME`"),
    (r"expected a setting such as .*", ": see `convatlas recipes NAME`"),
    (r"expected the path of a (module|layer)\b.*", ": see `convatlas show NAME`"),
    (r"expected a run folder .* made", "; see `convatlas runs`"),
    (r"stem must be .*", ": pass --stem small, or leave it out"),
)


def advised(text: str) -> str:
    """Return the line of an error, with the command that helps if it names none yet."""
    return text + next((more for line, more in _ADVICE if re.fullmatch(line, text)), "")


def usage_line(error: Any) -> str:
    """Return in one line what typer cannot read of a command line, and what to run next."""
    text = str(error.format_message())
    if possible := getattr(error, "possibilities", None):
        text = f"{text.partition(' (')[0]}; did you mean {', '.join(sorted(possible))}?"
    elif error.message and (param := getattr(error, "param", None)):
        text = f"{param.opts[0]}: {error.message}"
    text = text[:1].lower() + text[1:].rstrip(".")
    command = f"{error.ctx.command_path} {error.ctx.invoked_subcommand or ''}".strip()
    return f"{text}{' See' if text.endswith('?') else ': see'} `{command} --help`"
