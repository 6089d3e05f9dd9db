from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from convatlas.train.interrupt import BetweenImports, StopRequest

SENDS = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
MAIN = """
import signal, time
from convatlas.cli.main import main
import convatlas.train.recipe

def list_recipes():
    import slow
    print("imported whole" if slow.done else "", flush=True)
    while True:
        time.sleep(0.001)

signal.signal(signal.SIGINT, signal.default_int_handler)
convatlas.train.recipe.list_recipes = list_recipes
main(["recipes"])
"""


def _interrupted(folder: Path, imported: str) -> subprocess.CompletedProcess[str]:
    """Run a command that imports the given code, in which Ctrl-C is pressed."""
    (folder / "slow.py").write_text(imported)
    (folder / "main.py").write_text(MAIN)
    command = [sys.executable, folder / "main.py"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_ctrl_c_waits_for_the_end_of_an_import_that_would_swallow_it(tmp_path: Path) -> None:
    swallowing = f"try:\n    {SENDS.replace(chr(10), chr(10) + '    ')}import time\n"
    swallowing += "    time.sleep(0.1)\nexcept BaseException:\n    raise RecursionError\n"
    left = _interrupted(tmp_path, swallowing + "done = True\n")
    assert (left.returncode, left.stdout) == (130, "imported whole\n")
    assert left.stderr == "convatlas: stopped\n"


def test_a_second_ctrl_c_does_not_wait_for_an_import(tmp_path: Path) -> None:
    left = _interrupted(tmp_path, 2 * SENDS + "done = False\nsignal.pause()\n")
    assert (left.returncode, left.stdout) == (130, "")
    assert left.stderr == "convatlas: stopped\n"


def test_an_import_that_takes_long_is_not_waited_for(tmp_path: Path) -> None:
    code = f"import convatlas.train.interrupt as own\nown._PATIENCE = 0.05\n{SENDS}"
    left = _interrupted(tmp_path, f"{code}import time\nwhile True:\n    time.sleep(0.001)\n")
    assert (left.returncode, left.stdout) == (130, "")
    assert left.stderr == "convatlas: stopped\n"


def test_outside_an_import_ctrl_c_is_at_once() -> None:
    signal.signal(signal.SIGINT, BetweenImports())
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_loop_takes_over_from_the_command_line_and_gives_back() -> None:
    handler = BetweenImports()
    signal.signal(signal.SIGINT, handler)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_first_ctrl_c_waits_and_the_second_does_not() -> None:
    with StopRequest() as stop:
        stop.check()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_someone_elses_handler_stays() -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda *_: caught.append(1))
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
            stop.check()
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught == [1]


def test_outside_the_main_thread_it_does_nothing() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with StopRequest() as stop:
                stop.check()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
