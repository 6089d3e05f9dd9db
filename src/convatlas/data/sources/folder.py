"""A folder with one sub-folder of images per class, as a source.

It looks at names only; what a file holds is found out when it is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from convatlas.data.decode import EXTENSIONS, printable
from convatlas.data.sources.splits import ImageSource, Splits
from convatlas.data.sources.stored import ImageFiles
from convatlas.errors import DataError

__all__ = ["ImageFolder", "open_folder", "subfolders"]

_TRAIN = "train"
_VALIDATION = ("val", "valid", "validation", "test")

_ARCHIVES = frozenset({".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip"})


class ImageFolder(ImageFiles):
    """Images in ``root/<class>/…``, classes and files in the order of their names.

    Images may lie deeper inside a class. Hidden files and folders, and files that are no
    image by their extension, are left out.

    Args:
        root: The folder.
        name: What to call the source; the folder's name when None.

    Raises:
        DataError: No such folder, fewer than two classes, or a class without images.
    """

    def __init__(self, root: str | Path, *, name: str | None = None) -> None:
        root = Path(root)
        folders = _class_folders(root)
        paths: list[Path] = []
        labels: list[int] = []
        for label, folder in enumerate(folders):
            images = _images_inside(folder)
            paths += images
            labels += [label] * len(images)
        name = printable(root.resolve().name) if name is None else name
        super().__init__(root, name, [folder.name for folder in folders], labels, paths)


def open_folder(spec: str) -> Splits | ImageSource:
    """Open a folder of class folders, or one that holds such folders as train and val (or test).

    Raises:
        DataError: Nothing usable there, or other classes in validation than in training.
    """
    root = Path(spec).expanduser()
    named = {folder.name.lower(): folder for folder in subfolders(root)}
    validation = next((named[name] for name in _VALIDATION if name in named), None)
    if _TRAIN in named and validation is not None:
        return _in_folders(root, named[_TRAIN], validation)
    return ImageFolder(named[_TRAIN] if list(named) == [_TRAIN] else root)


def _in_folders(root: Path, train: Path, validation: Path) -> Splits:
    name = printable(root.resolve().name)
    seen = ImageFolder(train, name=f"{name}/{train.name}")
    judged = ImageFolder(validation, name=f"{name}/{validation.name}")
    odd = sorted({*seen.classes} ^ {*judged.classes})
    if odd:
        alone = [
            f"{label} only in {(train if label in seen.classes else validation).name}/"
            for label in odd
        ]
        raise DataError(
            f"expected the same classes in {train.name}/ and {validation.name}/ of "
            f"{printable(root)}, got {printable(', '.join(alone[:5]))}: add or remove the folders"
        )
    return Splits(seen, judged, f"the folders {train.name}/ and {validation.name}/")


def subfolders(root: Path) -> list[Path]:
    """Return the folders directly inside ``root`` by name, without hidden ones.

    Raises:
        DataError: ``root`` is missing, is a file, or may not be read.
    """
    return [entry for entry in _entries(root) if entry.is_dir()]


def _entries(root: Path) -> list[Path]:
    shown = printable(root)
    if not root.exists():
        raise DataError(f"expected a folder of images, got {shown}: there is no such folder")
    if not root.is_dir():
        unpack = ": unpack it first" if root.suffix.lower() in _ARCHIVES else ": pass its folder"
        raise DataError(f"expected a folder of images, got the file {shown}{unpack}")
    try:
        return sorted(entry for entry in root.iterdir() if not _is_hidden(entry.name))
    except OSError as error:
        raise DataError(
            f"expected a folder of images, got {shown}, which may not be read "
            f"({error.strerror}): change its permissions"
        ) from error


def _is_hidden(name: str) -> bool:
    """Tell whether a name is the file system's own: ``.DS_Store``, ``._a.jpg``, ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _class_folders(root: Path) -> list[Path]:
    folders = subfolders(root)
    if len(folders) >= 2:
        return folders
    shown = printable(root)
    loose = sum(_is_image(entry.name) for entry in _entries(root))
    expected = f"expected one folder per class inside {shown}, got {loose} images and"
    if not folders:
        raise DataError(f"{expected} no folders: move the images of each class to their own folder")
    only = printable(folders[0].name)
    inner = f": is {shown}/{only} the one to pass?" if subfolders(folders[0]) else ""
    raise DataError(f"{expected} only the folder {only!r}{inner or ': add a second class'}")


def _images_inside(folder: Path) -> list[Path]:
    names = list(_visible_files(folder))
    images = sorted(path for path in names if _is_image(path.name))
    if not images:
        other = f"{len(names)} other files such as {printable(names[0].name)}" if names else "none"
        raise DataError(
            f"expected images in the class folder {printable(folder)}, got {other}: "
            f"add {_listed(EXTENSIONS)} files or remove the folder"
        )
    return images


def _visible_files(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not _is_hidden(name)]
        yield from (Path(parent, name) for name in files if not _is_hidden(name))


def _listed(extensions: Iterable[str]) -> str:
    return ", ".join(sorted(extension[1:] for extension in extensions))
