"""The interface of every modality's encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfrecs.modalities import resolve, row
from tfrecs.schema import FeatureSchema


class Encoder(tf.keras.layers.Layer):
    """Encoder of one modality: `preprocess` on the host, `call` on the accelerator.

    Strings, look-ups and signal processing belong into `preprocess`, which runs in tf.data and in the serving graph. `call`
    takes one dense tensor of static shape, so that a training step compiles under XLA. What comes out is float32 in every
    precision that `call` may compute in.

    Args:
      schema: the feature's row in the manifest, as a dictionary (so that `get_config` is plain JSON).
    """

    def __init__(self, schema: Mapping[str, Any], **kwargs: Any):
        super().__init__(**kwargs)
        self.schema = FeatureSchema.model_validate(schema)

    def __call__(self, *args: Any, **kwargs: Any) -> tf.Tensor:
        return tf.cast(super().__call__(*args, **kwargs), tf.float32)

    @property
    def output_dim(self) -> int:
        """Dimension d_m of the encoding."""
        raise NotImplementedError

    @property
    def input_spec_static(self) -> tf.TensorSpec:
        """Shape and dtype of one preprocessed value."""
        raise NotImplementedError

    def preprocess(self, values: tf.Tensor) -> tf.Tensor:
        """Turn decoded feature values [B, ...] into model inputs [B, *input_spec_static.shape]. Uses no variables."""
        raise NotImplementedError

    @classmethod
    def resolve_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Replace options by those of the pretrained checkpoint that they name, if any.

        Called once when a run is made; afterwards the run does not need the files of the checkpoint.
        """
        return dict(options)

    @property
    def is_pretrained(self) -> bool:
        """Whether the options name pretrained weights: the space of its encodings then compares more than this catalogue."""
        return False

    def load_pretrained(self) -> None:
        """Load the pretrained weights that the options name, if any."""

    def depths(self) -> list[list[tf.Variable]]:
        """Return the variables in groups, the group next to the input first, for layer-wise learning rates."""
        return [self.variables]

    def rematerialised(self) -> list[tf.keras.layers.Layer]:
        """Return the layers that `train.rematerialise` computes twice, see `towers.encoders.rematerialise`.

        The memory of a step is that of the activations between them, and of one of them.
        """
        return [self]

    def add_adapters(self, rank: int, alpha: float) -> None:
        """Freeze the pretrained weights and add low-rank adapters (`towers.encoders.lora`), after the weights are loaded.

        An encoder without attention has no adapters and is trained entirely.
        """

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "schema": self.schema.model_dump(mode="json")}


class TextQueryEncoder(Encoder):
    """An encoder that also encodes the text queries of requests.

    Its constructor takes `vocabulary`, and its `query_tokens` is the static length Tq of a query.
    """

    query_tokens: int

    def preprocess_query(self, values: tf.Tensor) -> tf.Tensor:
        """Turn query strings [B] into model inputs [B, Tq]."""
        raise NotImplementedError

    def spans(self, inputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draw a random span of each preprocessed item [B, T], in the form of a query [B, Tq], for self-supervision.

        Args:
          inputs: token ids int32 [B, T].
          seed: int32 [2], of a stateless draw.
        """
        raise NotImplementedError

    def states(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Token ids int32 [B, T] -> contextual states float [B, T, hidden_dim]."""
        raise NotImplementedError

    def pool(self, states: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        """States [B, T, hidden_dim] of token ids [B, T] -> the encoding, float [B, output_dim]."""
        raise NotImplementedError

    def masker(self, share: float) -> tf.keras.layers.Layer:
        """Make a `keras_nlp.layers.MaskedLMMaskGenerator` for preprocessed items that masks that share of the tokens."""
        raise NotImplementedError

    @property
    def token_embedding(self) -> tf.keras.layers.Layer:
        """The `keras_nlp.layers.ReversibleEmbedding` of the tokens."""
        raise NotImplementedError


def build_encoder(feature: FeatureSchema, options: Mapping[str, Any], vocabulary: Sequence[str]) -> Encoder:
    """Make the encoder of a feature through the table of modalities.

    Args:
      options: constructor arguments from the configuration.
      vocabulary: lines of the records' vocabulary file, for encoders of text queries.

    Raises:
      TypeError: the encoder has no such option.
    """
    encoder = resolve(row(feature.kind).encoder)
    extra = {"vocabulary": list(vocabulary)} if issubclass(encoder, TextQueryEncoder) else {}
    return encoder(schema=feature.model_dump(mode="json"), name=f"encode_{feature.name}", **extra, **options)
