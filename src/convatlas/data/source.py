"""Opens labelled images, whatever they are stored in, as training and validation images.

The formats are rows of one table; each tells by itself which specs are its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convatlas.data.decode import printable
from convatlas.data.sources.cifar import holds_cifar, open_cifar
from convatlas.data.sources.digits import Digits
from convatlas.data.sources.folder import open_folder
from convatlas.data.sources.hub import holds_hub, open_hub
from convatlas.data.sources.idx import holds_idx, open_idx
from convatlas.data.sources.shards import holds_shards, open_shards
from convatlas.data.sources.splits import ImageSource, Splits, Subset, hold_out
from convatlas.data.sources.table import is_table, open_table
from convatlas.errors import DataError, nearest

__all__ = ["ImageSource", "Splits", "Subset", "open_source", "open_whole"]


@dataclass(frozen=True, slots=True)
class _Format:
    """A way to store images.

    Attributes:
        words: What it is, for people.
        owns: Tells whether a spec is of this format.
        open: Returns its splits, or all its images.
    """

    words: str
    owns: Callable[[str], bool]
    open: Callable[[str], Splits | ImageSource]


# The first that owns a spec opens it, so any folder at all comes last.
_FORMATS = (
    _Format("'digits'", lambda spec: spec == "digits", lambda _: Digits()),
    _Format("hf:NAME or a folder saved by datasets", holds_hub, open_hub),
    _Format("tar shards (a.tar, a-{000..009}.tar, pipe:COMMAND, https)", holds_shards, open_shards),
    _Format("a table .csv, .tsv or .parquet", is_table, open_table),
    _Format("a folder of IDX files", holds_idx, open_idx),
    _Format("a folder of CIFAR's .bin files", holds_cifar, open_cifar),
    _Format(
        "a folder of class folders", lambda spec: Path(spec).expanduser().exists(), open_folder
    ),
)


def open_source(spec: str | Path, *, seed: int = 0, holdout: float = 0.2) -> Splits:
    """Open the images behind ``spec``, split into training and validation.

    Splits that the format declares are taken as they are: ``val`` is judged by, or else ``test``.
    Otherwise the same share of every class is held out.

    Args:
        spec: ``"digits"``; a folder with one folder per class, or with such folders as ``train``
            and ``val``; a table of paths and labels; a folder of IDX or CIFAR files; tar shards in
            WebDataset format; a data set of Hugging Face. See ``docs/data.md``.
        seed: Decides which images are held out.
        holdout: Share of each class that is held out.

    Raises:
        DataError: Nothing usable there, or other classes in validation than in training.
        MissingExtraError: The format needs a package that is not installed.
        OptionError: ``holdout`` is not between 0 and 1.
    """
    opened = _opened(str(spec))
    return opened if isinstance(opened, Splits) else hold_out(opened, seed, holdout)


def open_whole(spec: str | Path) -> ImageSource:
    """Open images that are all to judge by: the validation split if one is declared, or else all.

    The argument and errors are those of :func:`open_source`.
    """
    opened = _opened(str(spec))
    return opened.validation if isinstance(opened, Splits) else opened


def _opened(text: str) -> Splits | ImageSource:
    try:
        known = next((kind for kind in _FORMATS if text and kind.owns(text)), None)
    except OSError as error:
        raise DataError(
            f"expected images, got {printable(text)[:200]!r}, which may not be read "
            f"({error.strerror}): change its permissions, or correct the name"
        ) from error
    except RuntimeError as error:  # of Path.expanduser
        raise DataError(
            f"expected images, got {printable(text)[:200]!r}: there is no such home folder; "
            "correct the name behind the ~"
        ) from error
    if known is None:
        raise DataError(
            f"expected images, got {printable(text)!r}: there is no such file or folder"
            f"{nearest(text, ['digits'])}; known are {'; '.join(kind.words for kind in _FORMATS)}"
        )
    return known.open(text)
