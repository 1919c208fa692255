"""The client as a package of its own: it installs without TensorFlow and queries a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from toy_models import export_shop, place
from toy_server import running

pytestmark = pytest.mark.slow

REPO = Path(__file__).resolve().parents[2]

ASK = """
import sys, time

HEAVY = {"tensorflow", "tensorflow_serving", "pandas", "keras", "tf_keras", "yaml", "click", "pipelines", "towers"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Absent())
begin = time.process_time()
import serving.client
seconds = time.process_time() - begin
with serving.client.Client(sys.argv[1], "shop", timeout=20.0) as client:
    print(*(item.id for item in client.recommend(history_ids=["x"], k=3)))
print(serving.client.__file__)
print(seconds)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install` puts into site-packages."""
    base = tmp_path_factory.mktemp("package")
    for room in ("serving", "tfrecs"):  # a copy: a build leaves files beside its sources
        shutil.copytree(REPO / room, base / "clone" / room, ignore=shutil.ignore_patterns("__pycache__", "build"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(base)]
    subprocess.run([*command, str(base / "clone" / "serving" / "client_package")], check=True, capture_output=True)
    (wheel,) = base.glob("triptych_client-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(base / "site")
    return base / "site"


def test_the_package_holds_the_client_and_nothing_that_needs_tensorflow(installed: Path) -> None:
    there = {str(path.relative_to(installed)) for path in installed.rglob("*.py")}
    assert {"serving/client/client.py", "serving/client/aio.py", "serving/client/calls.py", "tfrecs/schema.py"} <= there
    assert not {"serving/server/server.py", "serving/graph/signatures.py", "tfrecs/build/builder.py"} & there
    assert (installed / "serving" / "wire" / "stubs" / "definitions.pb").is_file()


def test_the_package_asks_a_server_where_nothing_of_tensorflow_is_installed(installed: Path, tmp_path: Path) -> None:
    place(export_shop(tmp_path / ".shop"), tmp_path / "models" / "shop", 1)
    with running(tmp_path / "models") as server:
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        runs = [
            subprocess.run(
                [sys.executable, "-c", ASK, server.address],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
            )
            for _ in range(3)
        ]
    assert [done.stderr for done in runs] == [""] * 3
    lines = [done.stdout.splitlines() for done in runs]
    assert {line[0] for line in lines} == {"a b c"}
    assert {Path(line[1]).parents[2] for line in lines} == {installed}
    # Processor time, the least of three: what else runs on the machine is not the client's doing.
    assert min(float(line[2]) for line in lines) < 0.5
