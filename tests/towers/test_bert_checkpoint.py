"""BERT from a folder: its forward pass, and one line where the encoder cannot be what the folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf
from layer_cases import TEXT_OPTIONS, TEXT_SCHEMA, VOCABULARY
from small_bert import by_hand, hugging_face

from tfrecs.errors import DataError
from towers.encoders.bert_checkpoint import assign, bert_variables, open_checkpoint
from towers.encoders.text import TextEncoder


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_the_forward_pass_is_berts(tmp_path: Path, prefix: str) -> None:
    folder = hugging_face(tmp_path, prefix)
    encoder = TextEncoder(
        TEXT_SCHEMA,
        VOCABULARY,
        **TextEncoder.resolve_options({**TEXT_OPTIONS, "checkpoint": str(folder), "num_layers": 7}),
    )
    encoder.load_pretrained()
    ids = [2, 5, 7, 6, 3]
    np.testing.assert_allclose(encoder(tf.constant([ids + [0] * 5])).numpy()[0], by_hand(folder, ids), atol=2e-5)


def test_pooling_cls_is_the_state_of_the_first_token() -> None:
    encoder = TextEncoder(TEXT_SCHEMA, VOCABULARY, **{**TEXT_OPTIONS, "pooling": "cls"})
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
    options = TextEncoder.resolve_options(
        {**TEXT_OPTIONS, "checkpoint": str(tmp_path), "num_layers": 3, "hidden_dim": 64}
    )
    encoder = TextEncoder(TEXT_SCHEMA, VOCABULARY, **options)
    encoder.load_pretrained()
    ids = tf.constant([[2, 5, 7, 6, 3, 0]])
    inputs = {"token_ids": ids, "segment_ids": tf.zeros_like(ids), "padding_mask": ids != 0}
    np.testing.assert_allclose(encoder.states(ids), backbone(inputs)["sequence_output"], atol=1e-6)


def test_weights_of_another_shape_are_refused() -> None:
    encoder = TextEncoder(TEXT_SCHEMA, VOCABULARY, **TEXT_OPTIONS)
    weights = {name: variable.numpy() for name, variable in bert_variables(encoder.backbone).items()}
    weights["0/query/bias"] = np.zeros([4, 2])
    with pytest.raises(
        DataError, match=r"^DIR: 0/query/bias is \(4, 2\) where \(2, 4\) is expected: its weights are not"
    ):
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
        TextEncoder.resolve_options({**TEXT_OPTIONS, "checkpoint": str(folder)})
    assert "\n" not in str(error.value)


def test_another_pooling_than_the_checkpoints_is_refused(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}'
    )
    with pytest.raises(DataError, match=r"--set text.pooling=cls"):
        TextEncoder.resolve_options({**TEXT_OPTIONS, "checkpoint": str(folder)})


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"nowhere: no such folder, and no preset of BERT; there are minilm, bert_tiny_en_uncased"
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


def test_a_checkpoint_does_not_go_with_another_backbone(tmp_path: Path) -> None:
    options = {**TEXT_OPTIONS, "checkpoint": str(hugging_face(tmp_path)), "backbone": "distil_bert"}
    with pytest.raises(DataError, match=r"checkpoints are of BERT; --set text.backbone=bert"):
        TextEncoder.resolve_options(options)
