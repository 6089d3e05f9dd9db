"""What to run next after an error, where the room that tells it knows no commands."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["ADVICE", "advised", "usage_line"]

ADVICE = (
    (r"unknown model '[^']*'", ": see `convatlas list`"),
    (r"unknown family '[^']*'", ": see `convatlas list`"),
    (r"unknown run '[^']*'", ": see `convatlas runs`"),
    (r"unknown claim '[^']*'", ": see `convatlas claims`"),
    (r"a recipe has no value '[^']*'", ": see `convatlas recipes NAME`"),
    (r"expected a setting such as .*", ": see `convatlas recipes NAME`"),
    (r"expected the path of a module, .*", ": see `convatlas show NAME`"),
    (r"expected the path of a layer .*", ": see `convatlas show NAME`"),
    (r"expected a run folder .* made", "; see `convatlas runs`"),
    (r"expected a finished run .* made", "; see `convatlas runs`"),
    (r"expected a network with .* weights .*: it has .*", "; leave --weights out"),
    (r"stem must be .*", ": pass --stem small, or leave it out"),
)
_NO_NUMBER = re.compile(r"(.*) is not a valid float\.?", re.DOTALL)
_A_NUMBER = r"expected a number alone, such as 20 or 0.5, got \1"


def advised(text: str) -> str:
    """Return the line of an error, with the command that helps if it names none yet."""
    return text + next((more for line, more in ADVICE if re.fullmatch(line, text)), "")


def usage_line(error: Any) -> str:
    """Return in one line what typer cannot read of a command line, and what to run next."""
    text = str(error.format_message())
    if possible := getattr(error, "possibilities", None):
        text = f"{text.partition(' (')[0]}; did you mean {', '.join(sorted(possible))}?"
    elif error.message and (param := getattr(error, "param", None)):
        text = f"{param.opts[0]}: {_NO_NUMBER.sub(_A_NUMBER, error.message)}"
    text = text[:1].lower() + text[1:].rstrip(".")
    command = f"{error.ctx.command_path} {error.ctx.invoked_subcommand or ''}".strip()
    return f"{text}{' See' if text.endswith('?') else ': see'} `{command} --help`"
