"""Ranking head: DCN-v2 over query and item, one output per label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrecs.schema import LabelSchema


class RankingHead(tf.keras.layers.Layer):
    """Predicts every label of an interaction from its query and item embedding.

    Deep & cross network v2 (Wang et al., 2021, arXiv:2008.13535; `tfrs.layers.dcn.Cross`) over
    [query, item, query * item]; the query carries history, context and user features. A binary label's output is a
    probability; a regression label's is in its own unit, inside its range.

    A trained head is overconfident. So probabilities are calibrated by Platt scaling (Platt, 1999, "Probabilistic outputs for support vector machines"; Guo et al., 2017,
    arXiv:1706.04599): sigmoid(slope * logit + offset), with two variables per binary label that are set by
    `calibrate` after each validation and not by gradients; they are part of checkpoints and exports. Losses are those of
    the uncalibrated logits.

    Args:
      labels: rows of the schema's labels, as dictionaries.
      num_cross_layers: number of cross layers.
      hidden_dim: of the dense layer behind them.
      dropout: rate, behind that layer.

    Call arguments:
      query_embeddings: float [..., D].
      item_embeddings: float [..., D].
      training: whether dropout is on.

    Returns:
      label -> prediction float [...].
    """

    def __init__(
        self,
        labels: Sequence[Mapping[str, Any]],
        num_cross_layers: int = 2,
        hidden_dim: int = 64,
        dropout: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.labels = [LabelSchema.model_validate(row) for row in labels]
        self.options = {"num_cross_layers": num_cross_layers, "hidden_dim": hidden_dim, "dropout": dropout}
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-5)
        self.crosses = [tfrs.layers.dcn.Cross() for _ in range(num_cross_layers)]
        self.hidden = tf.keras.layers.Dense(hidden_dim, activation="gelu")
        self.dropout = tf.keras.layers.Dropout(dropout)
        self.outputs = {row.name: tf.keras.layers.Dense(1) for row in self.labels}
        self.tasks = {
            row.name: tfrs.tasks.Ranking(
                loss=tf.keras.losses.BinaryCrossentropy(from_logits=True, reduction=tf.keras.losses.Reduction.SUM)
                if row.task == "binary"
                else tf.keras.losses.MeanSquaredError(reduction=tf.keras.losses.Reduction.SUM)
            )
            for row in self.labels
        }

    def build(self, input_shape: Any) -> None:
        # The identity until `calibrate` is called; the row of a regression label stays the identity.
        self.slope = self.add_weight("slope", [len(self.labels)], initializer="ones", trainable=False)
        self.offset = self.add_weight("offset", [len(self.labels)], initializer="zeros", trainable=False)
        super().build(input_shape)

    def calibrate(self, calibration: Mapping[str, tuple[float, float]]) -> None:
        """Set slope and offset of the labels. Built layers only.

        Args:
          calibration: binary label -> (slope, offset); the others become the identity.

        Raises:
          ValueError: no binary label of that name.
        """
        binary = [row.name for row in self.labels if row.task == "binary"]
        for name in calibration:
            if name not in binary:
                raise ValueError(f"{name}: no binary label; there are {', '.join(binary)}")
        pairs = [calibration.get(row.name, (1.0, 0.0)) for row in self.labels]
        self.slope.assign([slope for slope, _ in pairs])
        self.offset.assign([offset for _, offset in pairs])

    def logits(self, query_embeddings: tf.Tensor, item_embeddings: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """Uncalibrated logits. Arguments as of `call`; label -> float [...]."""
        pair = tf.concat([query_embeddings, item_embeddings, query_embeddings * item_embeddings], axis=-1)
        shape = tf.shape(pair)[:-1]
        # tfrs' Cross takes matrices only.
        x0 = x = self.norm(tf.reshape(pair, [-1, pair.shape[-1]]))
        for cross in self.crosses:
            x = cross(x0, x)
        x = self.dropout(self.hidden(x), training=training)
        return {name: tf.reshape(output(x), shape) for name, output in self.outputs.items()}

    def call(
        self, query_embeddings: tf.Tensor, item_embeddings: tf.Tensor, training: bool = False
    ) -> dict[str, tf.Tensor]:
        return self.predictions(self.logits(query_embeddings, item_embeddings, training))

    def predictions(self, logits: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Predictions of logits, label -> any shape: calibrated probabilities, or values in the label's own unit."""
        return {
            row.name: _from_unit(tf.sigmoid(self.slope[column] * logits[row.name] + self.offset[column]), row)
            for column, row in enumerate(self.labels)
        }

    def counts_of(self, labels: tf.Tensor, sample_weight: tf.Tensor) -> dict[str, tf.Tensor]:
        """Total weight of the known ones of each label, float []. Arguments as of `losses_of`."""
        known = tf.cast(~tf.math.is_nan(labels), tf.float32) * sample_weight[:, None]
        return {row.name: tf.reduce_sum(known[:, column]) for column, row in enumerate(self.labels)}

    def losses_of(
        self,
        query_embeddings: tf.Tensor,
        item_embeddings: tf.Tensor,
        labels: tf.Tensor,
        sample_weight: tf.Tensor,
        training: bool,
    ) -> dict[str, tf.Tensor]:
        """Summed loss of each label.

        Args:
          query_embeddings: float [P, D].
          item_embeddings: float [P, D].
          labels: float [P, number of labels], NaN = unknown.
          sample_weight: float [P].
          training: whether dropout is on.

        Returns:
          label -> float []. Cross-entropy for a binary label; squared error in units of the range for a regression label.
        """
        logits = self.logits(query_embeddings, item_embeddings, training)
        result = {}
        for column, row in enumerate(self.labels):
            target = labels[:, column]
            known = tf.cast(~tf.math.is_nan(target), tf.float32) * sample_weight
            target = tf.where(tf.math.is_nan(target), 0.0, target)
            prediction = logits[row.name]
            if row.task == "regression":
                prediction, target = tf.sigmoid(prediction), _to_unit(target, row)
            result[row.name] = self.tasks[row.name](
                labels=target[:, None], predictions=prediction[:, None], sample_weight=known, compute_metrics=False
            )
        return result

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": [row.model_dump(mode="json") for row in self.labels], **self.options}


def _to_unit(target: tf.Tensor, row: LabelSchema) -> tf.Tensor:
    low, high = row.range or (0.0, 1.0)
    return (target - low) / (high - low)


def _from_unit(unit: tf.Tensor, row: LabelSchema) -> tf.Tensor:
    low, high = row.range or (0.0, 1.0)
    return low + unit * (high - low)
