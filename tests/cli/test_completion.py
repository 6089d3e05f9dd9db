"""Shell completion: installed for the shell at hand, and it knows commands and flags."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

COMMAND = "from convatlas.cli.commands import app; app(prog_name='convatlas')"


def answered(*arguments, **environment):
    result = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("convatlas tim", ["timeline"]),
        ("convatlas run --max-m", ["--max-macs", "--max-memory"]),
        ("convatlas runs --comp", ["--compare"]),
    ],
)
def test_bash_is_told_what_can_follow(line, expected):
    place = str(line.count(" "))
    asked = {"_CONVATLAS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": place}
    assert answered(**asked).split() == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_what_is_installed_for_bash_completes_there(tmp_path):
    show = f'{sys.executable} -c "{COMMAND}" --show-completion > script; exit $?'
    subprocess.run(["bash", "-c", show], check=True, cwd=tmp_path)
    script = (tmp_path / "script").read_text()
    assert "complete -o default -F _convatlas_completion convatlas" in script
    subprocess.run(["bash", "-n", "script"], check=True, cwd=tmp_path)
