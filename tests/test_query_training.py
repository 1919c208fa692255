"""A model trained on what users typed finds what they meant, where nothing in the items' texts says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines import build, export, train
from pipelines.config import load_config
from pipelines.evaluate import evaluate, held_out_requests
from pipelines.heldout import with_targets
from pipelines.hybrid import trained_scorer
from pipelines.run_folder import RunFolder
from pipelines.session import Session, load_trained
from pipelines.text_slices import ALONE, WITH, WITHOUT

ITEMS, USERS, EVENTS = 60, 50, 14
SMALL = (
    "build.vocabulary_size=120",
    "text.layers=1",
    "text.width=32",
    "text.feed_forward=32",
    "text.max_tokens=12",
    "text.query_tokens=8",
    "user.width=32",
    "user.layers=1",
    "user.history=14",
    "user.stride=14",
    "cooccurrence.epochs=0",
    "train.epochs=12",
    "train.learning_rate=0.01",
    "train.batch=10",
    "retrieval.queries=60",
    "evaluate.patterns=2",
    "export.parity_requests=30",
)


def word(number: int, letters: str) -> str:
    return "".join(letters[number // len(letters) ** place % len(letters)] for place in range(4))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items have a text of one half of the alphabet and a nickname of the other, which only users know: they type it
    before two of three events. What they take is random, so histories tell nothing."""
    root = tmp_path_factory.mktemp("asked")
    rng = np.random.default_rng(0)
    (root / "data").mkdir()
    titles = "".join(f"i{item},{word(item, 'abcdefgh')} {word(item * 7 + 1, 'klmnop')}\n" for item in range(ITEMS))
    (root / "data" / "items.csv").write_text(f"item_id,title\n{titles}")
    lines = []
    for user in range(USERS):
        for number, item in enumerate(rng.permutation(ITEMS)[:EVENTS]):
            query = word(int(item) * 5 + 3, "qrstuvwx") if (user + number) % 3 else ""
            lines.append(f"u{user},i{item},{1000 + 100 * number + user},{query}\n")
    (root / "data" / "interactions.csv").write_text("user_id,item_id,timestamp,query\n" + "".join(lines))
    config = load_config(None, SMALL)
    records = build.run(build.BuildJob(root / "data", root / "records", config)).out
    train.run(train.TrainJob(records, root / "run", config))
    return root / "run"


@pytest.fixture(scope="module")
def trained(run: Path) -> Session:
    return load_trained(RunFolder(run))


def test_a_query_that_names_the_item_raises_its_rank(trained: Session) -> None:
    report = evaluate(trained, commands={}, curve=[])
    slices = report.slices
    asked = slices[WITH]["queries"]
    assert slices[WITHOUT]["queries"] == slices[ALONE]["queries"] == asked > 30
    # Of some 50 items left, chance has a reciprocal rank of 0.09.
    assert slices[WITHOUT]["mrr"] < 0.2
    assert slices[WITH]["mrr"] > 0.5
    assert slices[ALONE]["mrr"] > 0.5
    # The items' own words never say the nickname.
    assert report.baseline_slices["bm25"][ALONE]["mrr"] < 0.2
    assert report.baseline_slices["popularity"][WITH]["queries"] == asked


def test_the_slice_is_the_requests_with_a_text_as_they_are_ranked(trained: Session) -> None:
    requests = held_out_requests(trained)
    assert requests.texts is not None
    scorer = trained_scorer(trained, requests)
    silent = trained_scorer(trained, requests.without_texts())
    queries = with_targets(requests.queries)
    changed = np.abs(scorer(queries) - silent(queries)).max(axis=1) > 1e-3
    assert changed.tolist() == (requests.texts[queries.rows] != "").tolist()
    assert 0 < changed.sum() < len(changed)


def test_the_export_answers_requests_with_a_text_as_python_does(run: Path, tmp_path: Path) -> None:
    # The gate sends the held-out requests with what was typed, and fails where an answer differs.
    done = export.run(export.ExportJob(run, tmp_path / "models" / "asked"))
    assert done.gate.requests == 30
