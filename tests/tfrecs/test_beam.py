"""Records made by a Beam pipeline are byte for byte those of the local build."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from build_command import build_arguments, run_build
from click.testing import CliRunner
from small_folder import digests, make_folder

from pipelines.cli import main

pytestmark = pytest.mark.slow
needs_beam = pytest.mark.skipif(
    find_spec("apache_beam") is None,
    reason="apache-beam is not installed: beside TensorFlow it is on Python 3.10 and 3.11",
)


@needs_beam
@pytest.mark.parametrize(
    "options",
    [
        (),
        pytest.param(
            ("--", "--direct_running_mode=multi_threading", "--direct_num_workers=2"), marks=pytest.mark.matrix
        ),
    ],
)
def test_the_direct_runner_gives_the_bytes_of_the_local_build(tmp_path: Path, options: tuple[str, ...]) -> None:
    data = make_folder(tmp_path / "data")
    (data / "images" / "3.png").write_bytes(b"no picture")
    local = CliRunner().invoke(main, build_arguments(data, tmp_path / "local", "--max-bad", "0.1"))
    assert local.exit_code == 0, local.output
    remote = run_build(data, tmp_path / "beam", "--max-bad", "0.1", "--runner", "DirectRunner", *options)
    assert remote.returncode == 0, remote.stderr
    assert digests(tmp_path / "beam") == digests(tmp_path / "local")
    manifest = json.loads((tmp_path / "beam" / "manifest.json").read_text())
    assert len(manifest["item_shards"]) == 4
    assert manifest["rejected"] == {"image: cannot be encoded": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beam", "data", "local"]


@needs_beam
def test_an_unknown_runner_is_one_line(tmp_path: Path) -> None:
    done = run_build(make_folder(tmp_path / "data"), tmp_path / "out", "--runner", "NoSuchRunner")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("triptych: --runner NoSuchRunner: ")
    assert not (tmp_path / "out").exists()


def test_without_beam_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam", None)  # Python's own way to say that there is none.
    data = make_folder(tmp_path / "data")
    done = CliRunner().invoke(main, build_arguments(data, tmp_path / "out", "--runner", "DirectRunner"))
    assert done.exit_code == 2
    assert "needs Apache Beam" in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--append", "--runner", "DirectRunner"), "--append works on this machine"),
        (("--", "--direct_num_workers=2"), "belong to a --runner"),
    ],
)
def test_runner_options_that_go_nowhere_are_refused(tmp_path: Path, more: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(main, build_arguments(make_folder(tmp_path / "data"), tmp_path / "out", *more))
    assert done.exit_code == 2
    assert message in done.output
