from __future__ import annotations

import pytest

from convatlas.errors import CheckpointError, OptionError
from convatlas.train.session import CheckpointClock, Session


class Watch:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_checkpoint_is_due_after_so_many_steps() -> None:
    clock = CheckpointClock(Session(checkpoint_steps=3, checkpoint_minutes=0))
    assert [clock.due() for _ in range(4)] == [False, False, True, True]
    clock.restart()
    assert [clock.due() for _ in range(3)] == [False, False, True]


def test_a_checkpoint_is_due_after_ten_minutes_unless_told_otherwise() -> None:
    watch = Watch()
    clock = CheckpointClock(Session(), watch)
    never = CheckpointClock(Session(checkpoint_minutes=0), watch)
    watch.seconds = 599.0
    assert not clock.due()
    watch.seconds = 600.0
    assert clock.due()
    assert not never.due()
    clock.restart()
    assert not clock.due()


def test_changed_data_is_told_in_words_unless_it_is_accepted() -> None:
    def changes(saved: object) -> list[str]:
        return [] if saved == {"images": 3} else ["1 image added", "label of a.jpg changed"]

    now = {"images": 3}
    session = Session(data=now, data_changes=changes)
    assert not session.data_changed(now)
    with pytest.raises(CheckpointError) as caught:
        session.data_changed({"images": 2})
    assert "(1 image added; label of a.jpg changed)" in str(caught.value)
    assert "convatlas train goes on all the same with --accept-changed-data" in str(caught.value)
    accepting = Session(data=now, data_changes=changes, accept_changed_data=True)
    assert accepting.data_changed({"images": 2})


def test_without_words_any_difference_counts() -> None:
    assert not Session(data={"a": 1}).data_changed({"a": 1})
    assert not Session(data={"a": 1}).data_changed(None)
    assert not Session().data_changed({"a": 1})
    with pytest.raises(CheckpointError, match=r"\(a\)"):
        Session(data={"a": 1}).data_changed({"a": 2})
    with pytest.raises(CheckpointError, match=r"\(b\)"):
        Session(data={"a": 1}).data_changed({"a": 1, "b": 2})


def test_a_negative_distance_is_refused() -> None:
    with pytest.raises(OptionError, match="expected checkpoint_steps of 0 or more, got -1"):
        Session(checkpoint_steps=-1)
