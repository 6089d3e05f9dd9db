"""Shell completion: what each shell asks for, and the shells themselves where they are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from convatlas.analysis.machine import TIMED_PRECISIONS
from convatlas.analysis.memory import DEVICES, OPTIMIZERS, PRECISIONS
from convatlas.claims.records import list_claims
from convatlas.cli.main import main
from convatlas.errors import OptionError
from convatlas.models.catalogue import list_families, list_models
from convatlas.pipeline.settings import RunSettings
from convatlas.pipeline.transfer import METHODS
from convatlas.search.budget import Budget
from convatlas.train.recipe import list_recipes

SHELLS = ("bash", "zsh", "fish")


def _asked(shell, line):
    """Return what a shell puts into the environment to learn what can follow."""
    asked = {"_CONVATLAS_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        return {**asked, "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    return {**asked, "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}


@pytest.fixture
def offered(monkeypatch, capsys):
    """Return a function that returns the words that a shell is offered for the end of a line."""

    def ask(line, shell="bash"):
        for name, value in _asked(shell, line).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as left:
            main([])
        assert left.value.code == 0
        lines = capsys.readouterr().out.splitlines()
        if shell == "zsh":
            return [re.match(r"(?:_arguments '\*: :\(\()?\"(.*?)\"", each)[1] for each in lines]
        return [each.partition("\t")[0] for each in lines if each]

    return ask


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("convatlas tim", ["timeline"]),
        ("convatlas run --max-m", ["--max-macs", "--max-memory"]),
        ("convatlas runs --comp", ["--compare"]),
        ("convatlas run --max-macs many --fam", ["--family"]),
        ("convatlas compare lenet5 convnext_t", ["convnext_tiny"]),
        ("convatlas train --recipe strikes-back-a", [f"strikes-back-a{i}" for i in (1, 2, 3)]),
    ],
)
def test_a_shell_is_told_what_can_follow(offered, shell, line, expected):
    assert offered(line, shell) == expected


LOOKED_AT = ("list", "show", "compare", "fit", "bench", "see", "lint")
PLACES = {
    **{name: list_models() for name in (*LOOKED_AT, "train", "transfer", "features")},
    **{f"{name} --model": list_models() for name in ("run", "predict")},
    **{f"{name} --family": list_families() for name in ("list", "choose", "run")},
    **{f"{name} --data": ["digits"] for name in ("run", "train", "choose", "evaluate")},
    **{f"{name} lenet5 --data": ["digits"] for name in ("transfer", "features")},
    "data": ["digits"],
    "recipes": list_recipes(),
    "train --recipe": list_recipes(),
    "claims": [claim.id for claim in list_claims()],
    "fit lenet5 --optimizer": list(OPTIMIZERS),
    "fit lenet5 --precision": list(PRECISIONS),
    "fit lenet5 --device": list(DEVICES),
    "bench lenet5 --precision": list(TIMED_PRECISIONS),
    "transfer lenet5 --methods": ["all", *METHODS],
}


@pytest.mark.parametrize(("place", "expected"), PLACES.items())
def test_every_name_is_offered_where_it_can_stand(offered, place, expected):
    assert offered(f"convatlas {place} ") == expected


@pytest.mark.parametrize("field", ["on", "licence", "export", "objective"])
def test_the_words_of_a_budget_are_those_that_it_takes(offered, field):
    with pytest.raises(OptionError, match=": take ") as caught:
        Budget(**{field: "?"})
    taken = str(caught.value).partition(": take ")[2].split(", ")
    assert sorted(offered(f"convatlas choose --{field} ")) == sorted(taken)


@pytest.mark.parametrize(
    ("flags", "refusal"),
    [("show lenet5 --by", "--by expects one of"), ("runs --sort", "--sort expects one of")],
)
def test_the_words_of_a_flag_are_those_that_its_error_names(
    offered, flags, refusal, monkeypatch, capsys, tmp_path
):
    words = offered(f"convatlas {flags} ")
    monkeypatch.delenv("_CONVATLAS_COMPLETE")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(SystemExit):
        main([*flags.split(), "?"])
    assert f"{refusal} {', '.join(words)}, got" in capsys.readouterr().err


def test_the_stages_are_those_of_the_run_that_goes_on(offered, tmp_path):
    assert offered("convatlas run --stage sc") == ["scratch"]
    for both in (True, False):
        settings = RunSettings(compare_scratch=both).to_dict()
        (tmp_path / "run.json").write_text(json.dumps({"settings": settings}))
        words = ["scratch", "ship"] if both else ["ship"]
        assert offered(f"convatlas run --resume {tmp_path} --stage s") == words


def test_files_can_stand_where_networks_can(offered):
    assert offered("convatlas see runs/") == []  # then the shell offers files
    assert offered("convatlas runs --plot a") == []
    assert offered("convatlas train --data photos/") == []


def test_completing_imports_no_torch():
    script = (
        "import sys\n"
        "from convatlas.cli.main import main\n"
        "try: main([])\n"
        "except SystemExit: pass\n"
        "sys.stderr.write(str({'torch', 'numpy'} & set(sys.modules)))"
    )
    for place in ("train ", "run --stage ", "choose --family ", "claims "):
        asked = _asked("bash", f"convatlas {place}")
        result = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **asked}, capture_output=True
        )
        assert result.stdout
        assert result.stderr == b"set()"


SCRIPTS = {
    "bash": "source ./script; COMP_WORDS=({words}); COMP_CWORD={last}; "
    "_convatlas_completion convatlas; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
    "zsh": "compdef() {{ true }}; _arguments() {{ print -r -- $@ }}; source ./script; "
    "words=({words}); CURRENT={last}+1; _convatlas_completion",
    "fish": "source ./script; complete -C '{line}'",
}


@pytest.fixture
def installed(tmp_path):
    """Return the environment of a machine where ``convatlas`` is a command."""
    command = tmp_path / "bin" / "convatlas"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom convatlas.cli.main import main\nmain()\n")
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "HOME": str(tmp_path)}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "expected"),
    [("convatlas tim", {"timeline"}), ("convatlas train --res", {"--resume"})],
)
def test_what_is_shown_for_a_shell_completes_there(shell, line, expected, installed, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")

    def run(code):
        command = [shell, "-c", code]
        result = subprocess.run(
            command, env=installed, cwd=tmp_path, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    run("convatlas --show-completion > script; true")
    words = line.split()
    told = run(SCRIPTS[shell].format(line=line, words=" ".join(words), last=len(words) - 1))
    assert expected <= set(re.findall(r"[\w-]+", told))
    assert "--epochs" not in told
