"""What can be typed wrongly: one line that says what was expected, what came and what to run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from convatlas.cli.main import main


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path):
    """Return a function that runs a command line in an empty folder and returns its one line."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        with pytest.raises(SystemExit) as left:
            main(line.split())
        assert left.value.code == 2
        told = capsys.readouterr()
        assert told.out == ""
        (line,) = told.err.splitlines()
        return line.removeprefix("convatlas: ")

    return run


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("trian lenet5", "no such command 'trian'. Did you mean 'train', 'transfer'? See "),
        ("--bogus", "no such option: --bogus: see `convatlas --help`"),
        ("run --max-mac 3", "no such option: --max-mac; did you mean --max-macs, "),
        ("run --max-mac 3", "? See `convatlas run --help`"),
        ("run --seed", "option '--seed' requires an argument: see `convatlas run --help`"),
        ("run --seed one", "--seed: 'one' is not a valid int"),
        ("run --seed one", ": see `convatlas run --help`"),
        ("run --skip-bad yes", "(yes): see `convatlas run --help`"),
        ("data digits --limit 0", "--limit: 0 is not in the range x>=1: see "),
        ("show", "missing argument 'name': see `convatlas show --help`"),
        ("features lenet5", "missing option '--data': see `convatlas features --help`"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_help_to_ask(refused, typed, told):
    assert told in refused(typed)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("show qqqqq", "unknown model 'qqqqq': see `convatlas list`"),
        ("train qqqqq", "unknown model 'qqqqq': see `convatlas list`"),
        ("run --model qqqqq", "unknown model 'qqqqq': see `convatlas list`"),
        ("list --family qqqqq", "unknown family 'qqqqq': see `convatlas list`"),
        ("choose --family qqqqq", "unknown family 'qqqqq': see `convatlas list`"),
        ("claims qqqqq", "unknown claim 'qqqqq': see `convatlas claims`"),
        ("recipes qqqqq", "unknown recipe 'qqqqq': see `convatlas recipes`, or pass a .toml file"),
        ("recipes vgg-2014 --set q=1", "a recipe has no value 'q': see `convatlas recipes NAME`"),
        ("recipes vgg-2014 --set lr", "got 'lr': see `convatlas recipes NAME`"),
        ("train", "expected the name of a network, got none: see `convatlas list`"),
        ("train --resume nowhere", "a folder that `convatlas train` made; see `convatlas runs`"),
        ("run --resume nowhere", "a folder that `convatlas run` made; see `convatlas runs`"),
        ("run --stage ship", "--stage is about a run that has begun: add --resume FOLDER"),
        ("run --resume nowhere --stage shop", "unknown stage 'shop'; did you mean ship"),
        ("evaluate nowhere", "`convatlas train` made; see `convatlas runs`"),
        ("show lenet5 --stem big", "got 'big': pass --stem small, or leave it out"),
        ("see lenet5 nowhere.png --layer x", "expected an image file, got nowhere.png: there is "),
        ("see lenet5 a.png --layer x --position 3", "--position expects a row and a column"),
        ("run --epochs 0", "--epochs must be 1 or more, got 0"),
        ("run --early-stop -1", "--early-stop must be 0 or more epochs, got -1"),
        ("run --seed -1", "--seed must be 0 or more, got -1"),
        ("run --max-macs many", "--max-macs expects a number such as 300M or 2.5e6, got 'many'"),
        ("run --max-memory lots", "--max-memory expects a size such as 8GB or 512MiB, got 'lots'"),
        ("run --time-limit 10", "--time-limit expects a time such as 90s, 10m or 1h30m, got '10'"),
        ("fit lenet5 --memory all", "--memory expects a size such as 8GB or 512MiB, got 'all'"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_what_to_do(refused, typed, told):
    assert told in refused(typed)


@pytest.mark.parametrize(
    "typed",
    [
        *("run --max-macs many", "run --time-limit soon", "run --train-memory lots"),
        *(
            "run --model resnot",
            "run --family resnot",
            "run --epochs 0",
            "run --resume x --stage y",
        ),
        *("train resnot", "train", "bench resnot", "fit lenet5 --memory lots"),
    ],
)
def test_a_typo_is_told_before_torch_is_imported(typed):
    script = (
        "import sys\n"
        "from convatlas.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as left: print(left.code, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, *typed.split()]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout == "2 False\n", result.stderr


def test_without_a_command_the_help_is_printed(capsys):
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 0
    assert "Commands:" in capsys.readouterr().out


def test_each_try_of_a_library_to_reach_the_network_is_not_told():
    script = (
        "from convatlas.cli.main import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "from huggingface_hub.utils.logging import get_logger\n"
        "get_logger('huggingface_hub.utils._http').warning('Retrying in 1s')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
