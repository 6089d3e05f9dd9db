"""``convatlas show --by``: the layers of a network in sums."""

from __future__ import annotations

import csv
import json

import pytest

from convatlas.cli.main import main

SUMMED = ("params", "macs", "flops", "backward_macs", "activation_bytes", "read_bytes")


def printed(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main(["show", "cifar_resnet20", *arguments])
    assert exit_.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("by", ["stage", "operator", "size", "module"])
def test_sums_add_up_to_the_totals(capsys, by):
    report = json.loads(printed(capsys, "--by", by, "--json"))
    assert all(sum(row[key] for row in report["groups"]) == report[key] for key in SUMMED)
    rows = list(csv.DictReader(printed(capsys, "--by", by, "--csv").splitlines()))
    assert [row["name"] for row in rows] == [row["name"] for row in report["groups"]]
    assert [int(row["macs"]) for row in rows] == [row["macs"] for row in report["groups"]]


def test_the_groups_of_a_small_resnet(capsys):
    """Three stages of six 3×3 convolutions, with 16, 32 and 64 channels."""
    names = [
        row["name"] for row in json.loads(printed(capsys, "--by", "stage", "--json"))["groups"]
    ]
    assert names == ["stem", "stages.0", "stages.1", "stages.2", "head"]
    sizes = json.loads(printed(capsys, "--by", "size", "--json"))["groups"]
    maps = {row["name"]: row for row in sizes}
    assert maps["32×32"]["macs"] == 32 * 32 * 9 * 16 * (3 + 6 * 16)
    operators = json.loads(printed(capsys, "--by", "operator", "--json"))["groups"]
    assert {row["name"]: row["layers"] for row in operators}["linear"] == 1


def test_depth_says_how_much_of_the_path_counts(capsys):
    groups = json.loads(printed(capsys, "--by", "module", "--depth", "3", "--json"))["groups"]
    blocks = [row["name"] for row in groups if row["name"].startswith("stages")]
    assert blocks == [f"stages.{stage}.{block}" for stage in range(3) for block in range(3)]


def test_the_table_has_a_row_per_group_and_the_totals(capsys):
    text = printed(capsys, "--by", "stage")
    assert all(name in text for name in ("stem", "stages.2", "total", "FLOPs per byte"))


def test_an_unknown_grouping_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["show", "lenet5", "--by", "colour"])
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "layer, stage, operator, size, module, got 'colour'" in line
