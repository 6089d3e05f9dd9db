"""What can be typed wrongly: one line that says what was expected, what came and what to run."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from PIL import Image

from convatlas.cli.advice import ADVICE
from convatlas.cli.main import main


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path):
    """Return a function that runs a command line in an empty folder and returns its one line."""
    monkeypatch.chdir(tmp_path)

    def run(line, **names):
        with pytest.raises(SystemExit) as left:
            main([names.get(word, word) for word in line.split()])
        assert left.value.code == 2
        told = capsys.readouterr()
        assert told.out == ""
        (line,) = told.err.splitlines()
        return line.removeprefix("convatlas: ")

    return run


@pytest.fixture
def photo(tmp_path):
    """Make ``a.png`` in that folder."""
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")


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
        (
            "choose --race-networks 0 --race-epochs 2",
            "expected --race beside --race-networks, --race-epochs, got none: add it, or leave ",
        ),
        ("choose --out a", "expected --race beside --out, got none: add it, or leave --out out"),
        (
            "choose --seed -1",
            "expected --data beside --seed, got none: add it, or leave --seed out",
        ),
        ("choose --skip-bad", "expected --data beside --skip-bad, got none: add it, or leave "),
        ("runs . a b --compare", "unknown run 'a': see `convatlas runs`"),
        ("show alexnet --input 10", "--stem small on a command line"),
        ("train lenet5 --epochs 0", "--epochs: 0 is not in the range x>=1: see "),
        ("train lenet5 --weights foo", "it has none; leave --weights out"),
        ("list --max-macs nan", "--max-macs must be a finite number, got nan"),
        ("list --max-macs=-3", "--max-macs must be more than 0, got -3"),
        ("list --max-params 0", "--max-params must be more than 0, got 0"),
        ("list --min-top1 200", "--min-top1 is in per cent, up to 100, got 200: lower it"),
        (
            "choose --max-size-mb 20MB",
            "--max-size-mb: expected a number alone, such as 20 or 0.5, got '20MB': see ",
        ),
        ("choose --max-latency-ms 50ms", "such as 20 or 0.5, got '50ms': see `convatlas choose "),
        ("features . --data digits", "or `convatlas train` made; see `convatlas runs`"),
        ("train", "expected the name of a network, got none: see `convatlas list`"),
        ("train --resume nowhere", "a folder that `convatlas train` made; see `convatlas runs`"),
        ("run --resume nowhere", "a folder that `convatlas run` made; see `convatlas runs`"),
        (
            "run --stage ship",
            "expected --resume FOLDER beside --stage, got none: add it, or leave --stage out",
        ),
        (
            "run --resume nowhere --max-macs 1 --stage ship --no-pretrained --model alexnet",
            "a run that has begun keeps its own flags, got --max-macs, --model, --no-pretrained "
            "beside --resume: leave that out, or start a new run",
        ),
        (
            "run --resume nowhere --seed 0",
            "got --seed beside --resume: leave that out, or start a ",
        ),
        (
            "train lenet5 --resume nowhere --accept-changed-data --epochs 3 --verify-resume 2",
            "got MODEL, --epochs, --verify-resume beside --resume: leave that out, or start a ",
        ),
        (
            "train lenet5 --accept-changed-data",
            "expected --resume FOLDER beside --accept-changed-data, got none: add it, or leave ",
        ),
        ("run --resume nowhere --stage shop", "unknown stage 'shop'; did you mean ship"),
        ("evaluate nowhere", "`convatlas train` made; see `convatlas runs`"),
        ("show lenet5 --stem big", "got 'big': pass --stem small, or leave it out"),
        ("see lenet5 nowhere.png --layer x", "expected an image file, got nowhere.png: there is "),
        ("see lenet5 a.png --layer x --position 3", "--position expects a row and a column"),
        ("run --epochs 0", "--epochs must be 1 or more, got 0"),
        ("run --early-stop -1", "--early-stop must be 0 or more epochs, got -1"),
        ("run --seed -1", "--seed must be 0 or more, got -1"),
        ("run --max-macs many", "--max-macs expects a number such as 300M or 2.5e6, got 'many'"),
        ("run --max-memory lots", "expects a size such as 8GB or 512MiB, got 'lots'"),
        ("run --max-memory 1e999", "expects a size such as 8GB or 512MiB, got '1e999'"),
        ("run --time-limit 10", "--time-limit expects a time such as 90s, 10m or 1h30m, got '10'"),
        (
            "fit lenet5 --memory all",
            "--memory expects a size such as 8GB or 512MiB, got 'all'",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_with_what_to_do(refused, typed, told):
    assert told in refused(typed)


@pytest.mark.parametrize("typed", ["features . --data digits", "predict a.png --model ."])
@pytest.mark.usefixtures("photo")
def test_a_folder_without_a_run_is_not_to_be_gone_on_in(refused, typed):
    told = refused(typed)
    assert told.startswith("expected a finished run with ")
    assert "--resume" not in told


@pytest.mark.parametrize(
    ("typed", "kind", "file"), [("train", "run", "choice.json"), ("run", "train", "recipe.toml")]
)
def test_a_folder_of_the_other_command_names_that(refused, tmp_path, typed, kind, file):
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "run.json").write_text(json.dumps({"kind": kind, "settings": {}}))
    (tmp_path / "my run" / file).write_text("{}")
    told = refused(f"{typed} --resume FOLDER", FOLDER="my run")
    assert told.endswith(
        f"`convatlas {kind}` made it, so go on with `convatlas {kind} --resume 'my run'`"
    )


TYPED = (
    *("show qqqqq", "list --family qqqqq", "runs . qqqqq", "claims qqqqq"),
    *("recipes vgg-2014 --set q=1", "recipes vgg-2014 --set lr", "train lenet5 --weights foo"),
    "see efficientnet_lite0 a.png --layer qqqqq",
    "features efficientnet_lite0 --data digits --layer qqqqq",
    *("evaluate nowhere", "predict a.png --model .", "show lenet5 --stem big"),
)


@pytest.mark.usefixtures("photo")
def test_every_sentence_that_is_advised_on_is_one_that_is_said(refused):
    told = [refused(line) for line in TYPED]
    for sentence, more in ADVICE:
        assert [line for line in told if re.fullmatch(sentence + re.escape(more), line)], sentence


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
