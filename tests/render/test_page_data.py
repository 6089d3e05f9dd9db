"""The report's figures of the training are those that a list of runs shows."""

from __future__ import annotations

import json

from convatlas.pipeline.runs import find_runs
from convatlas.render.page_data import training
from convatlas.render.report import write_report
from convatlas.render.run_folder import read_run
from finished_run import write_run


def _slower_and_slower(folder):
    """Write a run of 200, 150 and 100 images, for 2, 3 and 5 seconds."""
    write_run(folder)
    times = ((2.0, 100.0), (3.0, 50.0), (5.0, 20.0))
    lines = [
        {
            "kind": "epoch",
            "epoch": number,
            "loss": 1.0,
            "seconds": seconds,
            "images_per_second": speed,
        }
        for number, (seconds, speed) in enumerate(times, 1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_the_speed_is_all_images_over_all_seconds(tmp_path):
    folder = _slower_and_slower(tmp_path / "run")
    (listed,) = find_runs(folder).runs
    shown = training(read_run(folder))
    assert (shown["seconds"], shown["images_per_second"]) == (10.0, 45.0)
    assert (listed.seconds, listed.images_per_second) == (10.0, 45.0)
    page = write_report(folder).read_text(encoding="utf-8")
    assert "3 epochs, 10.0 s in training steps, 45 images per second on average." in page
