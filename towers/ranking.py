"""Ranking head: DCN-v2 over query and item, one output per label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrecs.schema import LabelSchema


class RankingHead(tf.keras.layers.Layer):
    """Predicts every label of an interaction from query and item embedding.

    Deep & cross network v2 (Wang et al., 2021, arXiv:2008.13535; `tfrs.layers.dcn.Cross`) over
    [query, item, query * item]; the query carries history, context and user features. A binary label's output is a
    probability; a regression label's is in its own unit, inside its range.

    A head that was trained until it fits its events is surer than it should be. So probabilities are calibrated by
    Platt scaling (Platt, 1999, "Probabilistic outputs for support vector machines"; Guo et al., 2017,
    arXiv:1706.04599): sigmoid(slope * logit + offset), with two variables per binary label that training does not
    move. Whoever validates sets them (`calibrate`); they are part of checkpoints and of an export. Losses are those of
    the logits as they are.

    Args:
      labels: rows of the schema's labels, as dictionaries.
      num_cross_layers: number of cross layers.
      hidden_dim: of the dense layer after them.
      dropout: before that layer.
    """

    def __init__(
        self, labels: Sequence[Mapping[str, Any]], num_cross_layers: int, hidden_dim: int, dropout: float, **kwargs: Any
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
        # Identity until somebody calibrates; a regression label's row stays that.
        self.slope = self.add_weight("slope", [len(self.labels)], initializer="ones", trainable=False)
        self.offset = self.add_weight("offset", [len(self.labels)], initializer="zeros", trainable=False)
        super().build(input_shape)

    def calibrate(self, calibration: Mapping[str, tuple[float, float]]) -> None:
        """Sets label -> (slope, offset) of binary labels; others become the identity. Built layers only.

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

    def logits(self, query: tf.Tensor, item: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """query, item [..., D] -> label -> logit [...]."""
        pair = tf.concat([query, item, query * item], axis=-1)
        shape = tf.shape(pair)[:-1]
        # tfrs' Cross takes matrices only.
        x0 = x = self.norm(tf.reshape(pair, [-1, pair.shape[-1]]))
        for cross in self.crosses:
            x = cross(x0, x)
        x = self.dropout(self.hidden(x), training=training)
        return {name: tf.reshape(output(x), shape) for name, output in self.outputs.items()}

    def call(self, query: tf.Tensor, item: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """query, item float [..., D] -> label -> prediction float [...]."""
        return self.predictions(self.logits(query, item, training))

    def predictions(self, logits: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Label -> logit, any shape, to label -> calibrated probability, or value in the label's own unit."""
        return {
            row.name: _from_unit(tf.sigmoid(self.slope[column] * logits[row.name] + self.offset[column]), row)
            for column, row in enumerate(self.labels)
        }

    def losses_of(
        self, query: tf.Tensor, item: tf.Tensor, labels: tf.Tensor, weight: tf.Tensor, training: bool
    ) -> dict[str, tf.Tensor]:
        """Summed loss per label.

        Args:
          query, item: float [P, D].
          labels: float [P, number of labels], NaN = unknown.
          weight: float [P].

        Returns:
          label -> (loss float [], weight of the known labels float []). Cross-entropy for a binary label; squared
          error in units of the range for a regression label.
        """
        logits = self.logits(query, item, training)
        result = {}
        for column, row in enumerate(self.labels):
            target = labels[:, column]
            known = tf.cast(~tf.math.is_nan(target), tf.float32) * weight
            target = tf.where(tf.math.is_nan(target), 0.0, target)
            prediction = logits[row.name]
            if row.task == "regression":
                prediction, target = tf.sigmoid(prediction), _to_unit(target, row)
            loss = self.tasks[row.name](
                labels=target[:, None], predictions=prediction[:, None], sample_weight=known, compute_metrics=False
            )
            result[row.name] = (loss, tf.reduce_sum(known))
        return result

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": [row.model_dump(mode="json") for row in self.labels], **self.options}


def _to_unit(target: tf.Tensor, row: LabelSchema) -> tf.Tensor:
    low, high = row.range or (0.0, 1.0)
    return (target - low) / (high - low)


def _from_unit(unit: tf.Tensor, row: LabelSchema) -> tf.Tensor:
    low, high = row.range or (0.0, 1.0)
    return low + unit * (high - low)
