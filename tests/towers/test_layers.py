"""Every public layer goes through the same checks; a layer without a row in the table fails the last one.

Graphs are traced without AutoGraph, as those of training and serving.
"""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from layer_cases import CASES, LABELS, NO_CASE, LayerCase

from towers.blocks.attention import RelativeAttention
from towers.encoders.base import Encoder, TextQueryEncoder
from towers.encoders.text import TextEncoder
from towers.fusion import Fusion
from towers.item import ItemTower
from towers.ranking import RankingHead

REPO = Path(__file__).resolve().parents[2]


def make(case: LayerCase) -> tf.keras.layers.Layer:
    tf.keras.utils.set_random_seed(7)
    return case.layer(**case.config)


def flat(value: object) -> list[np.ndarray]:
    return [part.numpy() for part in tf.nest.flatten(value)]


@pytest.fixture(params=CASES.items(), ids=lambda row: row[0])
def case(request: pytest.FixtureRequest) -> LayerCase:
    return request.param[1]


def test_config_survives_json_and_makes_the_same_layer(case: LayerCase) -> None:
    layer = make(case)
    config = json.loads(json.dumps(layer.get_config()))
    again = case.layer.from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    inputs = case.inputs(np.random.default_rng(0))
    layer(**inputs), again(**inputs)
    assert [v.shape for v in again.variables] == [v.shape for v in layer.variables]


def test_checkpoint_restores_the_same_answers(case: LayerCase, tmp_path: Path) -> None:
    inputs = case.inputs(np.random.default_rng(0))
    layer = make(case)
    expected = flat(layer(**inputs))
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "layer"))
    tf.keras.utils.set_random_seed(99)
    other = case.layer(**case.config)
    other(**inputs)
    tf.train.Checkpoint(layer=other).read(path).assert_existing_objects_matched()
    for a, b in zip(expected, flat(other(**inputs)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_eager_and_graph_agree(case: LayerCase) -> None:
    inputs = case.inputs(np.random.default_rng(1))
    layer = make(case)
    eager = flat(layer(**inputs))
    graph = flat(tf.function(lambda arguments: layer(**arguments), autograph=False)(inputs))
    for a, b in zip(eager, graph, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_compiles_under_xla(case: LayerCase) -> None:
    inputs = case.inputs(np.random.default_rng(1))
    layer = make(case)
    eager = flat(layer(**inputs))
    compiled = flat(tf.function(lambda arguments: layer(**arguments), autograph=False, jit_compile=True)(inputs))
    for a, b in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_output_has_the_documented_shape(case: LayerCase) -> None:
    outputs = make(case)(**case.inputs(np.random.default_rng(1)))
    if case.output is not None:
        assert tuple(outputs.shape) == case.output
    for part in flat(outputs):
        assert np.isfinite(part).all()


@pytest.mark.parametrize("name", [name for name, row in CASES.items() if row.values is not None])
def test_an_encoder_preprocesses_to_its_static_spec_and_encodes_to_its_dimension(name: str) -> None:
    row = CASES[name]
    layer = make(row)
    assert isinstance(layer, Encoder)
    values = row.values()
    prepared = tf.function(layer.preprocess, autograph=False)(values)
    assert prepared.dtype == layer.input_spec_static.dtype
    assert tuple(prepared.shape) == (len(values), *layer.input_spec_static.shape)
    encoded = layer(prepared)
    assert tuple(encoded.shape) == (len(values), layer.output_dim)
    assert np.isfinite(encoded.numpy()).all()


def test_every_public_layer_has_a_row() -> None:
    missing = []
    paths = [path for folder in ("", "blocks", "semantic") for path in sorted((REPO / "towers" / folder).glob("*.py"))]
    for path in paths:
        name = ".".join(path.relative_to(REPO).with_suffix("").parts)
        module = importlib.import_module(name) if path.stem != "__init__" else None
        for name, value in vars(module).items() if module else ():
            layer = inspect.isclass(value) and issubclass(value, tf.keras.layers.Layer)
            if not layer or value.__module__ != module.__name__ or issubclass(value, tf.keras.Model):
                continue
            if (
                value not in (Encoder, TextQueryEncoder, Fusion, RelativeAttention)
                and value not in NO_CASE
                and name not in CASES
            ):
                missing.append(name)
    assert not missing, f"add a row to tests/layer_cases.py for {missing}"


def text_encoder() -> TextEncoder:
    return make(CASES["TextEncoder"])


def test_text_padded_longer_encodes_alike() -> None:
    layer = text_encoder()
    short = tf.constant([[2, 5, 6, 3, 0]])
    long = tf.constant([[2, 5, 6, 3, 0, 0, 0, 0, 0, 0]])
    np.testing.assert_allclose(layer(short).numpy(), layer(long).numpy(), atol=1e-6)


def test_spans_are_parts_of_the_text_between_cls_and_sep() -> None:
    layer = text_encoder()
    cls, sep = 2, 3
    items = tf.constant([[cls, 5, 6, 7, 8, 9, 10, sep, 0, 0], [cls, 5, sep, 0, 0, 0, 0, 0, 0, 0], [cls, sep] + [0] * 8])
    seen = set()
    for step in range(20):
        spans = layer.spans(items, tf.constant([1, step])).numpy()
        assert spans.shape == (3, 6)
        for row, whole in zip(spans, items.numpy(), strict=True):
            end = row.tolist().index(sep)
            assert row[0] == cls
            assert (row[end + 1 :] == 0).all()
            body, text = row[1:end].tolist(), [token for token in whole.tolist() if token not in (0, cls, sep)]
            starts = [i for i in range(len(text) + 1) if text[i : i + len(body)] == body]
            assert starts, (body, text)
            assert len(body) >= min(3, len(text))
        seen.add(tuple(spans[0].tolist()))
    assert len(seen) > 3


def test_id_embedding_is_used_for_known_ids_only() -> None:
    case = CASES["ItemTower"]
    layer = make(case)
    inputs = case.inputs(np.random.default_rng(0))
    with_ids, _ = layer(**inputs)
    without, _ = layer(**{**inputs, "id_index": tf.constant([-1, -1, -1])})
    table = layer.id_embeddings.numpy()
    difference = with_ids.numpy() - without.numpy()
    np.testing.assert_allclose(difference, [table[0], table[4], np.zeros(8)], atol=1e-6)


def test_modality_dropout_never_takes_everything() -> None:
    layer = ItemTower(5, 2, 8, "attention", modality_dropout=0.9, id_dropout=0.0)
    presence = tf.constant([[True, True], [True, False], [False, False]])
    for _ in range(20):
        kept = layer._drop_modalities(presence).numpy()
        assert kept[0].any()
        assert kept[1].tolist() == [True, False]
        assert not kept[2].any()


def test_regression_predictions_stay_in_their_range_and_losses_ignore_unknown_labels() -> None:
    layer: RankingHead = make(CASES["RankingHead"])
    query, item = tf.random.normal([4, 8]) * 50, tf.random.normal([4, 8]) * 50
    rating = layer(query, item)["rating"].numpy()
    assert ((rating >= 1) & (rating <= 5)).all()
    labels = np.array([[1, 5], [np.nan, 3], [0, np.nan], [np.nan, np.nan]], np.float32)
    losses = layer.losses_of(query, item, tf.constant(labels), tf.ones(4), training=False)
    like, unit = layer(query, item)["like"].numpy(), (rating - 1) / 4
    # Cross-entropy over rows 0 and 2, squared error of the rating scaled to [0, 1] over rows 0 and 1.
    expected_like = -np.log(np.clip(like[0], 1e-7, 1)) - np.log(np.clip(1 - like[2], 1e-7, 1))
    expected_rating = (unit[0] - 1) ** 2 + (unit[1] - 0.5) ** 2
    counts = layer.counts_of(tf.constant(labels), tf.ones(4))
    assert {name: float(count) for name, count in counts.items()} == {"like": 2, "rating": 2}
    assert float(losses["like"]) == pytest.approx(expected_like, rel=1e-3)
    assert float(losses["rating"]) == pytest.approx(expected_rating, rel=1e-4)
    assert [row["name"] for row in LABELS] == list(losses)
