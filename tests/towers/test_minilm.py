"""all-MiniLM-L6-v2: tokens and sentence embeddings are those of its publisher's own library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from layer_cases import TEXT_OPTIONS, TEXT_SCHEMA

from pipelines.config import load_config
from tfrecs.errors import DataError
from towers.encoders.bert_checkpoint import open_checkpoint
from towers.encoders.checkpoint_folder import installed_folder
from towers.encoders.text import TextEncoder

REFERENCE = Path(__file__).parents[1] / "helpers" / "data" / "minilm.json"


@pytest.fixture(scope="session")
def minilm() -> str:
    """The name of all-MiniLM-L6-v2, if a package with it is installed."""
    try:
        installed_folder("minilm")
    except DataError as error:
        pytest.skip(str(error))
    return "minilm"


@pytest.fixture(scope="session")
def sentences(minilm: str) -> tuple[TextEncoder, list[dict[str, Any]]]:
    """The encoder with its weights, and what torch and transformers say (tests/minilm_reference.py)."""
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    options = {**TEXT_OPTIONS, "checkpoint": minilm, "max_tokens": reference["max_tokens"], "query_tokens": 16}
    vocabulary = open_checkpoint(minilm).vocabulary
    encoder = TextEncoder(TEXT_SCHEMA, vocabulary, **TextEncoder.resolve_options(options))
    encoder.load_pretrained()
    return encoder, reference["rows"]


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_tokens_are_those_of_the_published_tokenizer(sentences: tuple[TextEncoder, list[dict[str, Any]]]) -> None:
    encoder, rows = sentences
    for row in rows:
        ids = encoder.preprocess(tf.constant([row["text"]])).numpy()[0]
        assert ids[ids != 0].tolist() == row["token_ids"], row["text"]


def test_sentence_embeddings_are_those_of_the_published_model(
    sentences: tuple[TextEncoder, list[dict[str, Any]]],
) -> None:
    encoder, rows = sentences
    ours = encoder(encoder.preprocess(tf.constant([row["text"] for row in rows]))).numpy()
    theirs = np.array([row["embedding"] for row in rows])
    assert (1 - cosine(ours, theirs)).max() < 1e-6
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    # The sentences themselves are far apart: agreement is not for free.
    assert cosine(theirs[0], theirs[5]) < 0.5


def test_a_short_query_finds_its_sentence(sentences: tuple[TextEncoder, list[dict[str, Any]]]) -> None:
    encoder, rows = sentences
    query = encoder(encoder.preprocess_query(tf.constant(["a film about a spaceman and a doll"]))).numpy()
    items = np.array([row["embedding"] for row in rows if row["text"]])
    assert int(np.argmax(cosine(query, items))) == 0


def test_its_adapters_are_under_two_percent_of_it(minilm: str) -> None:
    checkpoint = open_checkpoint(minilm)
    encoder = TextEncoder(TEXT_SCHEMA, checkpoint.vocabulary, **{**TEXT_OPTIONS, **checkpoint.shape})
    encoder(encoder.preprocess(tf.constant(["a film"])))
    train_config = load_config().train
    encoder.add_adapters(train_config.lora_rank, train_config.lora_alpha)
    trained = sum(int(tf.size(variable)) for variable in encoder.trainable_variables)
    # Six layers, two projections each, A [384, 8] and B [8, 384].
    assert trained == 6 * 2 * 2 * 8 * 384
    assert trained < 0.01 * encoder.count_params()
