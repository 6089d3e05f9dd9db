"""``convatlas choose``: the right network, its figures, and a clear line when none fits."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections import Counter

import pytest
from PIL import Image

from convatlas.analysis.calibration import calibration_file
from convatlas.analysis.latency import Latency
from convatlas.analysis.machine import this_machine
from convatlas.cli.limits import told_in_flags
from convatlas.cli.main import main
from convatlas.errors import OptionError
from convatlas.models.catalogue import find_entry, list_entries
from convatlas.search.budget import PERMISSIVE
from convatlas.search.figures import Figure
from convatlas.search.halving import Racer, RaceReport, Stint, judged, rungs, verdict

PUBLISHED = [e for e in list_entries(min_top1=0) if e.dataset == "ImageNet-1k"]


@pytest.fixture
def convatlas(capsys, monkeypatch):
    """Return a function that runs a command line and returns status, output and errors."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        status = 0
        try:
            main(["choose", *map(str, arguments)])
        except SystemExit as ended:
            status = ended.code or 0
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def answered(convatlas):
    """Return a function that runs a command line with ``--json`` and returns the values."""

    def run(*arguments):
        status, out, err = convatlas(*arguments, "--json")
        assert status == 0, err
        return json.loads(out)

    return run


def _within(**limits):
    return [
        entry
        for entry in PUBLISHED
        if entry.macs <= limits.get("macs", 1e15) and entry.params <= limits.get("params", 1e15)
    ]


def test_the_most_accurate_network_within_the_limits_is_chosen(answered):
    values = answered("--max-macs", "300M", "--max-params", "3.5M")
    fitting = _within(macs=300e6, params=3.5e6)
    kept = [each for each in values["candidates"] if each["kept"]]
    assert values["chosen"]["name"] == max(fitting, key=lambda entry: entry.top1).name
    assert {each["name"] for each in kept} == {entry.name for entry in fitting}
    assert [each["top1"] for each in kept] == sorted((e.top1 for e in fitting), reverse=True)


def test_every_network_has_figures_with_their_origin_and_what_dropped_it(answered):
    values = answered("--max-macs", "300M")
    assert len(values["candidates"]) == len(list_entries())
    for each in values["candidates"]:
        entry = find_entry(each["name"])
        assert (each["dropped_by"] == "") == each["kept"]
        assert each["figures"]["macs"]["value"] == entry.macs
        assert each["figures"]["params"]["origin"] == "computed"
        if entry.top1 is not None:
            assert each["figures"]["top1"]["value"] == entry.top1
            assert entry.accuracy_source in each["figures"]["top1"]["source"]
        if each["kept"]:
            assert each["margins"]["max_macs"] == pytest.approx(1 - entry.macs / 300e6)


def test_the_pareto_set_is_what_nobody_beats(answered):
    values = answered("--max-params", "30M")
    fitting = _within(params=30e6)

    def is_beaten(entry):
        return any(
            (o.macs <= entry.macs and o.top1 >= entry.top1)
            and (o.macs < entry.macs or o.top1 > entry.top1)
            for o in fitting
        )

    marked = {each["name"] for each in values["candidates"] if each["pareto"]}
    assert marked == {entry.name for entry in fitting if not is_beaten(entry)}


def test_what_is_printed_is_what_json_says(convatlas, answered):
    status, out, err = convatlas("--max-macs", "300M")
    values = answered("--max-macs", "300M")
    kept = [each["name"] for each in values["candidates"] if each["kept"]]
    assert (status, err) == (0, "")
    assert out.startswith(values["chosen"]["name"])
    rows = re.findall(r"^(?:◆|-| ) (\w+) ", out, re.MULTILINE)
    assert [name for name in rows if name in kept] == kept[:10]
    dropped = Counter(each["dropped_by"] for each in values["candidates"] if not each["kept"])
    assert f"{dropped['max_macs']} by --max-macs" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    assert find_entry(kept[0]).accuracy_source in " ".join(out.split())


def test_all_of_them_are_listed_on_request(convatlas):
    _, out, _ = convatlas("--max-macs", "300M", "--all")
    assert all(entry.name in out for entry in list_entries())


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--max-params", "0"], "--max-params must be more than 0"),
        (["--max-memory", "0GB"], "--max-memory expects a size such as 8GB or 512MiB, got '0GB'"),
        (["--train-memory", "lots"], "--train-memory expects a size"),
        (["--max-macs", "many"], "--max-macs expects a number such as 300M"),
        (["--family", "resnets"], "did you mean resnet"),
        (["--objective", "fast"], "accuracy"),
        (["--min-top1", "101"], "per cent"),
        (["--on", "cuda"], "on cuda times can only be measured, got no --measure: add it"),
        (["--html", "page.txt"], "--html expects a file that ends in .html"),
        (["--data", "nowhere/at/all"], "nowhere/at/all"),
    ],
)
def test_what_cannot_be_meant_is_one_line(convatlas, flags, told):
    status, out, err = convatlas(*flags)
    assert (status, out) == (2, "")
    assert err.startswith("convatlas: ")
    assert told in err
    assert err.count("\n") == 1


def test_when_nothing_fits_the_nearest_miss_and_the_limit_to_raise_are_named(convatlas):
    cheapest = min(PUBLISHED, key=lambda entry: entry.macs)
    status, out, err = convatlas("--max-macs", "1M")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert cheapest.name in err
    enough = float(re.search(r"--max-macs ([0-9.]+)M would do", err)[1]) * 1e6
    assert cheapest.macs <= enough < 1.01 * cheapest.macs
    assert convatlas("--max-macs", f"{enough:.0f}")[0] == 0


def test_every_way_out_is_told_in_flags(convatlas):
    permissive = [e for e in PUBLISHED if any(w.licence in PERMISSIVE for w in e.weights)]
    best = max(permissive, key=lambda entry: entry.top1)
    status, out, err = convatlas("--family", "lenet", "--needs-weights", "--licence", "permissive")
    assert (status, out) == (2, "")
    assert err == (
        "convatlas: no network meets the budget; the nearest: lenet5: made for small images "
        f"(MNIST), compared are ImageNet-1k's; or {best.name}: of the family {best.family.name}, "
        "asked was lenet (leave --family out)\n"
    )
    _, _, err = convatlas("--family", "squeezenet", "--needs-weights", "--licence", "permissive")
    left_out = re.findall(r"leave (\S+) out", err)
    assert left_out == ["--family", "--licence", "--needs-weights"]
    assert "asked was permissive" in err


@pytest.mark.parametrize(
    ("told", "in_flags"),
    [
        ("max_macs must be more than 0: leave it out", "--max-macs must be more than 0: leave it"),
        ("x (max_macs=1M would do)", "x (--max-macs 1M would do)"),
        ("x (leave family and needs_weights out)", "x (leave --family and --needs-weights out)"),
        ("x, max_latency_ms not looked at", "x, --max-latency-ms not looked at"),
        ("max_drop must be in 0 … 1", "--max-drop must be in 0 … 1"),
        ("x; pretrained=False looks at all", "x; --no-pretrained looks at all"),
        ("no folder train_x or data/train_memory", "no folder train_x or data/train_memory"),
        ("no folder max_macs.d of the family", "no folder max_macs.d of the family"),
    ],
)
def test_fields_are_told_as_flags_and_other_words_as_they_are(told, in_flags):
    with pytest.raises(OptionError) as caught, told_in_flags():
        raise OptionError(told)
    assert in_flags in str(caught.value)


def test_networks_without_weights_at_hand_can_be_looked_at(convatlas, answered, tmp_path):
    # Photos with texture enough to tell them apart; few, so that weights at hand decide.
    for place in range(8):
        folder = tmp_path / "photos" / "ab"[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.Random(place).randbytes(3 * 96 * 96)  # noqa: S311 (no secret)
        Image.frombytes("RGB", (96, 96), pixels).save(folder / f"{place}.png")
    asked = ("--data", tmp_path / "photos", "--max-macs", "50M")
    status, _, err = convatlas(*asked)
    assert status == 2
    assert "; --no-pretrained looks at all)" in err
    values = answered(*asked, "--no-pretrained", "--html", tmp_path)
    fitting = _within(macs=50e6)
    assert values["chosen"]["weights"] is None
    assert values["chosen"]["top1"] == max(entry.top1 for entry in fitting)
    page = (tmp_path / "choice.html").read_text(encoding="utf-8")
    assert re.search(r"convatlas choose --data \S+ --no-pretrained", page)


def test_a_machine_without_any_calibration_needs_no_torch_to_know_that(tmp_path):
    script = (
        "import sys\n"
        "from convatlas.cli.main import main\n"
        "try: main(['choose', '--objective', 'latency', '--json'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "False", result.stderr


@pytest.mark.parametrize("form", ["--all", "--json"])
def test_choosing_does_not_import_torch(form):
    script = (
        "import sys\n"
        "from convatlas.cli.main import main\n"
        f"try: main(['choose', '--max-macs', '1G', '--min-top1', '75', '{form}'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "False False", result.stderr


def test_a_page_is_made_without_torch_too(tmp_path):
    script = (
        "import sys\n"
        "from convatlas.cli.main import main\n"
        f"try: main(['choose', '--html', {str(tmp_path)!r}])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "False", result.stderr
    assert (tmp_path / "choice.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_images_enter_the_choice_and_the_training_ahead(answered, convatlas):
    values = answered("--data", "digits")
    data, training = values["data"], values["training"]
    assert (data["image_size"], data["channels"], data["num_classes"]) == (8, 1, 10)
    assert sum(data["per_class"]) == data["train_images"] == 1437
    assert values["chosen"]["stem"] == "small"
    steps = training["epochs"] * -(-1437 // training["batch_size"])
    assert training["seconds"] == pytest.approx(steps * training["step_ms"] / 1e3)
    assert (training["name"], training["origin"]) == (values["chosen"]["name"], "measured")


@pytest.fixture
def slow_clock(monkeypatch):
    """Let every network take as many milliseconds as it has millions of multiply-accumulates."""
    timed = []

    def measured(model, input_size, *, in_channels=3, **_options):
        from convatlas.analysis.cost import analyze

        millions = analyze(model, input_size, in_channels=in_channels).macs / 1e6
        timed.append(millions)
        return Latency(millions, 0.9 * millions, 1.2 * millions, 1, 1)

    monkeypatch.setattr("convatlas.analysis.latency.measure_latency", measured)
    return timed


def test_measured_times_have_an_interval_and_are_of_the_shortlist(answered, slow_clock):
    values = answered("--family", "squeezenet", "--measure")
    kept = [each for each in values["candidates"] if each["kept"]]
    assert len(slow_clock) == len(kept) <= 8
    for each in kept:
        figure = each["figures"]["latency_ms"]
        assert figure["origin"] == "measured"
        assert figure["value"] == pytest.approx(find_entry(each["name"]).macs / 1e6)
        assert figure["low"] == pytest.approx(0.9 * figure["value"])
        assert figure["high"] == pytest.approx(1.2 * figure["value"])


def test_no_more_than_eight_networks_are_measured(answered, slow_clock):
    answered("--max-macs", "150M", "--measure")
    assert len(slow_clock) == 8


def test_a_calibrated_machine_ranks_by_time_without_measure(
    answered, slow_clock, monkeypatch, tmp_path
):
    def calibrated(*_):
        return lambda each: Figure(each.cost.macs / 1e6, "predicted")

    monkeypatch.setenv("CONVATLAS_CACHE", str(tmp_path))
    kept = calibration_file(this_machine())
    kept.parent.mkdir()
    kept.touch()
    # In this order, for what is imported on the way keeps the name that it finds.
    monkeypatch.setattr("convatlas.search.forecasting.calibrated", calibrated)
    monkeypatch.setattr("convatlas.analysis.calibration.load_calibration", object)
    values = answered("--family", "vgg", "--objective", "latency")
    kept = [each for each in values["candidates"] if each["kept"]]
    origins = [each["figures"]["latency_ms"]["origin"] for each in kept]
    assert origins == ["measured"] * 3 + ["predicted"] * (len(kept) - 3)
    assert "shortest time" in values["reason"]


def test_the_page_says_the_whole_command_line(convatlas, slow_clock, tmp_path):
    flags = ["--data", "digits", "--family", "resnet", "--seed", "3", "--no-pretrained"]
    flags += ["--measure", "--skip-bad"]
    assert convatlas(*flags, "--html", tmp_path)[0] == 0
    page = (tmp_path / "choice.html").read_text(encoding="utf-8")
    assert f"convatlas choose {' '.join(flags)}" in page


def test_a_limit_on_time_drops_what_was_measured_too_slow(answered, slow_clock, monkeypatch):
    from convatlas.analysis.machine import Ceilings

    monkeypatch.setattr(
        "convatlas.analysis.machine.measure_ceilings", lambda *_: Ceilings(1e6, 100.0)
    )
    family = [e for e in PUBLISHED if e.family.name == "squeezenet"]
    fast = min(family, key=lambda entry: entry.macs)
    values = answered("--family", "squeezenet", "--max-latency-ms", fast.macs / 1e6 + 1)
    assert values["chosen"]["name"] == fast.name
    assert values["chosen"]["margins"]["max_latency_ms"] > 0


def test_ctrl_c_while_measuring_leaves_no_page(convatlas, tmp_path, monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("convatlas.analysis.latency.measure_latency", interrupted)
    page = tmp_path / "page.html"
    status, out, err = convatlas("--family", "squeezenet", "--measure", "--html", page)
    assert (status, out) == (130, "")
    assert err.startswith("convatlas: ")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def raced(monkeypatch):
    """Let every network of a race be worth the less, the later it stands in the ranking."""

    def race(choice, data, folder, _listener, settings, *, skip_bad=False):
        shortlist = [each for each in choice.candidates if each.kept][: settings.networks]
        racers = [
            Racer(
                name=each.name,
                weights=each.weights,
                input_size=each.input_size,
                params=each.cost.params,
                macs=each.cost.macs,
                stints=(Stint(settings.epochs, 0.9 - 0.2 * place, (0.88, 0.92), 287, 60.0),),
            )
            for place, each in enumerate(shortlist)
        ]
        recommended, sentence = verdict(judged(racers))
        return RaceReport(
            data=f"{data} in {folder}, bad ones left out: {skip_bad}",
            train_images=1150,
            judged_images=287,
            chance=0.1,
            seed=settings.seed,
            factor=settings.factor,
            rungs=rungs(settings.networks, settings.factor, settings.epochs),
            racers=judged(racers),
            recommended=recommended,
            sentence=sentence,
            notes=("Mind the notes.",),
            seconds=120.0,
        )

    monkeypatch.setattr("convatlas.pipeline.race.race_shortlist", race)


RACE = ["--data", "digits", "--race", "--race-networks", "2", "--race-epochs", "1", "--out", "here"]


def test_a_race_is_run_on_the_shortlist_and_told(answered, convatlas, raced, tmp_path):
    values = answered(*RACE, "--seed", "3", "--skip-bad")
    kept = [each["name"] for each in values["candidates"] if each["kept"]]
    race = values["race"]
    assert [racer["name"] for racer in race["racers"]] == kept[:2]
    assert (race["recommended"], race["seed"]) == (kept[0], 3)
    assert race["data"] == "digits in here, bad ones left out: True"
    _, out, _ = convatlas(*RACE, "--html", tmp_path)
    page = (tmp_path / "choice.html").read_text(encoding="utf-8")
    for told in (race["sentence"], "Mind the notes."):
        assert told in " ".join(out.split())
        assert told in page


def test_a_race_needs_images(convatlas):
    status, out, err = convatlas("--race")
    assert (status, out) == (2, "")
    assert "--race trains on your images, got no --data" in err
