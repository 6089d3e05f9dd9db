from __future__ import annotations

import pytest

from convatlas.cli.numbers import parse_seconds
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
