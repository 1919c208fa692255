"""What every modality's encoder is to the rest of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrecs.modalities import resolve, row
from tfrecs.schema import FeatureSchema


class Encoder(tf.keras.layers.Layer):
    """Encoder of one modality: `preprocess` on the host, `call` on the accelerator.

    Strings, look-ups and signal processing are `preprocess` (it runs in tf.data and in the serving graph); `call`
    sees one dense tensor of static shape, so that a training step compiles under XLA.

    Args:
      schema: the feature's row in the manifest, as a dictionary (so that `get_config` is plain JSON).
    """

    def __init__(self, schema: Mapping[str, Any], **kwargs: Any):
        super().__init__(**kwargs)
        self.schema = FeatureSchema.model_validate(schema)

    @property
    def output_dim(self) -> int:
        """Dimension d_m of the encoding."""
        raise NotImplementedError

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        """Shape and dtype of ONE preprocessed value."""
        raise NotImplementedError

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        """Decoded feature values [B, ...] -> model inputs [B, *input_spec_static.shape]. No variables."""
        raise NotImplementedError

    @classmethod
    def resolve_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the configuration -> the same with what a pretrained checkpoint they name says instead.

        Done once when a run is made: afterwards the run stands without the checkpoint's files."""
        return dict(options)

    def load_pretrained(self) -> None:
        """Takes the weights that the options name; nothing where they name none."""

    def depths(self) -> list[list[tf.Variable]]:
        """The variables in groups, the group next to the input first, for learning rates layer by layer."""
        return [self.variables]

    def add_adapters(self, rank: int, alpha: float) -> None:
        """Freezes what was pretrained and adds low-rank adapters to it (`towers.encoders.lora`), once the weights are loaded.

        An encoder without attention has nothing to adapt and is trained whole."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "schema": self.schema.model_dump(mode="json")}


class TextQueryEncoder(Encoder):
    """An encoder that free text in a request can go through as well; the model finds it by this type.

    Its constructor takes `vocabulary`, and it has `query_tokens`, the static length Tq of a query."""

    query_tokens: int

    def preprocess_query(self, values: tf.Tensor) -> tf.Tensor:
        """Query strings [B] -> model inputs [B, ...], possibly shorter than an item's."""
        raise NotImplementedError

    def spans(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Preprocessed items [B, T] -> a random part of each, in the form of a query [B, Tq].

        Self-supervision: what somebody might type who has the item in mind. `seed` int32 [2], stateless."""
        raise NotImplementedError

    def states(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Token ids int32 [B, T] -> contextual states float [B, T, hidden_dim]."""
        raise NotImplementedError

    def pool(self, states: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """States [B, T, hidden_dim] of token ids [B, T] -> the encoding, float [B, output_dim]."""
        raise NotImplementedError

    def masker(self, share: float) -> tf.keras.layers.Layer:
        """A `keras_nlp.layers.MaskedLMMaskGenerator` for preprocessed items that hides that share of the tokens."""
        raise NotImplementedError

    @property
    def token_embedding(self) -> tf.keras.layers.Layer:
        """The `keras_nlp.layers.ReversibleEmbedding` of the tokens."""
        raise NotImplementedError


def build_encoder(feature: FeatureSchema, options: Mapping[str, Any], vocabulary: Sequence[str]) -> Encoder:
    """The encoder of a feature, through the table of modalities.

    Args:
      options: constructor arguments from the configuration.
      vocabulary: the records' WordPiece tokens, given to encoders that take text queries.

    Raises:
      TypeError: an option that the encoder does not have.
    """
    encoder = resolve(row(feature.kind).encoder)
    extra = {"vocabulary": list(vocabulary)} if issubclass(encoder, TextQueryEncoder) else {}
    return encoder(schema=feature.model_dump(mode="json"), name=f"encode_{feature.name}", **extra, **options)
