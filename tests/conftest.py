"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import tfrecs  # noqa: F401  (the Keras guard runs before any test imports TensorFlow)
import pytest

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data sets; TRIPTYCH_DATA names it, `../shared/data` beside the clone is the default."""
    folder = Path(os.environ.get("TRIPTYCH_DATA", REPO.parent / "shared" / "data"))
    if not (folder / "README.md").is_file():
        pytest.skip(f"real data is not there ({folder}); set TRIPTYCH_DATA to its folder to run this test")
    return folder
