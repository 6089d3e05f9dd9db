"""``--help`` of every command: a sentence for each flag, and what holds without it."""

from __future__ import annotations

import re

import pytest
import typer

from convatlas.cli.commands import app

APP = typer.main.get_command(app)
DO_AND_LEAVE = {"--help", "--version", "--install-completion", "--show-completion"}
WITHOUT = re.compile(r"\bif left out\b|; else \w|\[default: [^\]]+\]|\brequired\]")
SENTENCE = re.compile(r"[A-Z'0-9a-z].* .*[^.]\.(  \[.*\])?", re.DOTALL)


def _parameters():
    for command in [APP, *APP.commands.values()]:
        context = typer.Context(command, info_name=command.name)
        for parameter in command.params:
            name, text = parameter.get_help_record(context)
            yield pytest.param(parameter.opts, text, id=f"{command.name}-{name}")


@pytest.mark.parametrize(("names", "text"), list(_parameters()))
def test_it_has_a_sentence_and_says_what_holds_without_it(names, text):
    assert SENTENCE.fullmatch(text), text
    assert DO_AND_LEAVE & set(names) or WITHOUT.search(text), text


@pytest.mark.parametrize("text", ["Print JSON.", "List every network; also those dropped.", ""])
def test_the_rule_can_fail(text):
    assert not WITHOUT.search(text)


def test_a_sentence_is_more_than_a_word():
    assert not SENTENCE.fullmatch("Images.")
    assert not SENTENCE.fullmatch("Images per pass")
