"""The command line: one line of help for each command, at no cost of imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from pipelines.cli import COMMANDS, main
from pipelines.runs.progress import console
from pipelines.serving.query import table
from serving.client.client import Recommendation

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_a_command_is_the_first_one_of_its_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").splitlines()[0] == COMMANDS[name]


def test_help_lists_every_command_and_imports_no_tensorflow() -> None:
    code = """
import sys
from pipelines.cli import main
main(["--help"], standalone_mode=False)
print(sorted(name for name in sys.modules if name.startswith("pipelines.")))
main(["train", "--help"], standalone_mode=False)
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPO)
    assert done.returncode == 0, done.stderr
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert "['pipelines.cli']" in done.stdout
    assert "--records" in done.stdout


def test_an_unknown_command_is_the_user_s_mistake() -> None:
    result = CliRunner().invoke(main, ["trian"])
    assert result.exit_code == 2
    assert "No such command 'trian'" in result.output


def test_titles_with_brackets_are_printed_as_they_are() -> None:
    row = Recommendation(id="a", score=1.0, labels={}, modality_weights=np.ones(1), because_id="b")
    with console.capture() as printed:
        console.print(table([row], {"a": "Alien [1979]", "b": "Closed [/b]"}))
    assert "Alien [1979]" in printed.get()
    assert "Closed [/b]" in printed.get()
