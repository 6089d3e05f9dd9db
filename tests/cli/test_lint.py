"""``convatlas lint`` as a user meets it: findings, exit status, one line for each error."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def convatlas(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "convatlas", "lint", *arguments], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def vgg16():
    return convatlas("vgg16")


def test_findings_are_readable_at_80_columns(vgg16):
    assert (vgg16.returncode, vgg16.stderr) == (0, "")
    lines = vgg16.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(vgg16.stdout.split())
    assert "head.fc6: 123,642,856 of 138,357,544 parameters (89.4 %) are in 3 fully" in text
    assert "Try: Pool the last map globally" in text
    assert "Politecnico di Milano" in text
    assert text.endswith("Input 1×3×224×224, 14 rules: 0 serious, 1 warning, 5 info.")


def test_many_findings_of_one_rule_are_summed_up(vgg16):
    assert vgg16.stdout.count("A dense 3×3 layer") == 3
    assert "And 1 more layer, the last one stages.3.4." in " ".join(vgg16.stdout.split())


def test_a_network_without_findings_says_so():
    result = convatlas("resnet50", "--strict")
    assert result.returncode == 0
    assert result.stdout.strip() == "Input 1×3×224×224, 14 rules: nothing to object to."


def test_strict_fails_on_warnings_and_not_on_what_is_ignored():
    assert convatlas("lenet5", "--strict").returncode == 1
    ignored = ["--ignore", "fc-params", "--ignore", "large-filter"]
    result = convatlas("lenet5", "--strict", *ignored)
    assert result.returncode == 0
    assert "Ignored: large-filter, fc-params." in " ".join(result.stdout.split())


def test_json_has_the_numbers_and_the_sentence():
    result = convatlas("resnet18", "--input", "32", "--classes", "10", "--json")
    report = json.loads(result.stdout)
    assert report["input_shape"] == [1, 3, 32, 32]
    first = report["findings"][0]
    assert (first["rule"], first["severity"]) == ("lost-resolution", "serious")
    assert first["facts"]["input_px"] == [32, 32]
    assert first["finding"].startswith("An input of 32 × 32 px is down to one pixel")
    small = convatlas("resnet18", "--input", "32", "--stem", "small", "--json")
    assert json.loads(small.stdout)["findings"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet5"], "unknown model 'resnet5'; did you mean resnet50"),
        (["lenet5", "--ignore", "fc-param"], "unknown rule 'fc-param'; did you mean fc-params"),
        (["lenet5", "--balance", "0"], "expected a machine balance above 0 FLOPs per byte"),
        (["lenet5", "--input", "0"], "must be positive, got (1, 0, 0)"),
        (["lenet5", "--ignore", "banana"], "unknown rule 'banana': take tight-bottleneck, "),
        (["alexnet", "--input", "32"], "at least 63×63 pixels, got 32×32"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_that_teaches(arguments, message):
    result = convatlas(*arguments)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert message in line
