"""A folder with one sub-folder of images per class, as a source.

It looks at names only; what a file holds is found out when it is loaded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from convatlas.data.decode import EXTENSIONS, printable
from convatlas.data.sources.labels import class_name
from convatlas.data.sources.splits import ImageSource, Splits
from convatlas.data.sources.stored import ImageFiles
from convatlas.errors import DataError

__all__ = ["ImageFolder", "open_folder", "subfolders"]

_log = logging.getLogger(__name__)

_TRAIN = "train"
_VALIDATION = ("val", "valid", "validation", "test")

_ARCHIVES = frozenset({".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip"})
_UNREAD = frozenset({".avif", ".cr2", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".svg"})
_SHOWN = 3


class ImageFolder(ImageFiles):
    """Images in ``root/<class>/…``, classes and files in the order of their names.

    Images may lie deeper inside a class. Hidden files and folders, and files that are no
    image by their extension, are left out.

    Args:
        root: The folder.
        name: What to call the source; the folder's name when None.

    Attributes:
        remarks: What a person may have meant otherwise, a sentence each.

    Raises:
        DataError: No such folder, fewer than two classes, a class without images, or one in two
            folders.
    """

    def __init__(self, root: str | Path, *, name: str | None = None) -> None:
        root = Path(root)
        folders = _class_folders(root)
        paths: list[Path] = []
        labels: list[int] = []
        unread: list[Path] = []
        for label, folder in enumerate(folders.values()):
            files = list(_visible_files(folder))
            images = _images_of(folder, files)
            paths += images
            labels += [label] * len(images)
            unread += [path for path in files if path.suffix.lower() in _UNREAD]
        name = printable(root.resolve().name) if name is None else name
        super().__init__(root, name, tuple(folders), labels, paths)
        self.remarks = (
            *_about_case(self.classes),
            *_about(_hidden_images(root), root, "in hidden folders", "rename what is a class"),
            *_about(unread, root, "in formats that are not read", "save them as JPEG or PNG"),
        )


def open_folder(spec: str) -> Splits | ImageSource:
    """Open a folder of class folders, or one that holds such folders as train and val (or test).

    The log gets the remarks.

    Raises:
        DataError: Nothing usable there, or other classes in validation than in training.
    """
    root = Path(spec).expanduser()
    named = {folder.name.lower(): folder for folder in subfolders(root)}
    validation = next((named[name] for name in _VALIDATION if name in named), None)
    if _TRAIN in named and validation is not None:
        return _in_folders(root, named[_TRAIN], validation)
    folder = ImageFolder(named[_TRAIN] if list(named) == [_TRAIN] else root)
    _tell(folder.remarks)
    return folder


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
    _tell((*seen.remarks, *judged.remarks))
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
        raise _may_not_be_read(root, error) from error


def _is_hidden(name: str) -> bool:
    """Tell whether a name is the file system's own: ``.DS_Store``, ``._a.jpg``, ``__MACOSX``."""
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _class_folders(root: Path) -> dict[str, Path]:
    """Return class name → folder, in the order of the names."""
    folders = subfolders(root)
    if len(folders) < 2:
        raise _too_few(root, folders)
    named: dict[str, Path] = {}
    for folder in folders:
        name = class_name(folder.name)
        if name in named:
            raise DataError(
                f"expected one folder per class inside {printable(root)}, got two that read "
                f"{name!r} and are spelt with other Unicode characters: merge them"
            )
        named[name] = folder
    return dict(sorted(named.items()))


def _too_few(root: Path, folders: Sequence[Path]) -> DataError:
    shown = printable(root)
    loose = sum(_is_image(entry.name) for entry in _entries(root))
    hidden = [_relative(path.parent, root) for path in _hidden_images(root)]
    also = f" (hidden ones such as {hidden[0]} do not count)" if hidden else ""
    if not folders:
        got, remedy = "no folders", "move the images of each class to their own folder"
    else:
        only = printable(folders[0].name)
        got, remedy = f"only the folder {only!r}", "add a second class"
        if subfolders(folders[0]):
            remedy = f"is {shown}/{only} the one to pass?"
    return DataError(
        f"expected one folder per class inside {shown}, got {loose} images and {got}{also}: "
        f"{remedy}"
    )


def _images_of(folder: Path, files: Sequence[Path]) -> list[Path]:
    images = sorted(path for path in files if _is_image(path.name))
    if not images:
        other = f"{len(files)} other files such as {printable(files[0].name)}" if files else "none"
        raise DataError(
            f"expected images in the class folder {printable(folder)}, got {other}: "
            f"add {_listed(EXTENSIONS)} files or remove the folder"
        )
    return images


def _visible_files(folder: Path) -> Iterator[Path]:
    seen = {os.path.realpath(above) for above in Path(os.path.abspath(folder)).parents}
    for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not _is_hidden(name)]
        yield from (Path(parent, name) for name in files if not _is_hidden(name))


def _refuse(error: OSError) -> None:
    raise _may_not_be_read(error.filename, error) from error


def _may_not_be_read(folder: str | Path, error: OSError) -> DataError:
    return DataError(
        f"expected a folder of images, got {printable(folder)}, which may not be read "
        f"({error.strerror}): change its permissions"
    )


def _hidden_images(root: Path) -> list[Path]:
    """Return the images directly inside the hidden folders of ``root``."""
    folders = sorted(path for path in root.glob(".*") if path.is_dir())
    inside = (next(os.walk(folder), ("", [], []))[2] for folder in folders)
    return [
        folder / name
        for folder, names in zip(folders, inside, strict=True)
        for name in sorted(names)
        if _is_image(name) and not _is_hidden(name)
    ]


def _about(pictures: Sequence[Path], root: Path, where: str, remedy: str) -> list[str]:
    """Return a sentence about pictures that are left out, if there are any."""
    if not pictures:
        return []
    example = _relative(pictures[0], root)
    return [f"left out {len(pictures):,} pictures {where}, such as {example}: {remedy}"]


def _about_case(classes: Iterable[str]) -> list[str]:
    """Return a sentence about classes that differ in case alone, if there are any."""
    seen: dict[str, str] = {}
    pairs = [(seen.setdefault(name.casefold(), name), name) for name in classes]
    alike = [f"{first} and {other}" for first, other in pairs if first != other]
    if not alike:
        return []
    shown = printable(", ".join(alike[:_SHOWN]))
    more = f" and {len(alike) - _SHOWN} more" if len(alike) > _SHOWN else ""
    return [f"classes differ in case alone ({shown}{more}): merge them if they are one"]


def _relative(path: Path, root: Path) -> str:
    return printable(path.relative_to(root).as_posix())


def _tell(remarks: Iterable[str]) -> None:
    for remark in dict.fromkeys(remarks):
        _log.warning("%s", remark)


def _listed(extensions: Iterable[str]) -> str:
    return ", ".join(sorted(extension[1:] for extension in extensions))
