"""The mechanism of the stages, with stages that write a word each."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest

from convatlas.errors import CheckpointError, UnknownNameError
from convatlas.pipeline.stages import STAGES_FILE, Heartbeat, Stage, StageBook, TimeLimit


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


class Log:
    """Stands for the logbook."""

    def __init__(self):
        self.stages = []

    @contextmanager
    def stage(self, name, *, anew):
        self.stages.append((name, anew))
        yield


class Chain:
    """Three stages: ``b`` reads what ``a`` wrote, ``c`` what ``b`` wrote."""

    def __init__(self, folder):
        self.folder = folder
        self.words = {"a": "1", "b": "2", "c": "3"}
        self.asks = {"a": 1, "b": 1, "c": 1}
        self.fails = None
        self.goes_on = False
        self.done = []
        self.renewed = []
        self.told = []
        self.log = Log()

    def work(self, name):
        self.done.append(name)
        if name == self.fails:
            raise KeyboardInterrupt
        (self.folder / name).write_text(self.words[name])
        return [name]

    def stages(self):
        return [
            Stage(
                name=name,
                work=lambda name=name: self.work(name),
                asks={"setting": self.asks[name]},
                reads=() if name == "a" else (chr(ord(name) - 1),),
                renew=lambda name=name: self.renewed.append(name),
                goes_on=self.goes_on,
            )
            for name in "abc"
        ]

    def go(self, again=None, limit=None):
        """Carry the stages out as a new process would, and return those that were done."""
        self.done, self.told, self.log = [], [], Log()
        book = StageBook(self.folder, self.told.append, limit or TimeLimit(None), again)
        assert book.carry_out(self.stages(), self.log) == self.done
        return "".join(self.done)


@pytest.fixture
def chain(tmp_path):
    return Chain(tmp_path)


def test_what_is_done_is_skipped_and_said_so(chain):
    assert chain.go() == "abc"
    assert chain.told == []
    assert chain.go() == ""
    assert chain.told == [
        f"{name}: skipped, nothing that it depends on has changed" for name in "abc"
    ]


def test_another_setting_repeats_its_stage_and_what_that_changes(chain):
    chain.go()
    chain.asks["b"] = 2
    assert chain.go() == "b"  # which wrote the same again
    assert chain.told[1] == "b: again, because of another setting"
    chain.asks["b"], chain.words["b"] = 3, "other"
    assert chain.go() == "bc"
    assert chain.told[2] == "c: again, because of another b"
    assert chain.renewed == ["b", "b", "c"]


@pytest.mark.parametrize(("harm", "words"), [("missing", "is missing"), ("other", "was changed")])
def test_a_file_that_is_not_as_it_was_written_is_written_again(chain, harm, words):
    chain.go()
    file = chain.folder / "c"
    file.unlink() if harm == "missing" else file.write_text("x")
    assert chain.go() == "c"
    assert chain.told[2] == f"c: again, c {words}"
    assert file.read_text() == "3"
    assert chain.renewed == []  # what an earlier pass left is good


def test_one_stage_alone_is_done_again_when_it_is_asked_for(chain):
    chain.go()
    assert chain.go(again="b") == "b"
    assert chain.told[1] == "b: again, as asked"
    chain.words["b"] = "other"
    assert chain.go(again="b") == "bc"
    with pytest.raises(UnknownNameError, match="unknown stage 'd': take a, b, c"):
        chain.go(again="d")


def test_a_stopped_pass_goes_on_at_its_stage_and_is_renewed_once(chain):
    chain.fails = "b"
    with pytest.raises(KeyboardInterrupt):
        chain.go()
    chain.fails = None
    assert chain.go() == "bc"
    chain.fails = "b"
    with pytest.raises(KeyboardInterrupt):
        chain.go(again="b")
    assert chain.renewed == ["b"]
    chain.fails = None
    assert chain.go() == "b"  # goes on with that pass
    assert chain.renewed == ["b"]


def test_a_stopped_stage_begins_anew_when_asked_or_when_what_it_goes_by_has_changed(chain):
    chain.fails = "b"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            chain.go()
    assert chain.renewed == []
    with pytest.raises(KeyboardInterrupt):
        chain.go(again="b")
    assert (chain.renewed, chain.told[1:]) == (["b"], ["b: again, as asked"])
    chain.asks["a"], chain.words["a"], chain.fails = 2, "other", None
    assert chain.go() == "abc"
    assert (chain.renewed, chain.told[1]) == (["b", "a", "b"], "b: again, because of another a")


def test_what_may_not_be_renewed_stays_done(chain):
    chain.go()

    def refuse():
        raise CheckpointError("another process")

    stages = [replace(stage, renew=refuse) for stage in chain.stages()]
    with pytest.raises(CheckpointError):
        StageBook(chain.folder, chain.told.append, TimeLimit(None), "b").carry_out(stages, Log())
    assert chain.go() == ""


@pytest.mark.parametrize(
    "content", ["", "[]", '{"stages": 3, "seconds": "x"}', '{"stages": {"a": 1}}']
)
def test_a_damaged_record_means_that_nothing_is_known_to_be_done(chain, content):
    chain.go()
    (chain.folder / STAGES_FILE).write_text(content)
    assert chain.go() == "abc"


def test_whether_an_input_changed_is_known_before(chain):
    def changed(stage, value):
        book = StageBook(chain.folder, chain.told.append, TimeLimit(None))
        return book.changed(stage, "setting", value)

    assert not changed("a", 2)  # not done yet
    chain.go()
    assert changed("a", 2)
    assert not changed("a", 1)


def test_the_limit_counts_every_start_and_no_pause_between(chain):
    clock = Clock()
    first = TimeLimit(100, now=clock)
    clock.seconds = 30
    chain.go(limit=first)
    assert json.loads((chain.folder / STAGES_FILE).read_text())["seconds"] == 30
    clock.seconds = 5000
    second = TimeLimit(100, now=clock)
    clock.seconds = 5010
    chain.go(limit=second)
    assert (second.spent, second.left) == (40, 60)
    assert second.begin_anew()
    assert (second.spent, second.left) == (10, 90)  # of this start
    assert not second.begin_anew()
    assert TimeLimit(None, now=clock).left == float("inf")


@pytest.mark.parametrize(("seconds", "lines"), [(100, 1), (None, 0)])
def test_a_stage_that_is_asked_for_has_the_whole_limit_again_and_that_is_said(
    chain, seconds, lines
):
    clock = Clock()
    first = TimeLimit(seconds, now=clock)
    clock.seconds = 150
    chain.go(limit=first)
    second = TimeLimit(seconds, 5.0, now=clock)
    clock.seconds = 152
    chain.go(again="c", limit=second)
    assert chain.told.count("the time limit of 1 min 40 s counts from this start") == lines
    assert second.spent == 7
    assert json.loads((chain.folder / STAGES_FILE).read_text())["seconds"] == 7


def test_a_stage_that_is_done_again_is_timed_anew_and_one_that_goes_on_is_not(chain):
    chain.fails = "b"
    with pytest.raises(KeyboardInterrupt):
        chain.go()
    chain.fails = None
    chain.go()
    assert chain.log.stages == [("b", False), ("c", False)]
    chain.go(again="c")
    assert chain.log.stages == [("c", True)]
    (chain.folder / "b").unlink()
    chain.go()
    assert chain.log.stages == [("b", True)]
    (chain.folder / "b").unlink()
    chain.goes_on = True
    chain.go()
    assert chain.log.stages == [("b", False)]


def test_the_seconds_of_a_stopped_stage_count_too(chain):
    clock = Clock()
    limit = TimeLimit(100, now=clock)
    chain.fails = "a"
    clock.seconds = 7
    with pytest.raises(KeyboardInterrupt):
        chain.go(limit=limit)
    after = TimeLimit(100, now=clock)
    StageBook(chain.folder, chain.told.append, after)
    assert after.spent == 7


def test_a_heart_beats_every_epoch_and_now_and_then_between():
    clock, beats = Clock(), []
    heart = Heartbeat(lambda: beats.append(clock.seconds), now=clock)
    heart.start(None)
    for clock.seconds in (1, 19, 20, 21, 39, 41):
        heart.step(None)
    heart.epoch(None)
    heart.stop()
    assert beats == [20, 41, 41]
