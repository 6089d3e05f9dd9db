from __future__ import annotations

import os
import threading
import time
from collections import deque

import pytest

from convatlas.data import parallel
from convatlas.data.parallel import ordered_map


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("ahead", [None, 0, 3])
def test_results_come_in_order(threads: int, ahead: int | None) -> None:
    def slow_first(place: int) -> int:
        time.sleep(0.002 * (place == 0))
        return place**2

    seen: list[tuple[int, int]] = []
    results = ordered_map(slow_first, 9, lambda *at: seen.append(at), threads=threads, ahead=ahead)
    assert list(results) == [place**2 for place in range(9)]
    assert seen == [(done, 9) for done in range(1, 10)]


def test_only_so_many_results_are_made_ahead() -> None:
    made: list[int] = []
    results = ordered_map(lambda place: made.append(place) or place, 20, threads=1, ahead=2)
    for place in range(20):
        assert next(results) == place
        deadline = time.monotonic() + 5
        while len(made) < min(place + 3, 20) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(made) == min(place + 3, 20)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_is_raised_in_its_turn(threads: int) -> None:
    def fail(place: int) -> int:
        if place == 4:
            raise ValueError("four")
        return place

    before, seen = threading.active_count(), deque()
    with pytest.raises(ValueError, match="four"):
        seen.extend(ordered_map(fail, 9, threads=threads, ahead=2))
    assert list(seen) == [0, 1, 2, 3]
    assert threading.active_count() == before


def test_closing_ends_the_threads() -> None:
    before = threading.active_count()
    results = ordered_map(lambda place: place, 100, threads=3)
    next(results)
    assert threading.active_count() > before
    results.close()
    assert threading.active_count() == before


def test_one_core_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_cores", lambda: 1)
    where = set(ordered_map(lambda _: threading.get_ident(), 5))
    assert where == {threading.get_ident()}


def test_cores_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert parallel._cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert parallel._cores() == 1
