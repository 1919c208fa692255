"""The table of public layers: for each a constructor, its arguments and inputs to call it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecs.schema import History
from towers.blocks.attention import CausalAttention, HstuAttention
from towers.encoders.audio import AudioEncoder, UniformNoise
from towers.encoders.categories import CategoriesEncoder
from towers.encoders.convolution import ResidualTower
from towers.encoders.image import ImageEncoder
from towers.encoders.lora import LowRankDense
from towers.encoders.number import NumberEncoder
from towers.encoders.text import TextEncoder
from towers.encoders.vector import VectorEncoder
from towers.fusion import AttentionFusion, ConcatFusion, GatedFusion, TransformerFusion
from towers.item import ItemTower
from towers.ranking import RankingHead
from towers.semantic.codes import CodeEmbeddings, SemanticCodes
from towers.semantic.decoder import CodeDecoder
from towers.user import UserTower

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *(f"##{letter}" for letter in "abcdefgh")]
TEXT_SCHEMA = {"name": "text", "kind": "text", "params": {}}
TEXT_OPTIONS: dict[str, Any] = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 16,
    "dropout": 0.1,
    "max_tokens": 10,
    "query_tokens": 6,
    "pooling": "mean",
    "activation": "gelu_approximate",
    "lowercase": True,
    "checkpoint": None,
    "backbone": "bert",
}
LABELS = [
    {"name": "like", "task": "binary"},
    {"name": "rating", "task": "regression", "range": [1.0, 5.0]},
]
CONTEXT = [{"name": "device", "kind": "categories", "source": "column", "vocabulary": ["phone", "tv"]}]


@dataclass(frozen=True)
class LayerCase:
    """`inputs` makes the arguments of `call` from a random generator; `values` what `preprocess` takes, if it has one."""

    layer: Callable[..., tf.keras.layers.Layer]
    config: dict[str, Any]
    inputs: Callable[[np.random.Generator], dict[str, Any]]
    values: Callable[[], tf.Tensor] | None = None
    output: tuple[int, ...] | None = None
    random: bool = field(default=False)


def _f(rng: np.random.Generator, *shape: int) -> tf.Tensor:
    return tf.constant(rng.normal(size=shape).astype(np.float32))


def _fusion(layer: type) -> LayerCase:
    return LayerCase(
        layer,
        {"hidden_dim": 8},
        lambda rng: {"values": _f(rng, 3, 2, 8), "presence": tf.constant([[True, True], [True, False], [False, True]])},
    )


def _attention(layer: type) -> LayerCase:
    return LayerCase(
        layer,
        {"hidden_dim": 8, "num_heads": 2, "max_length": 5, "dropout": 0.1},
        lambda rng: {"inputs": _f(rng, 2, 4, 8), "time_gaps": tf.constant(rng.integers(0, 65, (2, 4, 4)), tf.int32)},
        output=(2, 4, 8),
    )


def _user_tower(block: str) -> LayerCase:
    return LayerCase(
        UserTower,
        {
            "hidden_dim": 8,
            "num_layers": 1,
            "num_heads": 2,
            "intermediate_dim": 16,
            "dropout": 0.1,
            "max_history": 4,
            "use_values": True,
            "use_time_gaps": True,
            "block": block,
            "context": CONTEXT,
        },
        lambda rng: {
            "history_embeddings": _f(rng, 2, 3, 8),
            "history": History(
                tf.zeros([2, 3], tf.int32),
                _f(rng, 2, 3),
                tf.constant(rng.integers(1, 9999, (2, 3))),
                tf.fill([2], 3),
            ),
            "now": tf.constant(rng.integers(9999, 99999, (2, 4))),
            "context": {"device": tf.constant([[0, 1, 2, 0], [2, 1, 0, 0]])},
        },
        output=(2, 4, 8),
    )


CASES: dict[str, LayerCase] = {
    "TextEncoder": LayerCase(
        TextEncoder,
        {"schema": TEXT_SCHEMA, "vocabulary": VOCABULARY, **TEXT_OPTIONS, "activation": "gelu"},
        lambda rng: {"inputs": tf.constant([[2, 5, 6, 3, 0, 0, 0, 0, 0, 0], [2, 7, 3, 0, 0, 0, 0, 0, 0, 0]])},
        lambda: tf.constant(["abba cafe", "", "gag"]),
        (2, 8),
    ),
    "TextEncoder of DistilBERT": LayerCase(
        TextEncoder,
        {"schema": TEXT_SCHEMA, "vocabulary": VOCABULARY, **TEXT_OPTIONS, "backbone": "distil_bert"},
        lambda rng: {"inputs": tf.constant([[2, 5, 6, 3, 0, 0, 0, 0, 0, 0], [2, 7, 3, 0, 0, 0, 0, 0, 0, 0]])},
        lambda: tf.constant(["abba cafe", "", "gag"]),
        (2, 8),
    ),
    "LowRankDense": LayerCase(
        LowRankDense,
        {"base": tf.keras.layers.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de"), "rank": 2, "alpha": 4.0},
        lambda rng: {"inputs": _f(rng, 2, 3, 8)},
        output=(2, 3, 2, 4),
    ),
    "ImageEncoder": LayerCase(
        ImageEncoder,
        {
            "schema": {"name": "image", "kind": "image", "params": {"size": 16}},
            "backbone": "small",
            "weights": None,
            "filters": [8, 16],
        },
        lambda rng: {"inputs": tf.constant(rng.integers(0, 256, (2, 16, 16, 3)), tf.uint8)},
        lambda: tf.zeros([3, 16, 16, 3], tf.uint8),
        (2, 16),
    ),
    "AudioEncoder": LayerCase(
        AudioEncoder,
        {
            "schema": {"name": "audio", "kind": "audio", "params": {"seconds": 0.25, "rate": 16000}},
            "mels": 16,
            "window": 400,
            "hop": 200,
            "fmin": 60.0,
            "fmax": 7600.0,
            "mask": 0.2,
            "filters": [8],
        },
        lambda rng: {"inputs": _f(rng, 2, 20, 16)},
        lambda: tf.zeros([3, 4000]),
        (2, 8),
    ),
    "VectorEncoder": LayerCase(
        VectorEncoder,
        {
            "schema": {"name": "v", "kind": "vector", "params": {"dim": 3, "mean": [1, 0, 0], "std": [2, 1, 1]}},
            "hidden_dim": 8,
            "dropout": 0.1,
        },
        lambda rng: {"inputs": _f(rng, 2, 3)},
        lambda: tf.zeros([4, 3]),
        (2, 8),
    ),
    "CategoriesEncoder": LayerCase(
        CategoriesEncoder,
        {
            "schema": {"name": "c", "kind": "categories", "params": {"vocabulary": ["x", "y"], "max_values": 3}},
            "hidden_dim": 8,
            "dropout": 0.1,
        },
        lambda rng: {"inputs": tf.constant([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])},
        lambda: tf.constant([["x", "y", ""], ["", "", ""]]),
        (2, 8),
    ),
    "NumberEncoder": LayerCase(
        NumberEncoder,
        {"schema": {"name": "n", "kind": "number", "params": {"mean": 3.0, "std": 2.0}}, "hidden_dim": 8},
        lambda rng: {"inputs": _f(rng, 2, 1)},
        lambda: tf.constant([1.0, 2.0]),
        (2, 8),
    ),
    "ResidualTower": LayerCase(
        ResidualTower, {"filters": [8, 16]}, lambda rng: {"inputs": _f(rng, 2, 9, 7, 2)}, output=(2, 16)
    ),
    "AttentionFusion": _fusion(AttentionFusion),
    "ConcatFusion": _fusion(ConcatFusion),
    "GatedFusion": _fusion(GatedFusion),
    "TransformerFusion": _fusion(TransformerFusion),
    "ItemTower": LayerCase(
        ItemTower,
        {
            "num_items": 5,
            "num_modalities": 2,
            "hidden_dim": 8,
            "fusion": "attention",
            "modality_dropout": 0.3,
            "id_dropout": 0.3,
        },
        lambda rng: {
            "encodings": [_f(rng, 3, 4), _f(rng, 3, 6)],
            "presence": tf.constant([[True, True], [True, False], [False, False]]),
            "id_index": tf.constant([0, 4, -1]),
        },
    ),
    "ItemTower with semantic IDs": LayerCase(
        ItemTower,
        {
            "num_items": 5,
            "num_modalities": 2,
            "hidden_dim": 8,
            "semantic_ids": "instead",
            "num_levels": 2,
            "num_codes": 4,
        },
        lambda rng: {
            "encodings": [_f(rng, 3, 4), _f(rng, 3, 6)],
            "presence": tf.constant([[True, True], [True, False], [False, False]]),
            "id_index": tf.constant([0, 4, -1]),
            "codes": tf.constant([[3, 0, 0], [1, 2, 7], [0, 0, 1]]),
        },
    ),
    "SemanticCodes": LayerCase(
        SemanticCodes,
        {"num_items": 3, "num_levels": 2, "num_codes": 4, "dims": [4, 6]},
        lambda rng: {
            "encodings": [_f(rng, 2, 4), _f(rng, 2, 6)],
            "presence": tf.constant([[True, True], [True, False]]),
        },
        output=(2, 2),
    ),
    "CodeEmbeddings": LayerCase(
        CodeEmbeddings,
        {"num_levels": 2, "num_codes": 4, "hidden_dim": 8, "scale": 0.1},
        lambda rng: {"codes": tf.constant([[3, 0], [1, 2], [0, 0]])},
        output=(3, 8),
    ),
    "CodeDecoder": LayerCase(
        CodeDecoder,
        {"num_levels": 3, "num_codes": 4, "hidden_dim": 8},
        lambda rng: {"query_embeddings": _f(rng, 2, 8), "codes": tf.constant([[3, 0, 1], [1, 2, 7]])},
        output=(2, 3, 4),
    ),
    "CausalAttention": _attention(CausalAttention),
    "HstuAttention": _attention(HstuAttention),
    "UserTower": _user_tower("transformer"),
    "UserTower of HSTU": _user_tower("hstu"),
    "RankingHead": LayerCase(
        RankingHead,
        {"labels": LABELS, "num_cross_layers": 2, "hidden_dim": 8, "dropout": 0.1},
        lambda rng: {"query_embeddings": _f(rng, 2, 3, 8), "item_embeddings": _f(rng, 2, 3, 8)},
    ),
}

# A layer without a configuration that anybody would restore: noise that has no weights.
NO_CASE = {UniformNoise}
