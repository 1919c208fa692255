"""All signatures of an export answer alike whatever the dtype of the table that they scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.serving.catalogue import MeanOfHistory
from serving.export_check.gate import ask_fresh_process, ops_in, unknown_ops
from serving.graph import contract
from serving.graph.item_table import BFLOAT16, FLOAT32, INT8, ItemTable
from serving.graph.signatures import ServingModule
from tfrecs.schema import History
from towers.hybrid import BIAS, POPULARITY, TOWER, HybridScore

SIZE, WIDTH = 45_000, 16


class Weighted(MeanOfHistory):
    """Scores that count half and a third by turns, and a popularity; texts are embedded as their number says."""

    has_text = True
    max_score_weight = 0.5

    def __init__(self, embeddings: np.ndarray, columns: int):
        self.rows = tf.constant(embeddings)
        self.popularity = tf.constant(np.random.default_rng(1).random(columns, np.float32))

    def text_embeddings(self, texts: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.rows, tf.strings.to_number(tf.where(texts == "", "0", texts), tf.int32))

    def hybrid_scores(self, scores: tf.Tensor, history: History) -> tf.Tensor:
        return scores * self.score_weights(tf.range(tf.shape(scores)[1])) + self.popularity

    def score_weights(self, index: tf.Tensor) -> tf.Tensor:
        return tf.where(index % 2 == 0, 0.5, 1 / 3)


def module(dtype: str) -> ServingModule:
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((SIZE, WIDTH), np.float32)
    embeddings[20_000:20_500] = embeddings[:500]  # ties
    categories = [["all", f"c{item % 5}", *(["rare"] if item % 9_000 == 0 else [])] for item in range(SIZE)]
    return ServingModule(
        Weighted(embeddings, -(-SIZE // 128) * 128),
        [f"i{item}" for item in range(SIZE)],
        embeddings,
        np.ones([SIZE, 1], np.float32),
        categories,
        pool=2,
        max_k=50_000,
        index_dtype=dtype,
    )


def requests() -> dict[str, tuple[str, dict[str, Any]]]:
    """What is asked -> signature and its inputs."""
    history = np.array([["i5", "i77", "nobody", "i20003"]], object)
    plain = {
        "history_ids": history,
        "history_values": np.ones([1, 4], np.float32),
        "history_times": np.zeros([1, 4], np.int64),
        "now": np.zeros([1], np.int64),
        "query": np.array([""], object),
        "exclude_ids": np.array([["i9", "i8"]], object),
        "categories": np.array([[""]], object),
        "diversity": np.zeros([1], np.float32),
    }
    k = {"k": np.array([12], np.int32)}

    def recommend(**changes: Any) -> tuple[str, dict[str, Any]]:
        return contract.RECOMMEND, {**plain, **k, **changes}

    two = {name: np.concatenate([value, value]) for name, value in (plain | k).items()}
    return {
        "recommend": recommend(),
        "recommend to two": recommend(**two),
        "recommend of a category": recommend(categories=np.array([["c3"]], object)),
        "recommend of a category of five items": recommend(categories=np.array([["rare"]], object)),
        "recommend of no known category": recommend(categories=np.array([["unheard of"]], object)),
        "recommend what differs": recommend(diversity=np.full([1], 0.4, np.float32)),
        "recommend more than there is": recommend(k=np.array([SIZE + 7], np.int32)),
        "recommend to nobody": recommend(history_ids=np.array([[""] * 4], object)),
        "rank": (contract.RANK, {**plain, "candidate_ids": np.array([["i1", "nobody", "i44999", "i2"]], object)}),
        "search": (contract.SEARCH, {"query": np.array(["7"], object), **k}),
        "search for nothing": (contract.SEARCH, {"query": np.array([""], object), **k}),
        "similar": (contract.SIMILAR, {"item_ids": np.array(["i3"], object), **k}),
        "similar to two": (contract.SIMILAR, {"item_ids": np.array(["i3", "nobody"], object), "k": two["k"]}),
    }


def ask(signatures: dict[str, Any], signature: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in signatures[signature](**tensors(inputs)).items()}


def tensors(inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
    return {key: tf.constant(value) for key, value in inputs.items()}


def assert_alike(answer: dict[str, np.ndarray], expected: dict[str, np.ndarray], what: str) -> None:
    assert set(answer) == set(expected)
    np.testing.assert_allclose(answer["scores"], expected["scores"], rtol=1e-5, atol=1e-5, err_msg=what)
    for name in set(answer) & {"ids", "because_ids"}:
        # Sums of floats may differ in the last digit; where many items are listed some of them change places.
        assert (answer[name] != expected[name]).mean() < (0.01 if answer[name].shape[1] > 100 else 1e-9), what


@pytest.mark.parametrize("dtype", [BFLOAT16, INT8])
def test_every_signature_answers_as_with_float32(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ItemTable, "LEAST_ITEMS", 0)
    made = module(dtype)
    assert made.table.dtype == dtype
    scanned, plain = made.signatures(), module(FLOAT32).signatures()
    for what, (signature, inputs) in requests().items():
        assert_alike(ask(scanned, signature, inputs), ask(plain, signature, inputs), what)


@pytest.mark.parametrize("cold_weight", [0.0, 0.2, 0.7])
def test_the_hybrid_score_tells_what_the_scores_of_the_towers_count(cold_weight: float) -> None:
    """Raising them by 2 raises the hybrid score by twice their weight, whatever else is added; 0.7 is that of warm items."""
    is_cold = np.array([False, True, False])
    weights = {TOWER: 0.7, POPULARITY: 0.1}
    score = HybridScore({}, {}, np.float32([3, 2, 1]), is_cold, weights, {TOWER: cold_weight, BIAS: 1.0}, {})
    scores, index, count = tf.constant([[1.0, 2.0, 3.0]]), tf.zeros([1, 1], tf.int32), tf.zeros([1], tf.int32)
    raised = score(scores + 2, index, count) - score(scores, index, count)
    told = score.tower_weights(tf.constant([[0, 1, 2]])).numpy()
    np.testing.assert_allclose(told, [[0.7, cold_weight, 0.7]], rtol=1e-6)
    np.testing.assert_allclose(raised, 2 * told, rtol=1e-5)


@pytest.mark.matrix
@pytest.mark.slow
def test_a_saved_model_has_only_ops_of_stock_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ItemTable, "LEAST_ITEMS", 0)
    made = module(INT8)
    signatures = made.signatures()
    tf.saved_model.save(made, str(tmp_path / "1"), signatures=signatures)
    assert not unknown_ops(ops_in(tmp_path / "1"))
    signature, inputs = requests()["recommend"]
    served = ask_fresh_process(tmp_path / "1", {signature: inputs}).outputs[signature]
    expected = ask(signatures, signature, inputs)
    np.testing.assert_allclose(served["scores"], expected["scores"], rtol=1e-5)
    assert served["ids"].tolist() == expected["ids"].tolist()
