"""Documentation that lies fails the build."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from convatlas.cli.commands import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def _blocks(language):
    for page in PAGES:
        for kind, text in FENCE.findall(page.read_text(encoding="utf-8")):
            if kind == language:
                yield pytest.param(text, id=f"{page.name}-{text.splitlines()[0][:30]}")


def _commands():
    """Yield every convatlas command line that a page shows."""
    for page in PAGES:
        for kind, text in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in text.splitlines() if kind == "sh" else ():
                words = shlex.split(line, comments=True)
                for start in (i for i, word in enumerate(words) if word == "convatlas"):
                    yield pytest.param(words[start + 1 :], id=f"{page.name}-{line[:40]}")


@pytest.mark.parametrize("code", list(_blocks("python")))
def test_python_on_a_page_runs(code, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path, tmp_path):
    result = subprocess.run([sys.executable, path], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("words", list(_commands()))
def test_a_command_on_a_page_exists_with_its_flags(words):
    commands = typer.main.get_command(app).commands
    assert words[0] in commands
    known = {flag for p in commands[words[0]].params for flag in (*p.opts, *p.secondary_opts)}
    assert {word for word in words[1:] if word.startswith("--")} <= known | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_generated_pages_are_current():
    result = subprocess.run(
        [sys.executable, "tools/write_docs.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stdout + result.stderr
