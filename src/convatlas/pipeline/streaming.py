"""Training images that come as a stream: known by their beginning, never listed or all decoded."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from convatlas.data.decode import printable
from convatlas.data.source import Splits
from convatlas.data.sources.stream_source import open_stream
from convatlas.data.sources.streams import ImageStream, SampleImages
from convatlas.data.statistics import describe_source
from convatlas.data.verify import verify
from convatlas.errors import OptionError
from convatlas.pipeline.preparation import Prepared, Progress
from convatlas.pipeline.settings import TrainSettings

__all__ = ["prepare_stream"]

_FIRST = 2000  # images that stand for the others; 100 million values of small photos


def prepare_stream(settings: TrainSettings, progress: Progress | None = None) -> Prepared:
    """Open the stream, read its first 2,000 images, and decode the images to judge by once.

    Sizes, channels and channel statistics are those of the first images; their names and contents
    are what a resumed run compares to notice that the data changed.

    Args:
        settings: The data and what is said of them.
        progress: Called as ``progress(done, total)``.

    Raises:
        DataError: Images that cannot be used.
        OptionError: A stream without a known length, and none given.
    """
    stream, judged = open_stream(settings.data, settings.validation, seed=settings.seed)
    images = settings.images_per_epoch or stream.length
    if images is None:
        raise OptionError(
            f"expected --images-per-epoch for {printable(settings.data)}, got none: only reading "
            "all of it would tell how many images it has"
        )
    judged = verify(judged, progress, settings.skip_bad)
    first = _first_images(stream, f"{_title(settings.data)}/train")
    train = replace(describe_source(first), images=images, per_class={})
    origin = f"a stream of {images:,} images per epoch; {judged.name} to judge by"
    return Prepared(Splits(first, judged, origin), train, describe_source(judged), stream)


def _first_images(stream: ImageStream, name: str) -> SampleImages:
    reader = stream.reader(0)
    samples = (reader.sample(place) for place in range(_FIRST))
    return SampleImages(name, stream.classes, [sample for sample in samples if sample is not None])


def _title(spec: str) -> str:
    """Return a name for the data that can be part of a file's."""
    path = Path(spec).expanduser()
    if spec.startswith("pipe:") or "://" in spec:
        return "stream"
    local = path.resolve() if path.is_dir() else path.resolve().parent
    title = spec.rpartition("/")[2] if spec.startswith("hf:") else local.name
    return re.sub(r"[^\w.-]+", "-", title.removeprefix("hf:")) or "stream"
