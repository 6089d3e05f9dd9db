from __future__ import annotations

import pytest

from convatlas.cli.numbers import parse_bytes, parse_seconds
from convatlas.errors import OptionError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h", 3600), ("1h30m", 5400), ("0.5h", 1800), ("2M5S", 125)],
)
def test_a_time_is_read_as_people_write_it(text, seconds):
    assert parse_seconds(text, "--time-limit") == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "0s", "ten minutes", "10m 1h", "-5m", "1..5h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(OptionError) as caught:
        parse_seconds(text, "--time-limit")
    expected = "--time-limit expects a time such as 90s, 10m or 1h30m, got "
    assert str(caught.value) == f"{expected}{text!r}"


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("512MiB", 512 * 2**20), ("1e9", 10**9), ("2.5e3k", 2_500_000), ("7", 7)],
)
def test_a_size_is_read_as_people_write_it(text, size):
    assert parse_bytes(text, "--max-memory") == size


@pytest.mark.parametrize("text", ["", "GB", "0", "1e", "e9", "-8GB", "1..5GB", "1e999", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(OptionError) as caught:
        parse_bytes(text, "--max-memory")
    expected = "--max-memory expects a size such as 8GB or 512MiB, got "
    assert str(caught.value) == f"{expected}{text!r}"
