"""Text: in-graph WordPiece and a keras-nlp BERT."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

with contextlib.redirect_stdout(io.StringIO()):  # a dependency prints the backend's name at import
    import keras_nlp

from tfrecs.errors import DataError
from towers.encoder import TextQueryEncoder

# tf-keras lists a backbone's attributes when it saves a checkpoint, and warns of two that it itself deprecates.
warnings.filterwarnings("ignore", r"`(Model\.state_updates|layer\.updates)` will be removed", UserWarning)

# WordPiece as BERT uncased has it: lower case, accents stripped.
_NORMALISE = {"lowercase": True, "strip_accents": True}


def train_vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """WordPiece vocabulary of a catalogue, by keras-nlp's `compute_word_piece_vocabulary`.

    Args:
      texts: the catalogue's texts.
      size: upper bound of the number of tokens, special tokens included; the algorithm stops near it.

    Raises:
      DataError: there is no text at all.
    """
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise DataError("no item has text to train a vocabulary on; drop the text feature from dataset.yaml")
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(1024)
    return keras_nlp.tokenizers.compute_word_piece_vocabulary(dataset, vocabulary_size=size, **_NORMALISE)


class TextEncoder(TextQueryEncoder):
    """BERT encoder (Devlin et al., 2019, arXiv:1810.04805) with mean pooling over the text's tokens.

    `preprocess`: strings [B] -> token_ids int32 [B, max_tokens], `[CLS] ... [SEP]` and padding 0; the padding mask is
    `token_ids != 0`. `call`: token_ids int32 [B, T] -> float [B, width]; padding more changes nothing.

    Args:
      schema: the feature's row in the manifest.
      vocabulary: WordPiece tokens, `[PAD]` first.
      layers, heads, width, feed_forward, dropout: the Transformer's shape.
      max_tokens: T of an item's text; longer text is cut.
      query_tokens: T of a query.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        vocabulary: Sequence[str],
        layers: int,
        heads: int,
        width: int,
        feed_forward: int,
        dropout: float,
        max_tokens: int,
        query_tokens: int,
        **kwargs: Any,
    ):
        super().__init__(schema, **kwargs)
        self.vocabulary = list(vocabulary)
        self.options = {
            "layers": layers,
            "heads": heads,
            "width": width,
            "feed_forward": feed_forward,
            "dropout": dropout,
            "max_tokens": max_tokens,
            "query_tokens": query_tokens,
        }
        self.max_tokens = max_tokens
        self.query_tokens = query_tokens
        self.tokenizer = keras_nlp.models.BertTokenizer(vocabulary=self.vocabulary, **_NORMALISE)
        backbone = keras_nlp.models.BertBackbone(
            vocabulary_size=len(self.vocabulary),
            num_layers=layers,
            num_heads=heads,
            hidden_dim=width,
            intermediate_dim=feed_forward,
            dropout=dropout,
            max_sequence_length=max(max_tokens, query_tokens),
            num_segments=1,
        )
        # Without keras-nlp's pooler on [CLS], which a mean over the tokens does not use.
        self.backbone = tf.keras.Model(backbone.input, backbone.output["sequence_output"])

    @property
    def output_dim(self) -> int:
        return int(self.options["width"])

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        return tf.TensorSpec([self.max_tokens], tf.int32)

    def _token_ids(self, strings: tf.Tensor, length: int) -> tf.Tensor:
        # "waterfall": the default round-robin trimmer is an op that stock TensorFlow Serving lacks.
        packer = keras_nlp.layers.MultiSegmentPacker(
            sequence_length=length,
            start_value=self.tokenizer.cls_token_id,
            end_value=self.tokenizer.sep_token_id,
            pad_value=self.tokenizer.pad_token_id,
            truncate="waterfall",
        )
        token_ids, _ = packer((self.tokenizer(strings),))
        return tf.ensure_shape(tf.cast(token_ids, tf.int32), [None, length])

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        return self._token_ids(values, self.max_tokens)

    def preprocess_query(self, values: tf.Tensor) -> tf.Tensor:
        return self._token_ids(values, self.query_tokens)

    def spans(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A contiguous run of 3 to Tq - 2 tokens of each text, between `[CLS]` and `[SEP]`."""
        longest = self.query_tokens - 2
        batch = tf.shape(inputs)[0]
        available = tf.maximum(tf.reduce_sum(tf.cast(inputs != 0, tf.int32), axis=1) - 2, 0)
        shortest = tf.minimum(3, available)
        uniform = tf.random.stateless_uniform([2, batch], seed)
        room = tf.cast(tf.minimum(longest, available) - shortest + 1, tf.float32)
        length = shortest + tf.cast(uniform[0] * room, tf.int32)
        start = 1 + tf.cast(uniform[1] * tf.cast(available - length + 1, tf.float32), tf.int32)
        offsets = tf.range(longest)
        body = tf.gather(inputs, tf.minimum(start[:, None] + offsets, self.max_tokens - 1), batch_dims=1)
        inside = offsets < length[:, None]
        sep = tf.where(offsets == length[:, None], self.tokenizer.sep_token_id, 0)
        body = tf.where(inside, body, sep)
        last = tf.where(length == longest, self.tokenizer.sep_token_id, 0)[:, None]
        return tf.concat([tf.fill([batch, 1], self.tokenizer.cls_token_id), body, last], axis=1)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        mask = inputs != 0
        states = self.backbone(
            {"token_ids": inputs, "segment_ids": tf.zeros_like(inputs), "padding_mask": mask}, training=training
        )
        weight = tf.cast(mask, states.dtype)[:, :, None]
        return tf.reduce_sum(states * weight, axis=1) / tf.maximum(tf.reduce_sum(weight, axis=1), 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "vocabulary": self.vocabulary, **self.options}
