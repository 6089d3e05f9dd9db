"""``convatlas claims`` and its page, as a reader meets them."""

from __future__ import annotations

import json

import pytest

from convatlas.claims.check import check
from convatlas.claims.printed import read_numbers
from convatlas.claims.records import LECTURES, list_claims
from convatlas.cli.main import main
from convatlas.render.claims import claim_pages, written_alike


def _run(monkeypatch, *arguments):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as stop:
        main(["claims", *arguments])
    return stop.value.code


def test_the_table_has_every_claim_and_the_count_of_verdicts(monkeypatch, capsys):
    assert _run(monkeypatch) == 0
    text = capsys.readouterr().out
    assert all(claim.id in text for claim in list_claims())
    assert "25 claims: holds 7, holds with a remark 7, does not hold 6, needs training 5." in text


def test_one_claim_shows_the_assumption_and_the_whole_working(monkeypatch, capsys):
    assert _run(monkeypatch, "inception-ops") == 0
    text = capsys.readouterr().out
    assert "If the 3×3 convolution reads 128 channels" in text
    assert "we get: reduced module 358.1 M." in " ".join(text.split())
    assert "28·28·64·5·5·96" in text
    assert "271,351,808" in text
    assert "Verdict: does not hold." in text


def test_json_is_the_twin(monkeypatch, capsys):
    assert _run(monkeypatch, "nin-gap", "resnet-cost", "--json") == 0
    nin, resnet = json.loads(capsys.readouterr().out)
    assert (nin["verdict"], nin["figures"]) == ("needs training", [])
    r18, r34 = resnet["figures"]
    assert (r18["got"], r18["agrees"]) == ([1_814_073_344], True)
    assert (r34["got"], r34["got_if"]) == ([3_663_761_408], [3_644_493_824])
    assert r34["is_fair_reading"] is True


def test_an_unknown_claim_is_one_line_with_the_nearest(monkeypatch, capsys):
    assert _run(monkeypatch, "vgg16-parms") == 2
    line = capsys.readouterr().err
    assert line.startswith("convatlas: unknown claim 'vgg16-parms'; did you mean vgg16-params")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("says", "values", "text"),
    [
        ("24 M", (15_237_608,), "15.2 M"),
        ("13.6 G", (15_470_264_320,), "15.47 G"),
        ("48.6 MiB", (50_978_816,), "48.62 MiB"),
        ("1.8e18", (36864**4,), "1.85e18"),
        ("89 %", (89.3647,), "89.4 %"),
        ("55×55×96", (54, 54, 96), "54×54×96"),
        ("1,792", (1800,), "1,800"),
        ("1", (1.0006,), "1.001"),
    ],
)
def test_ours_is_written_as_the_lecture_writes(says, values, text):
    assert written_alike(says, read_numbers(says), values) == text


def test_progress_counts_every_claim():
    seen = []
    check(["halve-double", "separable", "halve-double"], lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)]


def test_the_page_links_every_claim_to_its_section():
    page = claim_pages(check(["nin-gap", "separable"]), LECTURES)
    for name in ("nin-gap", "separable"):
        assert f"[{name}](#{name})" in page
        assert f"\n## {name}\n" in page
    assert all(title in page for title in LECTURES.values())
