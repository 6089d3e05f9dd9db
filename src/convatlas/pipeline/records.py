"""The run's results as the JSON files that the report is made of."""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from convatlas import __version__
from convatlas.analysis.cost import analyze
from convatlas.data.fingerprint import data_fingerprint
from convatlas.data.preprocess import Preprocessing
from convatlas.errors import OutputError
from convatlas.files import write_json
from convatlas.models.anatomy import ConvNet
from convatlas.pipeline.preparation import Images, Prepared
from convatlas.pipeline.run_files import numbers_of, read_object
from convatlas.pipeline.settings import RUN_FILE

__all__ = ["Logbook", "cost_record", "data_record"]


class Logbook:
    """``run.json``: what was asked, with what, and how long each stage took.

    Of a run that is gone on with, the first start is kept, and the seconds add up, with those of
    attempts that were stopped. A killed process leaves those until it last saved.

    Args:
        folder: The run folder.
        settings: What was asked, as JSON values; ``"seed"`` is among them.
        kind: The command that makes the folder.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], kind: str = "run") -> None:
        self._path = folder / RUN_FILE
        before = read_object(self._path, [])
        versions = {
            "convatlas": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        self._record: dict[str, Any] = {
            "name": folder.name,
            "kind": kind,
            "command": before.get("command", shlex.join(["convatlas", *sys.argv[1:]])),
            "created": before.get("created", datetime.now(UTC).isoformat(timespec="seconds")),
            "settings": settings,
            "seed": settings["seed"],
            "versions": before.get("versions", versions),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "seconds": numbers_of(before.get("seconds")),
        }
        self._stage, self._before, self._start = "", 0.0, 0.0
        write_json(self._path, self._record)

    @contextmanager
    def stage(self, name: str, *, anew: bool = False) -> Iterator[None]:
        """Add the seconds that the block takes, however it ends.

        Args:
            name: What to call it.
            anew: Whether what it took before is forgotten: nothing of that is used.
        """
        self._stage, self._start = name, time.perf_counter()
        self._before = 0.0 if anew else self.seconds.get(name, 0.0)
        try:
            yield
        except BaseException:  # Ctrl-C too
            with suppress(OutputError):  # what went wrong is told already
                self.save()
            raise
        else:
            self.save()
        finally:
            self._stage = ""

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each stage, as they were last written down."""
        return dict(self._record["seconds"])

    def save(self) -> None:
        """Write the file, with the seconds that the stage has taken by now."""
        if self._stage:
            taken = self._before + time.perf_counter() - self._start
            self._record["seconds"][self._stage] = round(taken, 3)
        write_json(self._path, self._record)


def data_record(prepared: Prepared, images: Images) -> dict[str, Any]:
    """Return what the images are."""
    facts = prepared.train
    return {
        "name": prepared.name,
        "origin": prepared.splits.origin,
        "classes": list(prepared.classes),
        "counts": {
            "train": list(facts.per_class.values()),
            "validation": list(prepared.validation.per_class.values()),
        },
        "held_out_sha256": data_fingerprint(prepared.splits.validation),
        "channels": facts.channels,
        "image_size": {
            which: [getattr(facts.height, which), getattr(facts.width, which)]
            for which in ("smallest", "median", "largest")
        },
        "preprocessing": images.preprocessing.to_dict(),
    }


def cost_record(model: ConvNet, preprocessing: Preprocessing) -> dict[str, Any]:
    """Return what one image costs, per layer and per stage."""
    report = analyze(model, preprocessing.input_size, in_channels=preprocessing.channels)
    layers = [layer._asdict() for layer in report.layers]
    for row, layer in zip(layers, report.layers, strict=True):
        field = layer.receptive_field
        row["receptive_field"] = None if field is None else max(field.size)
    return {
        "params": report.params,
        "macs": report.macs,
        "flops": report.flops,
        "activation_bytes": report.activation_bytes,
        "is_lower_bound": report.is_lower_bound,
        "uncounted": [asdict(operator) for operator in report.uncounted],
        "layers": layers,
        "stages": [asdict(stage) for stage in report.by_stage()],
    }
