"""What one stack of Python and TensorFlow made is served alike by the others: see `tests/matrix.py`, which runs this."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from whole import Whole

from pipelines.exporting.sample_requests import recommend_inputs
from pipelines.model.session import Session
from pipelines.scoring.held_out import held_out_requests
from serving.export_check.gate import ask_fresh_process
from serving.graph.contract import RECOMMEND, SEARCH

EXPORTS = "TRIPTYCH_EXPORTS"  # the folder that the stacks share; each writes <Python's version>/{1/, requests.npz, answers.npz}


@pytest.fixture(scope="module")
def exports() -> Path:
    if EXPORTS not in os.environ:
        pytest.skip(f"`make matrix` runs this on several stacks; {EXPORTS} names the folder that they share")
    return Path(os.environ[EXPORTS])


def test_an_export_is_kept_for_the_other_stacks(whole: Whole, session: Session, exports: Path) -> None:
    requests = held_out_requests(session)
    rows = np.arange(8)
    samples = {
        RECOMMEND: recommend_inputs(session.manifest.schema_, session.catalogue.ids, requests, rows, 10),
        SEARCH: {"query": np.array(["quiet night", "naïve 红茶 café"]), "k": np.full([2], 5, np.int32)},
    }
    answers = ask_fresh_process(whole.export.path, samples)
    folder = exports / os.environ["TRIPTYCH_STACK"]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole.export.path, folder / "1")
    for name, arrays in (("requests", samples), ("answers", answers.outputs)):
        np.savez(
            folder / f"{name}.npz",
            **{f"{part}/{key}": value for part, named in arrays.items() for key, value in named.items()},
        )


def test_exports_of_the_other_stacks_give_the_answers_that_they_gave_there(exports: Path) -> None:
    folders = sorted(path.parent for path in exports.glob("*/answers.npz"))
    compared = {}
    for folder in folders:
        samples: dict[str, dict[str, np.ndarray]] = {}
        for key, value in np.load(folder / "requests.npz", allow_pickle=True).items():
            signature, name = key.split("/")
            samples.setdefault(signature, {})[name] = value
        answers = ask_fresh_process(folder / "1", samples).outputs
        expected = np.load(folder / "answers.npz", allow_pickle=True)
        scores = answers[RECOMMEND]["scores"], expected[f"{RECOMMEND}/scores"]
        np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(answers[SEARCH]["scores"], expected[f"{SEARCH}/scores"], rtol=1e-4, atol=1e-4)
        assert (answers[RECOMMEND]["ids"] == expected[f"{RECOMMEND}/ids"]).mean() > 0.95  # equal scores may swap
        compared[folder.name] = float(np.abs(scores[0] - scores[1]).max())
    assert compared
    report = exports / f"loaded-{os.environ['TRIPTYCH_STACK']}.json"
    report.write_text(json.dumps(compared))
