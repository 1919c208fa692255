"""Adapters of keras-nlp's text models: one class per model, one row in `BACKBONES`.

An adapter knows what tells one keras-nlp model from another: its tokenizer, made from the lines of the records'
vocabulary file, which are opaque to everything else, and the inputs and layers of its backbone. To add a model, write an
adapter and its row here, and name it in `TextConfig.backbone`.
"""

from __future__ import annotations

import abc
import contextlib
import io
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

with contextlib.redirect_stdout(io.StringIO()):  # A dependency prints the backend's name at import.
    import keras_nlp


class TextBackbone(abc.ABC):
    """Adapter of one keras-nlp text model. It has no state: the encoder owns tokenizer and model."""

    @abc.abstractmethod
    def tokenizer(self, assets: Sequence[str], lowercase: bool) -> tf.keras.layers.Layer:
        """Make the tokenizer, with `cls_token_id`, `sep_token_id`, `pad_token_id` and `mask_token_id`.

        Args:
          assets: lines of the records' vocabulary file.
          lowercase: whether the vocabulary is uncased; then accents are stripped. The strings are in lower case already.
        """

    @abc.abstractmethod
    def model(self, **shape: Any) -> tf.keras.Model:
        """Make the model: `inputs` -> contextual embeddings float [B, T, hidden_dim].

        Args:
          **shape: vocabulary_size, num_layers, num_heads, hidden_dim, intermediate_dim, dropout and
            max_sequence_length, as of keras-nlp's backbones.
        """

    @abc.abstractmethod
    def inputs(self, token_ids: tf.Tensor, padding_mask: tf.Tensor) -> dict[str, tf.Tensor]:
        """The model's inputs for token ids int32 [B, T] and padding mask bool [B, T]."""

    @abc.abstractmethod
    def token_embedding(self, model: tf.keras.Model) -> tf.keras.layers.Layer:
        """The `keras_nlp.layers.ReversibleEmbedding` of a model that this adapter made."""


class BertText(TextBackbone):
    """BERT (Devlin et al., 2019, arXiv:1810.04805) with a single segment and without the pooler on [CLS], which was made
    for pairs of sentences."""

    def tokenizer(self, assets: Sequence[str], lowercase: bool) -> tf.keras.layers.Layer:
        return keras_nlp.models.BertTokenizer(vocabulary=list(assets), strip_accents=lowercase)

    def model(self, **shape: Any) -> tf.keras.Model:
        backbone = keras_nlp.models.BertBackbone(num_segments=1, **shape)
        return tf.keras.Model(backbone.input, backbone.output["sequence_output"])

    def inputs(self, token_ids: tf.Tensor, padding_mask: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"token_ids": token_ids, "segment_ids": tf.zeros_like(token_ids), "padding_mask": padding_mask}

    def token_embedding(self, model: tf.keras.Model) -> tf.keras.layers.Layer:
        return model.get_layer("token_embedding")


class DistilBertText(TextBackbone):
    """DistilBERT (Sanh et al., 2019, arXiv:1910.01108): BERT without segments; the same WordPiece vocabulary."""

    def tokenizer(self, assets: Sequence[str], lowercase: bool) -> tf.keras.layers.Layer:
        return keras_nlp.models.DistilBertTokenizer(vocabulary=list(assets), strip_accents=lowercase)

    def model(self, **shape: Any) -> tf.keras.Model:
        backbone = keras_nlp.models.DistilBertBackbone(**shape)
        return tf.keras.Model(backbone.input, backbone.output)

    def inputs(self, token_ids: tf.Tensor, padding_mask: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"token_ids": token_ids, "padding_mask": padding_mask}

    def token_embedding(self, model: tf.keras.Model) -> tf.keras.layers.Layer:
        return model.get_layer("token_and_position_embedding").token_embedding


BACKBONES: dict[str, TextBackbone] = {"bert": BertText(), "distil_bert": DistilBertText()}


def transformer_layers(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """The Transformer layers of a model made by an adapter, the one next to the embeddings first."""
    return [layer for layer in model.layers if isinstance(layer, keras_nlp.layers.TransformerEncoder)]
