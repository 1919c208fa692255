"""Factor models: iALS, iALS with content, LightFM WARP and VBPR, with users folded in from the rolling history."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from benchmarks.quality.peers.content import feature_names, kernel, ridge
from benchmarks.quality.peers.interface import ScorerFactory, TrainingData, history_matrix, user_rows
from pipelines.scoring.requests import Queries, Scorer


def fold_in(histories: sp.csr_matrix, items: np.ndarray, *, regularization: float, alpha: float) -> np.ndarray:
    """Solve for the user factors that alternating least squares would learn from histories, given the item factors.

    u = (V^T V + alpha sum_{i in history} v_i v_i^T + regularization I)^-1 (1 + alpha) sum_{i in history} v_i: squared
    error to 1 on the history with confidence 1 + alpha and to 0 elsewhere with confidence 1 (Hu, Koren and Volinsky,
    "Collaborative filtering for implicit feedback datasets", ICDM 2008).

    Args:
      histories: csr [q, N] of ones.
      items: float [N, d].

    Returns:
      float32 [q, d].
    """
    items = items.astype(np.float64)
    factors = items.shape[1]
    base = items.T @ items + regularization * np.eye(factors)
    users = np.zeros((histories.shape[0], factors))
    for row in range(histories.shape[0]):
        seen = items[histories.indices[histories.indptr[row] : histories.indptr[row + 1]]]
        if len(seen):
            users[row] = np.linalg.solve(base + alpha * seen.T @ seen, (1.0 + alpha) * seen.sum(axis=0))
    return users.astype(np.float32)


def _als(training: TrainingData, params: Mapping[str, Any], seed: int) -> np.ndarray:
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=params["factors"],
        regularization=params["regularization"],
        alpha=1.0 + params["alpha"],  # implicit's alpha is the whole confidence of an event
        iterations=params["iterations"],
        num_threads=1,
        random_state=seed,
        use_cg=False,
    )
    model.fit(training.matrix, show_progress=False)
    return np.where(training.warm[:, None], model.item_factors, 0.0)


def _fold_in_scorer(
    training: TrainingData, items: np.ndarray, scored: np.ndarray, options: Mapping[str, Any]
) -> Scorer:
    """Fold users in with the factors `items` and score with the factors `scored`, both float [N, d]."""

    def score(queries: Queries) -> np.ndarray:
        histories = history_matrix(queries.histories, training.num_items, options["last"])
        users = fold_in(histories, items, regularization=options["regularization"], alpha=options["alpha"])
        return np.asarray(users @ scored.T, np.float32)

    return score


def ials(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit the iALS of `implicit`.

    Parameters: factors, regularization, alpha, iterations. Scoring options: last.
    """
    items = _als(training, params, seed)
    return lambda options: _fold_in_scorer(training, items, items, {**params, **options})


def ials_ridge(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit iALS, and predict the factors of items without training events from content by a ridge regression.

    Parameters: those of `ials`, and features. Scoring options: last, ridge, and scale of the predicted factors, which a
    ridge shrinks.
    """
    items = _als(training, params, seed)
    warm = training.warm
    similarity = kernel(training, feature_names(training, params["features"]))

    def make_scorer(options: Mapping[str, Any]) -> Scorer:
        predicted = ridge(similarity, warm, items[warm], options["ridge"])
        completed = np.where(warm[:, None], items, options["scale"] * predicted)
        return _fold_in_scorer(training, items, completed, {**params, **options})

    return make_scorer


def _user_factory(training: TrainingData, users: np.ndarray, items: np.ndarray, biases: np.ndarray) -> ScorerFactory:
    """Return scorers of a model with learned users.

    Scoring options: users, which is "learned" (unknown users get the item biases alone) or "folded"; and for the latter
    last, regularization and alpha. Folding in treats the bias as one more factor of an item.
    """
    extended = np.concatenate([items, biases[:, None]], axis=1)

    def score(queries: Queries) -> np.ndarray:
        rows = user_rows(training, queries)
        query_users = np.where(rows[:, None] >= 0, users[rows], 0.0)
        return np.asarray(query_users @ items.T + biases, np.float32)

    return lambda options: (
        score if options["users"] == "learned" else _fold_in_scorer(training, extended, extended, options)
    )


def lightfm(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit LightFM with the WARP loss (Weston et al., IJCAI 2011), an identity feature and the content of each item.

    Parameters: factors, epochs, learning_rate, features ("" for ids alone). Scoring options: see `_user_factory`.
    """
    from lightfm import LightFM

    identity = sp.identity(training.num_items, np.float32, format="csr")
    blocks = (
        [training.content[name] for name in feature_names(training, params["features"])] if params["features"] else []
    )
    features = sp.hstack([identity, *blocks], format="csr")
    model = LightFM(
        no_components=params["factors"], loss="warp", learning_rate=params["learning_rate"], random_state=seed
    )
    model.fit(training.matrix.tocoo(), item_features=features, epochs=params["epochs"], num_threads=1)
    biases, items = model.get_item_representations(features)
    _, users = model.get_user_representations()
    return _user_factory(training, users, items, biases)


def vbpr(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit the VBPR of cornac (He and McAuley, AAAI 2016) on one dense feature of the items.

    Parameters: feature, factors (half of them on the feature), epochs, batch, learning_rate, penalty. Scoring options: see
    `_user_factory`.
    """
    from cornac.data import Dataset, ImageModality
    from cornac.models import VBPR

    # cornac draws negatives from the first `num_items` items: those with events must come first.
    warm = training.warm
    order = np.argsort(~warm, kind="stable")
    position = np.argsort(order)
    pairs = training.matrix.tocoo()
    data = Dataset(
        num_users=len(training.user_ids),
        num_items=int(warm.sum()),
        uid_map=OrderedDict((user, user) for user in range(len(training.user_ids))),
        iid_map=OrderedDict((item, item) for item in range(training.num_items)),
        uir_tuple=(pairs.row.astype(np.int64), position[pairs.col], pairs.data),
        seed=seed,
    )
    feature = training.content[params["feature"]].toarray()[order]
    data.add_modalities(item_image=ImageModality(features=feature, normalized=True).build())
    half = params["factors"] // 2
    model = VBPR(
        k=half,
        k2=half,
        n_epochs=params["epochs"],
        batch_size=params["batch"],
        learning_rate=params["learning_rate"],
        lambda_w=params["penalty"],
        lambda_b=params["penalty"],
        verbose=False,
        seed=seed,
    )
    model.fit(data)
    users = np.concatenate([model.gamma_user, model.theta_user], axis=1)
    items = np.concatenate([model.gamma_item, model.theta_item], axis=1)[position]
    return _user_factory(training, users, items, (model.beta_item + model.visual_bias)[position])
