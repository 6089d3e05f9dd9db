"""Times of single operators on this machine: measured once, kept in the user's cache.

A sample is what an operator was asked (``Work``) and how many milliseconds it took on the
processor. Operators take turns with others of their size, as in a network: each finds its
activation just written, and its weights and its code where the others have left them. Two
passes over all samples, and the faster one counts, because other programs only ever slow a run
down.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

import torch
from torch import Tensor, nn

from convatlas.analysis.formulas import FORMULAS
from convatlas.analysis.machine import (
    Ceilings,
    Clock,
    Machine,
    measure_ceilings,
    this_machine,
    timed_dtype,
)
from convatlas.analysis.primitives import MOST_ELEMENTS, Primitive, primitives
from convatlas.analysis.trace import Trace, listen
from convatlas.analysis.work import Work, works_of
from convatlas.errors import CalibrationError, OptionError
from convatlas.fetch import cache_folder
from convatlas.files import require_writable, write_json

__all__ = [
    "Calibration",
    "Sample",
    "calibrate",
    "calibration_file",
    "load_calibration",
    "save_calibration",
]

_FORMAT = 1
_MOST_SAMPLES = 6000
_ROW, _DRAWN = 24, 192  # primitives that take turns, and those that rows are chosen from
_FEWEST_REPEATS, _MOST_REPEATS = 4, 12
_SECONDS_PER_PRIMITIVE = 0.012
_IDLE_MODULES = 200
_FIRST_PASS = 0.55  # of the time; the second pass has its kernels compiled already


@dataclass(frozen=True, slots=True)
class Sample:
    """A work and its time in milliseconds."""

    work: Work
    ms: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What one machine takes for operators.

    Attributes:
        machine: Where and with what it was measured.
        ceilings: The most that was reached.
        call_ms: Milliseconds that a module's call costs before it does anything.
        samples: Works and their times.
    """

    machine: Machine
    ceilings: Ceilings
    call_ms: float
    samples: tuple[Sample, ...]


Progress = Callable[[float, float], None]


def calibrate(
    precision: str = "float32",
    *,
    minutes: float = 3.0,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
    most_samples: int = _MOST_SAMPLES,
) -> Calibration:
    """Time operators for ``minutes``, with the threads that torch now uses.

    Args:
        precision: Type of weights and activations.
        minutes: How long; 3 at most. More samples price more exactly.
        progress: Told (seconds gone, seconds in all) now and then.
        clock: Seconds; another one than the wall's for tests.
        most_samples: Stop earlier after so many.

    Raises:
        OptionError: More than three minutes, or none, or another precision.
    """
    if not 0 < minutes <= 3:
        raise OptionError(f"minutes must be more than 0 and at most 3, got {minutes:g}")
    machine = this_machine(precision)
    start, seconds = clock(), 60 * minutes
    ceilings = measure_ceilings(precision, clock)
    bench = _Bench(timed_dtype(precision), clock)
    report = progress or _silent
    drawn = islice(primitives(), most_samples)
    rows: list[list[_Timed]] = []
    waiting: list[list[_Timed]] = []
    with torch.inference_mode():
        while (gone := clock() - start) < _FIRST_PASS * seconds or not rows:
            report(gone, seconds)
            if not waiting and not (waiting := _rows(islice(drawn, _DRAWN))):
                break
            rows.append(waiting.pop())
            bench.time(rows[-1])
        for row in rows:
            if (gone := clock() - start) > seconds:
                break
            report(gone, seconds)
            bench.time(row)
        call_ms = bench.call_ms()
    timed = (each for row in rows for each in row if math.isfinite(each.ms))
    samples = tuple([Sample(each.work, each.ms) for each in timed])
    report(seconds, seconds)
    return Calibration(machine, ceilings, call_ms, samples)


def _silent(*_: float) -> None:
    """Report to nobody."""


@dataclass(slots=True)
class _Timed:
    """A primitive and the fewest milliseconds that a pass found for it."""

    primitive: Primitive
    work: Work
    ms: float = math.inf

    @property
    def elements(self) -> int:
        """Elements that it reads and writes."""
        return self.work.read + self.work.weights + self.work.written


def _rows(drawn: Iterable[Primitive]) -> list[list[_Timed]]:
    """Put primitives of similar size together: so they are in a network, and in its caches."""
    timed = [_Timed(each, _work_of(each)) for each in drawn]
    timed.sort(key=lambda each: each.elements)
    rows = [timed[place : place + _ROW] for place in range(0, len(timed), _ROW)]
    Random(len(timed)).shuffle(rows)  # noqa: S311 (no secret)
    return rows


class _Bench:
    """Times primitives on views of one large array, so that nothing is filled or allocated."""

    def __init__(self, dtype: torch.dtype, clock: Clock) -> None:
        generator = torch.Generator().manual_seed(0)
        count = MOST_ELEMENTS + (1 << 22)
        # Positive, because some are variances; random, because a maximum depends on the values.
        self._pool = torch.rand(count, generator=generator).add_(0.1).to(dtype)
        self._clock = clock
        self._random = Random(0)  # noqa: S311 (no secret)

    def time(self, row: Sequence[_Timed]) -> None:
        """Run primitives in turns, as a network's layers do, and keep lower quartiles.

        An operator that repeats itself finds its code in the caches; one of a network's
        finds another's there.
        """
        work = []
        for each in row:
            operands = self._operands(each.primitive)
            # Some operators do not exist in half precision; no network runs them there, either.
            with suppress(NotImplementedError):
                self._once(each.primitive, operands)
                work.append((each, operands, list[float]()))
        start = self._clock()
        for turn in range(_MOST_REPEATS):
            for each, operands, times in work:
                times.append(self._once(each.primitive, operands))
            is_enough = self._clock() - start > _SECONDS_PER_PRIMITIVE * len(row)
            if turn + 1 >= _FEWEST_REPEATS and is_enough:
                break
        for each, _, times in work:
            each.ms = min(each.ms, 1e3 * quantiles(times, n=4, method="inclusive")[0])

    def call_ms(self) -> float:
        """Return what the call of a module costs."""
        idle = nn.Sequential(*(nn.Identity() for _ in range(_IDLE_MODULES)))
        x, times = self._pool[:1], []
        for _ in range(_MOST_REPEATS):
            start = self._clock()
            idle(x)
            times.append(self._clock() - start)
        return 1e3 * min(times) / _IDLE_MODULES

    def _operands(self, primitive: Primitive) -> list[Tensor]:
        tensors = [self._view(shape) for shape in primitive.shapes]
        if primitive.order:
            tensors[0] = _reordered(tensors[0], primitive.order)
        return tensors

    def _once(self, primitive: Primitive, tensors: Sequence[Tensor]) -> float:
        for written in tensors[: primitive.activations]:
            written.mul_(1.0)
        start = self._clock()
        primitive.run(*tensors)
        return self._clock() - start

    def _view(self, shape: tuple[int, ...]) -> Tensor:
        """Return some place in the array, at the start of a cache line."""
        count = math.prod(shape)
        place = self._random.randrange(0, (self._pool.numel() - count) // 64) * 64
        return self._pool[place : place + count].view(shape)


def _reordered(tensor: Tensor, order: tuple[int, ...]) -> Tensor:
    """Return a tensor of the same shape whose axes lie in memory in that order."""
    stored = [tensor.shape[axis] for axis in order]
    return tensor.view(stored).permute([order.index(axis) for axis in range(len(order))])


def _work_of(primitive: Primitive) -> Work:
    """Describe a primitive as an analysis would inside a network."""
    tensors = [torch.empty(shape, device="meta") for shape in primitive.shapes]
    if primitive.order:
        tensors[0] = _reordered(tensors[0], primitive.order)
    trace = Trace(FORMULAS, [])
    with listen(trace):
        primitive.run(*tensors)
    (work,) = (work for operation in trace.operations for work in works_of(operation))
    return work


def calibration_file(machine: Machine) -> Path:
    """Return where the calibration of a machine is kept."""
    cpu = re.sub(r"[^a-z0-9]+", "-", machine.cpu.lower()).strip("-")
    name = f"{cpu}-{machine.threads}-threads-{machine.precision}.json"
    return cache_folder() / "calibration" / name


def save_calibration(calibration: Calibration) -> Path:
    """Write a calibration to the user's cache, whole or not at all, and return its path.

    Raises:
        OutputError: The cache cannot be written.
    """
    path = calibration_file(calibration.machine)
    require_writable(path)
    content = {
        "format": _FORMAT,
        **asdict(calibration.machine),
        **asdict(calibration.ceilings),
        "call_ms": calibration.call_ms,
        "columns": [*Work._fields, "ms"],
        "samples": [[*sample.work, sample.ms] for sample in calibration.samples],
    }
    write_json(path, content)
    return path


def load_calibration(precision: str = "float32") -> Calibration:
    """Return this machine's calibration for the threads that torch now uses.

    Raises:
        CalibrationError: There is none, it is damaged, or something has changed since.
        OptionError: Another precision.
    """
    machine = this_machine(precision)
    path = calibration_file(machine)
    again = f"run `convatlas calibrate --precision {precision} --threads {machine.threads}`"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CalibrationError(
            f"expected a calibration of this machine at {path}, found none: {again}"
        ) from None
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{path} cannot be read ({type(error).__name__}): {again}") from None
    if changed := list(_changed(content, machine)):
        raise CalibrationError(f"{path} is out of date, {'; '.join(changed)}: {again}")
    try:
        return _calibration_of(content, machine)
    except (KeyError, TypeError, ValueError):
        raise CalibrationError(f"{path} is damaged: {again}") from None


def _changed(content: Any, machine: Machine) -> Iterator[str]:
    """Say what a file was made for, where that is not what is needed."""
    if not isinstance(content, dict):
        content = {}
    for name, now in {"format": _FORMAT, **asdict(machine)}.items():
        if (then := content.get(name)) != now:
            yield f"made for {name} {then}, not {now}"


def _calibration_of(content: dict[str, Any], machine: Machine) -> Calibration:
    if content["columns"] != [*Work._fields, "ms"]:
        raise ValueError("other columns")
    samples = tuple(
        [
            Sample(Work(str(name), *map(int, numbers)), float(ms))
            for name, *numbers, ms in content["samples"]
        ]
    )
    ceilings = Ceilings(float(content["convolution_gflops"]), float(content["bandwidth_gbs"]))
    times = [content["call_ms"], *(sample.ms for sample in samples), *asdict(ceilings).values()]
    if not samples or not all(math.isfinite(value) and value > 0 for value in times):
        raise ValueError("times that are none")
    return Calibration(machine, ceilings, float(content["call_ms"]), samples)
