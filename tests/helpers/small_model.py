"""A small two-tower with text and vector items, and batches for it, without any file."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from layer_cases import VOCABULARY

from pipelines.config import Config, validate
from pipelines.model.model_factory import make_encoders, make_model
from pipelines.training.input_pipeline import sample_candidates, shares_of
from tfrecs.schema import ContextSchema, FeatureSchema, LabelSchema, Schema
from towers.optimizer import ScaledAdamW
from towers.two_tower import TwoTower

ITEMS, LENGTH = 12, 6
SCHEMA = Schema(
    items=(
        FeatureSchema(name="words", kind="text"),
        FeatureSchema(name="feel", kind="vector", params={"dim": 4, "mean": [0] * 4, "std": [1] * 4}),
    ),
    users=(FeatureSchema(name="age", kind="number", params={"mean": 30.0, "std": 10.0}),),
    labels=(
        LabelSchema(name="like", task="binary"),
        LabelSchema(name="rating", task="regression", range=(1.0, 5.0)),
    ),
    context=(
        ContextSchema(name="hour", kind="categories", source="time", vocabulary=tuple(map(str, range(24)))),
        ContextSchema(name="device", kind="categories", source="column", vocabulary=("phone", "tv")),
    ),
    value_mean=3.0,
    value_std=1.0,
)

WEIGHTED = SCHEMA.model_copy(update={"has_weights": True, "value_mean": 0.5})


def config(**sections: dict[str, Any]) -> Config:
    """Small, and without dropout, so that two ways to the same step give the same numbers."""
    values: dict[str, dict[str, Any]] = {
        "text": {
            "num_layers": 1,
            "num_heads": 2,
            "hidden_dim": 16,
            "intermediate_dim": 16,
            "dropout": 0,
            "max_tokens": 8,
            "query_tokens": 6,
        },
        "vector": {"hidden_dim": 8, "dropout": 0},
        "item": {"modality_dropout": 0, "id_dropout": 0},
        "user": {"hidden_dim": 16, "num_layers": 1, "intermediate_dim": 16, "dropout": 0, "max_history": LENGTH},
        "ranking": {"hidden_dim": 8, "dropout": 0, "weight": 0.5},
        # Nearly always: dropout of the query would draw different numbers in each replica.
        "retrieval": {"query_rate": 0.999999},
        "train": {"encoders": "finetune"},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return validate(values, "test")


def model(
    settings: Config, seed: int = 3, schema: Schema = SCHEMA, precision: str = "float32", filled: bool = True
) -> TwoTower:
    """A model; `filled`: with random encodings."""
    tf.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    presence = rng.random((ITEMS, 2)) < 0.8
    counts = rng.integers(0, 5, ITEMS)
    counts[0] = 0
    result = make_model(
        settings,
        schema,
        make_encoders(schema.items, settings, VOCABULARY, precision),
        make_encoders(schema.users, settings, VOCABULARY, precision),
        presence,
        counts,
        rng.integers(1, 20_000, ITEMS),
        precision,
    )
    if filled:
        result.fill_cache(
            {name: rng.normal(size=cache.shape).astype(np.float32) for name, cache in result.cache.items()}
        )
    return result


def batch(size: int, fresh: int, seed: int = 0) -> dict[str, Any]:
    """A batch as `TrainingFeed` makes it; the fresh items of its two halves are different ones."""
    rng = np.random.default_rng(seed)
    count = rng.integers(2, LENGTH + 1, size)
    inside = np.arange(LENGTH)[None] < count[:, None]
    index = np.where(inside, rng.integers(0, ITEMS, (size, LENGTH)), 0).astype(np.int32)
    labels = np.stack([rng.integers(0, 2, (size, LENGTH)), rng.integers(1, 6, (size, LENGTH))], axis=-1).astype(
        np.float32
    )
    labels[rng.random((size, LENGTH)) < 0.3] = np.nan
    tokens = rng.integers(5, len(VOCABULARY), (fresh, 8)).astype(np.int32)
    tokens[:, 0], tokens[:, -1] = 2, 3
    value: dict[str, Any] = {
        "item_index": index,
        "values": np.where(inside, rng.integers(1, 6, (size, LENGTH)), 0).astype(np.float32),
        "times": np.where(inside, np.cumsum(rng.integers(1, 9999, (size, LENGTH)), axis=1), 0).astype(np.int64),
        "target": inside,
        "segment": np.where(inside, 0, -1).astype(np.int32),
        "positive": rng.random((size, LENGTH)) < 0.8,
        "labels": labels,
        "context": {"device": rng.integers(0, 3, (size, LENGTH)).astype(np.int32)},
        "user": {"age": rng.normal(size=(size, 1, 1)).astype(np.float32)},
        "user_presence": rng.random((size, 1, 1)) < 0.5,
        "fresh_index": np.concatenate([rng.permutation(ITEMS)[: fresh - 1], [-1]]).astype(np.int32),
        "fresh": {"words": tokens, "feel": rng.normal(size=(fresh, 4)).astype(np.float32)},
        "spans": tokens[:, :6],
    }
    return tf.nest.map_structure(tf.constant, value)


def with_candidates(whole: dict[str, Any], uniform: int = 4) -> dict[str, Any]:
    """The batch for the in-batch softmax: its items and those drawn as positions in the candidates."""
    fresh = whole["fresh_index"]
    index = tf.concat([tf.reshape(whole["item_index"], [-1]), tf.maximum(fresh, 0)], axis=0)
    is_event = tf.concat([tf.reshape(whole["segment"] >= 0, [-1]), fresh >= 0], axis=0)
    shares = shares_of(np.ones(ITEMS))
    candidates, position, log_sampled = sample_candidates(
        index[None], is_event[None], shares, uniform, tf.constant([1, 2], tf.int64)
    )
    events, fresh_position = tf.split(position[0], [tf.size(whole["item_index"]), tf.size(fresh)])
    return {
        **whole,
        "item_index": tf.reshape(events, whole["item_index"].shape),
        "fresh_index": tf.where(fresh >= 0, fresh_position, -1),
        "candidates": candidates,
        "log_sampled": log_sampled,
    }


def events_alone(whole: dict[str, Any]) -> dict[str, Any]:
    """The batch for frozen encoders: no item and no text in it is encoded, which is most of what a step takes to trace."""
    return {name: value for name, value in whole.items() if name not in ("fresh", "spans")}


def half(whole: dict[str, Any], part: int) -> dict[str, Any]:
    """The first or second half of every tensor: what one of two replicas gets."""
    shared = {name: whole[name] for name in ("candidates", "log_sampled") if name in whole}
    parts = {name: value for name, value in whole.items() if name not in shared}
    return {**tf.nest.map_structure(lambda value: tf.split(value, 2)[part], parts), **shared}


def weights(model: TwoTower) -> list[tuple[str, np.ndarray]]:
    """In the order of creation; Keras numbers names over the whole process, so names tell nothing across models."""
    return [(variable.name, variable.numpy()) for variable in model.trainable_variables]


def assert_same_weights(first: TwoTower, second: TwoTower, tolerance: float) -> None:
    for (name, a), (_, b) in zip(weights(first), weights(second), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, err_msg=name)


def sgd_step(model: TwoTower, batch: dict, jit: bool = False) -> float:
    model.compile(optimizer=tf.keras.optimizers.SGD(0.1), jit_compile=jit)
    history = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    return history.history["loss"][0]


def compile_with_rows(model: TwoTower, **options: Any) -> None:
    optimizer = ScaledAdamW(
        0.01,
        weight_decay=0.0,
        scale=lambda _: 1.0,
        tables=model.item_tower.tables,
        use_ema=True,
        ema_momentum=0.5,
        epsilon=1e-3,  # or the sign of a gradient that is zero but for rounding would count
    )
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, **options)


def with_own(batch: dict[str, Any], positions: list[int]) -> dict[str, Any]:
    """The batch, where the events at these positions have a query."""
    rng = np.random.default_rng(2)
    count, size = len(positions), batch["item_index"].shape[0] * LENGTH
    asked = np.isin(np.arange(size), positions).reshape(-1, LENGTH)
    tokens = rng.integers(5, len(VOCABULARY), (count, 6)).astype(np.int32)
    tokens[:, 0], tokens[:, -1] = 2, 3
    index, target = batch["item_index"].numpy(), batch["target"].numpy()
    fresh = batch["fresh_index"].numpy()
    own = {
        "queries": tokens,
        "query_position": np.array(positions, np.int32),
        "query_given": np.array(positions) >= 0,
        "has_query": asked & target,
        "span_index": np.where(np.isin(fresh, index[target & ~asked]), fresh, -1),
    }
    return {**batch, **tf.nest.map_structure(tf.constant, own)}


def weighted(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch, its event values weights, explicit negatives among them."""
    values = np.random.default_rng(1).choice(np.float32([-1, 0, 0.2, 3]), batch["values"].shape)
    return batch | {"values": tf.where(batch["target"], values, 0.0), "positive": batch["target"] & (values > 0)}
