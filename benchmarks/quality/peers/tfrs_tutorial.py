"""The retrieval model of TensorFlow Recommenders' first tutorial: two embeddings, in-batch softmax, Adagrad.

https://www.tensorflow.org/recommenders/examples/basic_retrieval: ids of users and items, dimension 32, learning rate 0.1.
It uses no history; an unknown user gets the embedding of unknown ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.quality.peers.interface import ScorerFactory, TrainingData, user_rows
from pipelines.scoring.requests import Queries


def fit(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit the model. Parameters: epochs, batch, factors, learning_rate. No scoring options."""
    import tensorflow as tf
    import tensorflow_recommenders as tfrs

    tf.keras.utils.set_random_seed(seed)

    class Tutorial(tfrs.Model):
        def __init__(self) -> None:
            super().__init__()
            self.user = tf.keras.layers.Embedding(len(training.user_ids) + 1, params["factors"])
            self.item = tf.keras.layers.Embedding(training.num_items, params["factors"])
            self.task = tfrs.tasks.Retrieval()

        def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
            return self.task(self.user(features["user"]), self.item(features["item"]), compute_metrics=False)

    model = Tutorial()
    model.compile(optimizer=tf.keras.optimizers.Adagrad(params["learning_rate"]))
    # Row 0 is for unknown users, as a StringLookup's is in the tutorial.
    events = tf.data.Dataset.from_tensor_slices({"user": training.users + 1, "item": training.items})
    shuffled = events.shuffle(len(training.items), seed=seed).batch(params["batch"])
    model.fit(shuffled, epochs=params["epochs"], verbose=0)
    users, items = model.user.embeddings.numpy(), model.item.embeddings.numpy()

    def score(queries: Queries) -> np.ndarray:
        return users[user_rows(training, queries) + 1] @ items.T

    return lambda options: score
