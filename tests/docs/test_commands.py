"""The blocks marked as runnable run, in a folder that looks as it does after `make demo`."""

from __future__ import annotations

import json
import shlex
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from markdown_pages import Block, blocks, shell_lines
from toy_server import running
from whole import SMALL, Whole

from pipelines.cli import main
from serving.client.client import Client
from serving.server.server import RestOptions
from serving.server.sources import folder_source

RUNNABLE = [block for block in blocks() if block.runnable]
SHELL = [block for block in RUNNABLE if block.language == "sh"]
PYTHON = [block for block in RUNNABLE if block.language == "python"]
CONFIGURED = ("build",)  # commands that are given the small model's options


@dataclass(frozen=True)
class Place:
    """The folder to run in, and the ports of the server that serves its model."""

    folder: Path
    grpc: int
    rest: int

    def here(self, text: str) -> str:
        """Text of a page with the ports of this server."""
        for name in ("127.0.0.1", "localhost"):
            text = text.replace(f"{name}:8500", f"127.0.0.1:{self.grpc}").replace(
                f"{name}:8501", f"127.0.0.1:{self.rest}"
            )
        return text


@pytest.fixture(scope="module")
def place(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("after-the-demo")
    demo = root / "work" / "demo"
    shutil.copytree(whole.data, demo / "data")
    shutil.copytree(whole.records, demo / "records")
    shutil.copytree(whole.run, demo / "run")
    shutil.copytree(whole.models, root / "saved_models")
    with running(folder_source(whole.models), rest=RestOptions(0, 30.0, None)) as server:
        yield Place(root, server.port, int(str(server.rest_address).rpartition(":")[2]))


def run_triptych(words: list[str], place: Place) -> str:
    if words[0] == "query":
        words = [*words, "--target", f"127.0.0.1:{place.grpc}"]
    if words[0] in CONFIGURED:
        words = [*words, *(part for change in SMALL for part in ("--set", change))]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def run_curl(words: list[str]) -> str:
    """The GET or POST (-d) that the line asks for."""
    address = next(word for word in words if word.startswith("http"))
    body = words[words.index("-d") + 1].encode() if "-d" in words else None
    with urllib.request.urlopen(urllib.request.Request(address, body), timeout=30) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_a_shell_block_runs(block: Block, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    for line in shell_lines(block.text):
        words = shlex.split(place.here(line))
        if words[0] == "curl":
            json.loads(run_curl(words))
        else:
            assert words[0] == "triptych", f"cannot run {line!r}; it must be triptych or curl"
            run_triptych(words[1:], place)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_python_block_runs(block: Block, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    exec(compile(place.here(block.text), str(block), "exec"), {})


def test_the_quickstart_has_blocks_that_run() -> None:
    assert {block.language for block in RUNNABLE if block.page == "docs/quickstart.md"} == {"sh", "python"}
    assert {block.language for block in RUNNABLE if block.page == "README.md"} == {"sh", "python"}


def test_the_signatures_page_names_all_inputs_and_outputs(place: Place) -> None:
    from markdown_pages import REPO

    page = (REPO / "docs" / "reference" / "signatures.md").read_text(encoding="utf-8")
    with Client(f"127.0.0.1:{place.grpc}", "demo", timeout=30) as client:
        signatures = client.metadata().signatures
    own = {"text", "image", "audio", "mood", "like", "rating", "device"}  # of the demo's data, not of the contract
    for name, signature in signatures.items():
        assert f"`{name}`" in page
        for part in {*signature.inputs, *signature.outputs} - own:
            assert f"`{part}`" in page, f"{name}: {part}"
