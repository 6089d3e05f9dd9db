"""``convatlas runs`` as a user meets it: table, JSON twin, comparison and page say the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from convatlas.render.runs_page import curves

ACCURACIES = {"first": (0.5, 0.75), "se<b>cond": (0.25, 0.5, 0.875)}


def convatlas(*arguments, cwd=None, columns="80"):
    return subprocess.run(
        [sys.executable, "-m", "convatlas", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"COLUMNS": columns, "PATH": ""},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with ``runs/``: two runs and something else."""
    place = tmp_path_factory.mktemp("work")
    for number, (name, accuracies) in enumerate(ACCURACIES.items(), start=1):
        folder = place / "runs" / name
        folder.mkdir(parents=True)
        settings = {"data": "digits", "model": "lenet5", "seed": 0}
        created = f"2026-03-0{number}T23:30:00-01:00"
        record = {"kind": "train", "created": created, "settings": settings}
        (folder / "run.json").write_text(json.dumps(record))
        training = {"epochs": len(accuracies)}
        recipe = {"name": "tiny", "training": training, "optimizer": {"lr": number / 10}}
        (folder / "recipe.json").write_text(json.dumps(recipe))
        lines = [
            {
                "kind": "epoch",
                "epoch": epoch,
                "loss": 1 / epoch,
                "lr": 0.1,
                "metrics": {"accuracy": accuracy, "loss_nats": 2 / epoch},
                "seconds": 2.0,
                "images_per_second": 1234.0,
            }
            for epoch, accuracy in enumerate(accuracies, start=1)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (place / "runs" / "other").mkdir()
    return place


def test_the_list_says_what_its_json_says(place):
    printed = convatlas("runs", cwd=place, columns="160").stdout
    twin = json.loads(convatlas("runs", "--json", cwd=place).stdout)
    assert [run["name"] for run in twin["runs"]] == ["se<b>cond", "first"]
    assert twin["foreign"] == [{"name": "other", "reason": "empty"}]
    rows = [re.split(r" {2,}", line.strip()) for line in printed.splitlines()]
    assert rows[2] == [
        *("se<b>cond", "lenet5", "digits", "tiny", "3/3", "87.50 %", "–"),
        *("87.50 % (3)", "6.00 s", "trained", "2026-03-03 00:30"),
    ]
    assert rows[3][0] == "first"
    assert rows[4] == ["other: empty."]


def test_the_list_fits_a_terminal_and_imports_no_torch(place):
    printed = convatlas("runs", place / "runs").stdout
    assert max(map(len, printed.splitlines())) <= 80
    assert "No room for:" in printed
    code = (
        "import sys; from convatlas.cli.commands import app;"
        "app(['runs', sys.argv[1], '--compare'], standalone_mode=False);"
        "assert not {'torch', 'numpy', 'plotly', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, place / "runs"], check=True, capture_output=True)


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "first", "se<b>cond"),
        ("first", "se<b>cond"),
        ("runs/first", "runs/se<b>cond"),
        ("runs", "runs/first", "se<b>cond"),
    ],
)
def test_runs_are_named_by_name_or_folder(place, words):
    twin = json.loads(convatlas("runs", *words, "--compare", "--json", cwd=place).stdout)
    assert [run["name"] for run in twin["runs"]] == ["first", "se<b>cond"]
    assert twin["differences"] == [
        {"name": "recipe.optimizer.lr", "values": [0.1, 0.2]},
        {"name": "recipe.training.epochs", "values": [2, 3]},
    ]
    assert [len(run["history"]) for run in twin["runs"]] == [2, 3]


def test_a_comparison_shows_figures_side_by_side(place):
    printed = convatlas("runs", "runs", "first", "se<b>cond", "--compare", cwd=place).stdout
    rows = {
        cells[0]: cells[1:]
        for cells in (re.split(r" {2,}", line.strip()) for line in printed.splitlines())
    }
    assert rows["accuracy"] == ["75.00 %", "87.50 %"]
    assert rows["loss (nats)"] == ["1", "0.6667"]
    assert rows["recipe.optimizer.lr"] == ["0.1", "0.2"]
    assert "held-out images" not in rows  # nobody recorded how many


class _Page(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.scripts, self._id = [], [], {}, None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._id = dict(attributes).get("id") if tag == "script" else None

    def handle_endtag(self, tag):
        self._id = None

    def handle_data(self, data):
        if self._id:
            self.scripts[self._id] = json.loads(data)
        else:
            self.texts.append(data.strip())


def test_the_page_draws_what_was_recorded_and_loads_nothing(place, tmp_path):
    file = tmp_path / "curves.html"
    result = convatlas("runs", "runs", "first", "se<b>cond", "--plot", file, cwd=place)
    assert result.stdout == f"page: {file}\n", result.stderr
    page = _Page(file.read_text(encoding="utf-8"))
    drawn = {
        attributes["data-figure"] for _, attributes in page.tags if "data-figure" in attributes
    }
    measures = ("train_loss", "validation_loss", "accuracy", "lr", "images_per_second")
    assert drawn == {f"curve-{measure}-data" for measure in measures}
    first, second = page.scripts["curve-accuracy-data"]["data"]
    assert (first["x"], first["y"]) == ([1, 2], [50, 75])
    assert (second["x"], second["y"]) == ([1, 2, 3], [25, 50, 87.5])
    assert second["name"] == "se&lt;b&gt;cond"  # Plotly would take it for bold
    assert first["line"]["dash"] != second["line"]["dash"]
    assert not [
        a for _, a in page.tags if {"src", "href"} & set(a) and "#" not in a.get("href", "")
    ]
    assert not [tag for tag, _ in page.tags if tag == "b"]
    assert "87.50 %" in page.texts  # the table for who cannot see the curves
    assert "1,234" in page.texts


def test_json_stays_alone_on_standard_output(place, tmp_path):
    result = convatlas("runs", "--plot", tmp_path, "--json", cwd=place)
    assert len(json.loads(result.stdout)["runs"]) == 2
    assert result.stderr == f"page: {tmp_path / 'runs.html'}\n"


def test_fifteen_runs_are_told_apart():
    epoch = {"epoch": 1, "train_loss": 1.0, "validation_loss": None, "accuracy": None, "lr": None}
    epoch["images_per_second"] = None
    runs = [{"name": str(number), "history": [epoch]} for number in range(15)]
    (figure,) = curves(runs).values()
    looks = {(t.meta, t.line.dash) for t in figure.data}
    assert len(looks) == 15
    assert len({t.line.dash for t in figure.data[:5]}) == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere",), "expected a folder with runs, got nowhere"),
        (("runs", "firts"), "unknown run 'firts'; did you mean first?"),
        (("runs", "first", "--compare"), "expected two runs or more to compare, got 1"),
        (("runs/other", "--plot", "a.html"), "expected a run to plot, got 0"),
        (("--plot", "a.png"), "--plot expects a file that ends in .html"),
        (("--sort", "size"), "--sort expects one of created, accuracy, name"),
    ],
)
def test_wrong_questions_are_answered_in_one_line(place, words, told):
    result = convatlas("runs", *words, cwd=place)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"convatlas: {told}")
    assert not (Path(place) / "a.html").exists()
