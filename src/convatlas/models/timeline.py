"""The history from LeNet to ConvNeXt as data, readable without torch.

``facts/timeline.csv`` names the networks that stand for their time, how deep they are, and what
the ImageNet challenge said; everything else about them is in the catalogue. Tests count the
depths in the networks that we build.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from convatlas.models.catalogue import Entry, find_entry

__all__ = ["Challenge", "Milestone", "list_milestones"]


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a team reached with this idea in an ImageNet challenge, mostly with an ensemble.

    Attributes:
        name: ``"ILSVRC-2015"``.
        top5_error: Error on the test set, per cent.
        source: Who says so, the place, and how many networks answered together.
    """

    name: str
    top5_error: float
    source: str

    @property
    def year(self) -> int:
        """The year of the challenge."""
        return int(self.name.rpartition("-")[2])


@dataclass(frozen=True, slots=True)
class Milestone:
    """One network of the timeline.

    Attributes:
        entry: The network in the catalogue.
        lineage: ``"plain"``, ``"inception"``, ``"residual"`` or ``"mobile"``.
        depth: Convolutions and linear layers on the longest path, gates aside.
        paper_depth: The same as the paper states it, or None.
        top1_error: Published error of one network, per cent, or None.
        top5_error: Published error of one network, per cent, or None.
        error_source: Who published the errors, on which weights.
        challenge: What it reached in a challenge, or None.
    """

    entry: Entry
    lineage: str
    depth: int
    paper_depth: int | None
    top1_error: float | None
    top5_error: float | None
    error_source: str
    challenge: Challenge | None


def list_milestones() -> list[Milestone]:
    """Return the networks of the timeline, the oldest first."""
    text = (files("convatlas.models") / "facts" / "timeline.csv").read_text(encoding="utf-8")
    milestones = [_milestone(row) for row in csv.DictReader(text.splitlines())]
    return sorted(milestones, key=lambda milestone: milestone.entry.year)


def _milestone(row: dict[str, str]) -> Milestone:
    entry = find_entry(row["name"])
    own = bool(row["error_source"])  # else the catalogue's, where it is of ImageNet
    is_imagenet = entry.dataset.startswith("ImageNet")
    top1, top5 = (entry.top1, entry.top5) if is_imagenet else (None, None)
    return Milestone(
        entry=entry,
        lineage=row["lineage"],
        depth=int(row["depth"]),
        paper_depth=int(row["paper_depth"]) if row["paper_depth"] else None,
        top1_error=float(row["top1_error"]) if own else _error(top1),
        top5_error=float(row["top5_error"]) if own else _error(top5),
        error_source=row["error_source"] or (entry.accuracy_source if is_imagenet else ""),
        challenge=Challenge(
            row["challenge"], float(row["challenge_error"]), row["challenge_source"]
        )
        if row["challenge"]
        else None,
    )


def _error(accuracy: float | None) -> float | None:
    return None if accuracy is None else round(100 - accuracy, 3)
