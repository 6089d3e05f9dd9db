"""Every error that convatlas raises on purpose.

    ConvAtlasError
    ├── UnknownNameError      (LookupError)  a model, layer, recipe or weight name nobody registered
    ├── UnknownOptionError    (TypeError)    a keyword that the model does not take
    ├── OptionError           (ValueError)   a keyword or flag with an impossible value
    ├── InputSizeError        (ValueError)   an image smaller than the network can take
    ├── DataError             (ValueError)   images or labels that cannot be used
    ├── WeightsError          (ValueError)   a weight file that is missing, changed or does not fit
    ├── FetchError            (RuntimeError) a published file that cannot be had, or was changed
    ├── CheckpointError       (ValueError)   a run or checkpoint that cannot be read or resumed
    ├── CalibrationError      (ValueError)   times of this machine that are missing or out of date
    ├── BudgetError           (ValueError)   no network meets the budget
    ├── ExportError           (RuntimeError) an export that failed or disagrees with the model
    ├── WorkerError           (RuntimeError) another process of a run that ended
    ├── OutputError           (OSError)      a folder or file that cannot be written
    └── MissingExtraError     (ImportError)  an optional dependency that is not installed

Each message is one line: what was expected, what came, what to do. The command
line prints that line and exits with status 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "BudgetError",
    "CalibrationError",
    "CheckpointError",
    "ConvAtlasError",
    "DataError",
    "ExportError",
    "FetchError",
    "InputSizeError",
    "MissingExtraError",
    "OptionError",
    "OutputError",
    "UnknownNameError",
    "UnknownOptionError",
    "WeightsError",
    "WorkerError",
    "nearest",
]

_FEW = 14  # choices that still fit into one line


class ConvAtlasError(Exception):
    """Base of every error that convatlas raises on purpose."""

    def __str__(self) -> str:
        """Return the message alone: LookupError and OSError would decorate it."""
        return str(self.args[0]) if self.args else ""


class UnknownNameError(ConvAtlasError, LookupError):
    """A name that nobody registered; the message lists the nearest ones, or a few to choose of."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Build the error for an unknown ``kind`` (``"model"``) called ``name``."""
        choices = list(known)
        hint = nearest(name, choices)
        if not hint and 0 < len(choices) <= _FEW:
            hint = f": take {', '.join(choices)}"
        return cls(f"unknown {kind} {name!r}{hint}")


class UnknownOptionError(ConvAtlasError, TypeError):
    """A keyword argument that the model does not take."""


class OptionError(ConvAtlasError, ValueError):
    """A keyword argument or flag with a value that cannot work."""


class InputSizeError(ConvAtlasError, ValueError):
    """An image smaller than the smallest one that the network accepts."""


class DataError(ConvAtlasError, ValueError):
    """Images or labels that cannot be used."""


class WeightsError(ConvAtlasError, ValueError):
    """A weight file that is missing, was changed, or does not fit the model."""


class FetchError(ConvAtlasError, RuntimeError):
    """A published file that cannot be downloaded, or is not what was published."""


class CheckpointError(ConvAtlasError, ValueError):
    """A run folder or checkpoint that cannot be read or resumed."""


class CalibrationError(ConvAtlasError, ValueError):
    """Times of this machine that were never measured, are out of date or damaged."""


class BudgetError(ConvAtlasError, ValueError):
    """No network meets the budget; the message names the nearest misses and what would do."""


class ExportError(ConvAtlasError, RuntimeError):
    """An export that failed, or that disagrees with the model it came from."""


class WorkerError(ConvAtlasError, RuntimeError):
    """Another process of the same training run ended or does not answer."""


class OutputError(ConvAtlasError, OSError):
    """A folder or file that cannot be written."""


class MissingExtraError(ConvAtlasError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtraError:
        """Build the error for ``package``, which ``convatlas[extra]`` installs."""
        return cls(f"{package} is not installed: run pip install 'convatlas[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean a, b?"`` for the known names nearest to ``name``, or ``""``."""
    close = get_close_matches(name.lower(), list(known), n=3, cutoff=0.5)
    return f"; did you mean {', '.join(close)}?" if close else ""
