"""Stages of a run: each is done once, and again only when something that it depends on changed.

``stages.json`` in the run folder holds hashes of what every stage goes by, as soon as it begins,
and of the files that it wrote. This mechanism knows neither networks nor images.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convatlas.errors import OutputError, UnknownNameError
from convatlas.files import write_json
from convatlas.pipeline.records import Logbook
from convatlas.pipeline.run_files import number_of, part_of, read_object
from convatlas.render.units import seconds_text
from convatlas.train.reports import EpochReport, Plan, StepReport

__all__ = ["STAGES_FILE", "Heartbeat", "Stage", "StageBook", "TimeLimit"]

STAGES_FILE = "stages.json"
_BEAT_SECONDS = 20.0


class TimeLimit:
    """How long a run may take in all, over every time that it was started.

    Args:
        seconds: The limit; None for none.
        spent: Seconds of this start that are gone already.
        now: Seconds since some moment.
    """

    def __init__(
        self,
        seconds: float | None,
        spent: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = seconds
        self._earlier = 0.0
        self._now = now
        self._start = now() - spent

    @property
    def spent(self) -> float:
        """Seconds since the run began, without those in which it stood still."""
        return self._earlier + self._now() - self._start

    @property
    def left(self) -> float:
        """Seconds until the limit; infinite without one."""
        return math.inf if self.seconds is None else self.seconds - self.spent

    def add(self, spent: float) -> None:
        """Count the seconds of earlier starts too."""
        self._earlier += spent

    def begin_anew(self) -> bool:
        """Forget the earlier starts; return whether a limit counted them until now."""
        counted, self._earlier = self._earlier > 0, 0.0
        return counted and self.seconds is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One part of a run.

    Attributes:
        name: What to call it.
        work: Does it, and returns the names of the files that it wrote into the run folder.
        asks: The settings and facts that it goes by, as JSON values.
        reads: Names of the files in the run folder that it goes by; one may be missing.
        renew: Called before the work where something changed or it was asked for again: clears what
            an earlier pass left, where the stage would otherwise go on from it.
        goes_on: Whether it goes on from what an earlier pass left.
    """

    name: str
    work: Callable[[], Iterable[str]]
    asks: Mapping[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    renew: Callable[[], None] | None = None
    goes_on: bool = False


class StageBook:
    """``stages.json``: which stages are done, by what and with what outcome.

    It is written after each stage, so that a run that is killed goes on at the stage that it was
    in.

    Args:
        folder: The run folder.
        say: Takes one line of news.
        limit: Whose seconds are kept here, for the next start.
        again: Name of a stage to do again, whatever it depends on.
    """

    def __init__(
        self, folder: Path, say: Callable[[str], None], limit: TimeLimit, again: str | None = None
    ) -> None:
        self._folder = folder
        self._say = say
        self._limit = limit
        self._again = again
        record = read_object(folder / STAGES_FILE, [])
        done = part_of(record, "stages")
        self._done: dict[str, Any] = done if isinstance(done, dict) else {}
        limit.add(number_of(part_of(record, "seconds")) or 0.0)

    def carry_out(self, stages: Iterable[Stage], logbook: Logbook) -> list[str]:
        """Do the stages in turn, but for those that nothing has changed for; return which.

        Raises:
            UnknownNameError: The one that was to be done again is none of them.
        """
        stages = list(stages)
        names = [stage.name for stage in stages]
        if self._again is not None and self._again not in names:
            raise UnknownNameError.of("stage", self._again, names)
        if self._again is not None:  # a wish, for which there is to be time
            self.begin_clock()
        try:
            return [stage.name for stage in stages if self._carry_out(stage, logbook)]
        except BaseException:  # Ctrl-C too
            with suppress(OutputError):  # what went wrong is told already
                self.save()
            raise

    def begin_clock(self) -> None:
        """Let the time limit count from this start, and say so if that makes a difference."""
        if self._limit.begin_anew():
            limit = seconds_text(self._limit.seconds)
            self._say(f"the time limit of {limit} counts from this start")

    def done(self, *names: str) -> bool:
        """Tell whether all these stages are done."""
        return all(self._is_done(name) for name in names)

    def changed(self, stage: str, name: str, value: Any) -> bool:
        """Tell whether a stage that is done went by another value of ``name``."""
        before = part_of(self._done, stage, "inputs", name)
        return self._is_done(stage) and before is not None and before != _digest(value)

    def save(self) -> None:
        """Write the file, with the seconds that the run has taken by now."""
        values = {"seconds": round(self._limit.spent, 1), "stages": self._done}
        write_json(self._folder / STAGES_FILE, values)

    def _carry_out(self, stage: Stage, logbook: Logbook) -> bool:
        inputs = {name: _digest(value) for name, value in stage.asks.items()}
        inputs |= {name: _file_digest(self._folder / name) for name in stage.reads}
        done, begun = self._is_done(stage.name), stage.name in self._done
        reason = self._why_again(stage.name, inputs) if begun or stage.name == self._again else ""
        harmed = self._harmed(stage.name) if done else ""
        if done and not (reason or harmed):
            self._say(f"{stage.name}: skipped, nothing that it depends on has changed")
            return False
        if reason or harmed:
            self._say(f"{stage.name}: again, {reason or harmed}")
        if reason and stage.renew:
            stage.renew()
        self._done[stage.name] = {"inputs": inputs}  # a stopped pass is gone on with by these alone
        self.save()
        again = bool(reason) or (bool(harmed) and not stage.goes_on)
        with logbook.stage(stage.name, anew=again):
            files = stage.work()
        outputs = {name: _file_digest(self._folder / name) for name in files}
        self._done[stage.name] = {"inputs": inputs, "outputs": outputs}
        self.save()
        return True

    def _is_done(self, name: str) -> bool:
        return part_of(self._done, name, "outputs") is not None

    def _why_again(self, name: str, inputs: Mapping[str, str]) -> str:
        """Return in words why what was done of a stage does not hold any more; empty if it does."""
        if name == self._again:
            return "as asked"
        before = part_of(self._done, name, "inputs") or {}
        names = sorted(before.keys() | inputs.keys())
        changed = [each for each in names if before.get(each) != inputs.get(each)]
        return f"because of another {', '.join(changed)}" if changed else ""

    def _harmed(self, name: str) -> str:
        """Return in words which file of a stage is not as it was written; empty if none is."""
        for file, digest in (part_of(self._done, name, "outputs") or {}).items():
            found = _file_digest(self._folder / file)
            if found != digest:
                return f"{file} {'was changed' if found else 'is missing'}"
        return ""


class Heartbeat:
    """Writes down while the network trains how long the run has taken, as an observer.

    Args:
        beat: Called after each epoch, and every 20 seconds at the end of a step.
        now: Seconds since some moment.
    """

    def __init__(self, beat: Callable[[], None], now: Callable[[], float] = time.monotonic) -> None:
        self._beat = beat
        self._now = now
        self._latest = now()

    def start(self, plan: Plan) -> None:
        """Wait for the first step."""

    def step(self, report: StepReport) -> None:
        """Beat, if it is time."""
        del report  # whatever it says
        if self._now() - self._latest >= _BEAT_SECONDS:
            self._latest = self._now()
            self._beat()

    def epoch(self, report: EpochReport) -> None:
        """Beat."""
        del report
        self._beat()

    def stop(self) -> None:
        """Nothing is open."""


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _file_digest(path: Path) -> str:
    """Return the SHA-256 of a file; empty if it is not there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
