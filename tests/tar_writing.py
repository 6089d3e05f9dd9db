"""Tar shards in WebDataset format, written member by member, for tests."""

from __future__ import annotations

import io
import tarfile

from PIL import Image


def png(value):
    content = io.BytesIO()
    Image.new("L", (4, 3), value).save(content, "PNG")
    return content.getvalue()


def write_tar(path, members):
    """Write ``members``, pairs of name and content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_shards(folder, counts, stem="train"):
    """Write shards of so many samples; sample n of all has grey value n and label n mod 2."""
    value = 0
    for number, count in enumerate(counts):
        members = []
        for _ in range(count):
            members += [(f"{value:04}.png", png(value)), (f"{value:04}.cls", b"%d" % (value % 2))]
            value += 1
        write_tar(folder / f"{stem}-{number:03}.tar", members)
    return folder
