"""What would make a training fail, or mean nothing, after hours: found before it begins."""

from __future__ import annotations

import logging

from convatlas.data.decode import why_unreadable
from convatlas.data.inspection import pixel_digest
from convatlas.data.parallel import Progress, ordered_map
from convatlas.data.source import ImageSource, Subset
from convatlas.errors import DataError

__all__ = ["require_variety", "verify"]

_log = logging.getLogger(__name__)
_SHOWN = 5


def verify(
    source: ImageSource, progress: Progress | None = None, skip_bad: bool = False
) -> ImageSource:
    """Decode every image of ``source`` fully once.

    Args:
        source: The images.
        progress: Called as ``progress(done, total)``.
        skip_bad: Leave unreadable images out, with a warning in the log, instead of failing.

    Returns:
        ``source`` itself, or its readable images.

    Raises:
        DataError: An unreadable image (the message names up to five), or, with ``skip_bad``, a
            class that has no readable one.
    """

    def failure(index: int) -> str | None:
        try:
            source.load(index)
        except DataError as error:
            return f"{source.describe(index)}, {why_unreadable(error.__cause__ or error)}"
        return None

    failures = list(ordered_map(failure, len(source), progress))
    bad = [text for text in failures if text is not None]
    if not bad:
        return source
    shown = "; ".join(bad[:_SHOWN])
    more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    count = f"{len(bad)} of {len(source)} images of {source.name}"
    if not skip_bad:
        raise DataError(
            f"expected readable images, got {count} that are not ({shown}{more}): "
            "remove them or pass --skip-bad (skip_bad=True)"
        )
    _log.warning("left out %s: %s%s", count, shown, more)
    readable = Subset(source, [index for index, text in enumerate(failures) if text is None])
    _require_all_classes(readable)
    return readable


def require_variety(source: ImageSource) -> None:
    """Look at as many images as it takes to find two that differ.

    Raises:
        DataError: A single image, or images that are all the same: nothing could be learnt from
            them, and an exported file that ignores its input would pass for right.
    """
    digests = (pixel_digest(source.load(index)) for index in range(len(source)))
    first = next(digests, None)
    if any(digest != first for digest in digests):
        return
    got = f"{len(source):,} with the same pixels" if len(source) > 1 else f"{len(source)}"
    raise DataError(
        f"expected two images or more that differ in {source.name}, got {got}: add other images, "
        "or look at these with `convatlas data`"
    )


def _require_all_classes(source: ImageSource) -> None:
    present = set(source.labels)
    for label, name in enumerate(source.classes):
        if label not in present:
            raise DataError(
                f"expected readable images of every class of {source.name}, got none of {name!r}: "
                "replace its images or remove the class"
            )
