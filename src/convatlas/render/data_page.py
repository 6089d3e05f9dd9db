"""What a data set holds as one page: findings, contact sheet, classes, sizes, duplicates.

The page loads nothing and runs no script. It knows what a report holds and not how it came about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convatlas.render.data_tables import class_rows, fact_rows, findings, group_title
from convatlas.render.overlay import picture_data_uri
from convatlas.render.page import page_environment, page_style

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convatlas.data.description import DataReport, Picture

__all__ = ["data_html"]

_MOST_BAD = 200  # unreadable files that the page lists
_READABLE = 96  # smaller pictures are enlarged


def data_html(report: DataReport) -> str:
    """Return the page; pictures stand in it as ``data:`` addresses."""
    from convatlas import __version__

    rows = class_rows(report)
    bad = [(split.name, each) for split in report.splits for each in split.bad]
    shown = report.groups[: len(report.group_pictures)]
    return (
        page_environment()
        .get_template("data.html.j2")
        .render(
            report=report,
            findings=findings(report),
            leaks=report.leak.images,
            bad=bad[:_MOST_BAD],
            bad_count=len(bad),
            splits=[split.name for split in report.splits],
            classes=rows,
            largest=max(1, rows[0][2]),
            facts=fact_rows(report),
            sheet={name: _embedded(pictures) for name, pictures in report.sheet.items()},
            groups=[
                (group_title(group), len(group.members), _embedded(pictures))
                for group, pictures in zip(shown, report.group_pictures, strict=True)
            ],
            style=page_style("data.css"),
            version=__version__,
        )
    )


def _embedded(pictures: Iterable[Picture]) -> list[dict[str, Any]]:
    return [
        {
            "address": picture_data_uri(picture.pixels, _READABLE),
            "split": picture.split,
            "name": picture.name,
            "label": picture.label,
            "blocks": max(picture.pixels.shape[:2]) < _READABLE,
        }
        for picture in pictures
    ]
