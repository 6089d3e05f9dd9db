"""Classes out of what formats write as labels: class names, class numbers, lists beside the images.

It knows no format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from unicodedata import category, normalize

from convatlas.data.decode import printable, why_unreadable
from convatlas.errors import DataError, nearest

__all__ = ["class_name", "class_names", "class_numbers", "listed_classes", "read_classes"]

Label = str | int
CLASSES_FILE = "classes.txt"
_UNPRINTED = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, foreign bytes, ends of lines


def class_name(name: str) -> str:
    """Return the class that a folder called ``name`` stands for: one line, in composed letters.

    Systems spell the same letters in two ways, and archives carry both: an é is one character, or
    an e and an accent (Unicode Standard Annex 15, forms NFC and NFD).
    """
    plain = "".join("?" if category(each) in _UNPRINTED else each for each in name)
    return normalize("NFC", plain)


def listed_classes(folder: Path) -> tuple[str, ...] | None:
    """Return the lines of ``classes.txt`` in ``folder``, or None where there is none.

    The errors are those of :func:`read_classes`.
    """
    path = folder / CLASSES_FILE
    return read_classes(path) if path.is_file() else None


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the class names in a text file, one per line.

    Raises:
        DataError: It cannot be read, holds a name twice, or fewer than two.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"expected one class name per line in {printable(path)}, got a file that cannot be "
            f"read because {why_unreadable(error)}: restore it, or save it as UTF-8"
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or len(names) < 2:
        got = f"{printable(twice[0])!r} twice" if twice else f"{len(names)}"
        raise DataError(
            f"expected two class names or more in {printable(path)}, each once, got {got}: "
            "correct it"
        )
    return names


def class_names(values: Iterable[Label], where: str) -> tuple[str, ...]:
    """Return the classes that labels name: numbers in their order, else names in theirs.

    Raises:
        DataError: Fewer than two classes.
    """
    distinct = {str(value).strip() for value in values}
    numeric = all(_is_number(value) for value in distinct)
    names = tuple(sorted(distinct, key=int) if numeric else sorted(distinct))
    if len(names) < 2:
        raise DataError(
            f"expected labels of two classes or more in {printable(where)}, got "
            f"{printable(', '.join(map(repr, names)) or 'none')}: add a second class"
        )
    return names


def class_numbers(
    values: Sequence[Label], classes: Sequence[str], where: Callable[[int], str]
) -> tuple[int, ...]:
    """Return the place in ``classes`` of every label, which is a name or such a place.

    Args:
        values: The labels.
        classes: The class names.
        where: Words for the n-th label, for the message.

    Raises:
        DataError: A label that is neither.
    """
    places: dict[Label, int] = {name: number for number, name in enumerate(classes)}
    numbers: list[int] = []
    for place, value in enumerate(values):
        number = places.get(value)
        if number is None:
            number = _parsed(value, places, len(classes))
            if number is None:
                raise _unknown(value, classes, where(place))
            places[value] = number
        numbers.append(number)
    return tuple(numbers)


def _parsed(value: Label, places: dict[Label, int], count: int) -> int | None:
    text = str(value).strip()
    if text in places:
        return places[text]
    return int(text) if _is_number(text) and int(text) < count else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _unknown(value: Label, classes: Sequence[str], where: str) -> DataError:
    return DataError(
        f"expected one of {len(classes)} class names, or a number below {len(classes)}, got the "
        f"label {printable(str(value))!r} of {where}{nearest(str(value), classes)}: correct the "
        "label or the list of classes"
    )
