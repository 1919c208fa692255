"""Training on what users typed: a small model learns what they mean, and a whole run measures and exports it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_model
import tensorflow as tf

from pipelines.building import builder as build
from pipelines.config import load_config
from pipelines.evaluation.evaluator import evaluate
from pipelines.evaluation.text_slices import ALONE, WITH, WITHOUT
from pipelines.exporting import exporter as export
from pipelines.hybrid.trained_run import TrainedRun, load_trained
from pipelines.reporting.report_data import value_of
from pipelines.runs.run_folder import RunFolder
from pipelines.scoring.held_out import held_out_requests
from pipelines.scoring.requests import with_targets
from pipelines.training import trainer as train
from tfrecs.schema import History

ITEMS, USERS, EVENTS = 60, 50, 14
QUERIES = 24  # of a step of the small model
NICK = "qrstuvwx"  # letters of the nicknames; every text has them, so that the vocabulary knows them
SMALL = (
    "build.vocabulary_size=120",
    # The second text model goes through the export gate here, BERT in the files that use `whole`.
    "text.backbone=distil_bert",
    "text.num_layers=1",
    "text.hidden_dim=32",
    "text.intermediate_dim=32",
    "text.max_tokens=12",
    "text.query_tokens=8",
    "user.hidden_dim=32",
    "user.num_layers=1",
    "user.max_history=14",
    "user.stride=14",
    "cooccurrence.epochs=0",
    "train.epochs=1",
    "train.batch_size=10",
    "train.steps_per_call=1",
    "hybrid.regularizations=[100]",
    "hybrid.softness=[1]",
    "hybrid.content_weights=[30]",
    "evaluate.diversities=[0]",
    "evaluate.patterns=2",
    "export.parity_requests=30",
)


def asking(rng: np.random.Generator, codes: np.ndarray) -> dict[str, Any]:
    """A batch in which two of three events have a query, the code of the item; what is taken is random."""
    batch = small_model.batch(8, 8, seed=int(rng.integers(1 << 30)))
    index, target = batch["item_index"].numpy(), batch["target"].numpy()
    asked = target & (rng.random(target.shape) < 2 / 3)
    places = rng.permutation(np.flatnonzero(asked))[:QUERIES]
    position = np.pad(places, [0, QUERIES - len(places)], constant_values=-1)
    tokens = np.where((position >= 0)[:, None], codes[index.reshape(-1)[np.maximum(position, 0)]], [2, 3, 0, 0, 0, 0])
    own = {
        "queries": tokens.astype(np.int32),
        "query_position": position.astype(np.int32),
        "query_given": (position >= 0) & (rng.random(QUERIES) < 0.5),
        "has_query": asked,
        "span_index": np.full(8, -1, np.int32),  # No made query: what is learned is what was typed.
    }
    del batch["fresh"]
    return {**batch, **{name: tf.constant(value) for name, value in own.items()}}


@pytest.mark.matrix
@pytest.mark.slow
def test_a_query_that_names_the_item_raises_its_rank() -> None:
    # Content is not hidden here: it is not the point, and a short training has other things to learn.
    settings = small_model.config(
        train={"encoders": "frozen"}, retrieval={"search_weight": 1.0}, item={"modality_dropout": 0.0}
    )
    model, rng = small_model.model(settings), np.random.default_rng(4)
    # Two letters each: which item they mean, only those who type them know.
    pairs = [(first, second) for first in range(5, 13) for second in range(first + 1, 13)][:: 28 // small_model.ITEMS]
    codes = np.array([[2, *pair, 3, 0, 0] for pair in pairs[: small_model.ITEMS]], np.int32)
    model.compile(optimizer=tf.keras.optimizers.Adam(0.01))
    steps = [asking(rng, codes) for _ in range(40)]
    model.fit(
        tf.data.Dataset.from_generator(lambda: iter(steps), output_signature=_signature(steps[0])), epochs=12, verbose=0
    )

    table, _ = model.item_embeddings()
    count = small_model.ITEMS
    index = tf.constant(rng.integers(0, count, (count, small_model.LENGTH)), tf.int32)
    history = History(index, tf.fill(index.shape, 3.0), tf.zeros(index.shape, tf.int64), tf.fill([count], 4))
    text = model.encode_query(tf.constant(codes))

    def ranks(text: tf.Tensor | None) -> np.ndarray:
        states = model.query_embeddings(
            table,
            history,
            tf.zeros([count], tf.int64),
            {"device": tf.zeros([count], tf.int32)},
            model.encode_user({"age": tf.zeros([count, 1])}, tf.zeros([count, 1], tf.bool)),
            text,
        )
        scores = model.scores(states, table).numpy()
        return (scores > np.diag(scores)[:, None]).sum(axis=1)

    found = model.scores(text, table).numpy()
    assert (found > np.diag(found)[:, None]).sum(axis=1).mean() < 1  # 5.5 by chance
    assert ranks(text).mean() < 2 < 3.5 < ranks(None).mean(), (ranks(text), ranks(None))


def _signature(batch: dict[str, Any]) -> dict[str, Any]:
    return tf.nest.map_structure(tf.TensorSpec.from_tensor, batch)


def word(number: int, letters: str) -> str:
    return "".join(letters[number // len(letters) ** place % len(letters)] for place in range(4))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items have a name of the first letters and a nickname of others, which only users know: they type it before two of
    three events. What they take is random, so histories tell nothing."""
    root = tmp_path_factory.mktemp("has_query")
    rng = np.random.default_rng(0)
    (root / "data").mkdir()
    titles = "".join(f"i{item},{word(item, 'abcdefgh')} {NICK}\n" for item in range(ITEMS))
    (root / "data" / "items.csv").write_text(f"item_id,title\n{titles}")
    lines = []
    for user in range(USERS):
        for number, item in enumerate(rng.permutation(ITEMS)[:EVENTS]):
            query = word(int(item) * 5 + 3, NICK) if (user + number) % 3 else ""
            lines.append(f"u{user},i{item},{1_513_000_000 + 100 * number + user},{query}\n")
    (root / "data" / "interactions.csv").write_text("user_id,item_id,timestamp,query\n" + "".join(lines))
    config = load_config(None, SMALL)
    records = build.run(build.BuildJob(root / "data", root / "records", config)).out
    train.run(train.TrainJob(records, root / "run", config))
    return root / "run"


@pytest.fixture(scope="module")
def trained(run: Path) -> TrainedRun:
    return load_trained(RunFolder(run))


@pytest.mark.slow
def test_the_report_measures_requests_with_and_without_their_text(trained: TrainedRun) -> None:
    report = evaluate(trained, commands={}, curve=[])
    requests = held_out_requests(trained)
    assert requests.texts is not None
    asked = float((requests.texts != "").sum())
    assert 30 < asked < len(requests)
    for name in (WITH, WITHOUT, ALONE):
        assert report.slices[name]["queries"] == asked
    assert report.slices[WITH]["mrr"] != report.slices[WITHOUT]["mrr"]
    # Nicknames are in no text: of some 50 items, chance has a reciprocal rank of 0.09.
    assert value_of(report.baseline_slices["bm25"][ALONE], "mrr") < 0.2
    assert report.baseline_slices["popularity"][WITH]["queries"] == asked


@pytest.mark.slow
def test_the_slice_is_the_requests_with_a_text_as_they_are_ranked(trained: TrainedRun) -> None:
    requests = held_out_requests(trained)
    assert requests.texts is not None
    scorer = trained.scorer(requests)
    silent = trained.scorer(requests.without_texts())
    queries = with_targets(requests.queries)
    changed = np.abs(scorer(queries) - silent(queries)).max(axis=1) > 1e-3
    assert changed.tolist() == (requests.texts[queries.rows] != "").tolist()
    assert 0 < changed.sum() < len(changed)


@pytest.mark.slow
def test_the_export_answers_requests_with_a_text_as_python_does(run: Path, tmp_path: Path) -> None:
    # The gate sends the held-out requests with what was typed, and fails where an answer differs.
    done = export.run(export.ExportJob(run, tmp_path / "models" / "has_query"))
    assert done.gate.requests == 30
