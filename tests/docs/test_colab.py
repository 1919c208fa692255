"""The Colab notebook runs from the first cell to the last, on a small catalogue."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from plain import SMALL as PLAIN
from plain import make_plain_folder
from whole import SMALL

REPO = Path(__file__).resolve().parents[2]
ONLY_ON_COLAB = [
    "pip install --quiet --constraint here.txt",
    "%tensorboard",
    "drive.mount",
    "serve_kernel_port_as_iframe",
    "pip install --quiet --force-reinstall --no-deps tensorflow-tpu",
]


def notebook() -> nbformat.NotebookNode:
    return nbformat.read(REPO / "examples" / "colab.ipynb", as_version=4)


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def test_only_these_cells_are_left_out_of_the_run_below() -> None:
    left_out = [cell.source for cell in notebook().cells if "colab" in tags(cell)]
    assert len(left_out) == len(ONLY_ON_COLAB)
    for source, content in zip(left_out, ONLY_ON_COLAB, strict=True):
        assert content in source


def test_the_notebook_has_no_outputs() -> None:
    assert not [cell.source for cell in notebook().cells if cell.cell_type == "code" and cell.outputs]


@pytest.mark.matrix
@pytest.mark.slow
def test_every_other_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [
        *PLAIN,
        *SMALL,
        "demo.items=60",
        "demo.users=60",
        "demo.interactions=1500",
        "train.epochs=1",
    ]
    book = notebook()
    book.cells = [cell for cell in book.cells if "colab" not in tags(cell)]
    (parameters,) = [cell for cell in book.cells if "parameters" in tags(cell)]
    changes = " ".join(f"--set '{change}'" for change in small)
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    own = make_plain_folder(tmp_path / "own")  # in place of a folder on Drive
    parameters.source = f'WORK = "work"\nGRPC, REST = {ports}\nSMALLER = "{changes}"\nDATA = "{own}"'
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    nbclient.NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = "".join(
        output.get("text", "") for cell in book.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert "because of" in printed
    assert '"state": "AVAILABLE"' in printed
    for failure in ("Traceback", "No such command", "command not found", "Error:"):
        assert failure not in printed
    assert (tmp_path / "work" / "models" / "shop" / "1" / "saved_model.pb").is_file()
