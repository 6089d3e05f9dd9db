"""The stages of a run by name, in their order. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

from convatlas.pipeline.run_files import part_of, read_object
from convatlas.pipeline.settings import RUN_FILE

__all__ = [
    "CHOOSE",
    "DESCRIBE",
    "EVALUATE",
    "EXPLAIN",
    "FOLLOWING",
    "PLAN",
    "REPORT",
    "SCRATCH",
    "SHIP",
    "STAGES",
    "TRAIN",
    "stages_of",
]

DESCRIBE, CHOOSE, PLAN, TRAIN = "describe", "choose", "plan", "train"
SCRATCH = "scratch"
EVALUATE, EXPLAIN, SHIP, REPORT = "evaluate", "explain", "ship", "report"

FOLLOWING = (EVALUATE, EXPLAIN, SHIP, REPORT)
"""Those after the training."""

STAGES = (DESCRIBE, CHOOSE, PLAN, TRAIN, SCRATCH, *FOLLOWING)


def stages_of(folder: Path) -> tuple[str, ...]:
    """Return the stages of the run in ``folder``: the one from scratch only where it was asked."""
    both = part_of(read_object(folder / RUN_FILE, []), "settings", "compare_scratch")
    return tuple(name for name in STAGES if both or name != SCRATCH)
