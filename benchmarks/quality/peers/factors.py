"""Factor models: iALS, iALS with content, LightFM WARP and VBPR; their users are folded in from the rolling history."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from benchmarks.quality.peers.base import Ask, Training, profiles, user_rows
from benchmarks.quality.peers.content import chosen, kernel, ridge
from pipelines.scoring.requests import Queries, Scorer


def fold_in(asked: sp.csr_matrix, items: np.ndarray, *, regularization: float, alpha: float) -> np.ndarray:
    """The users that alternating least squares would learn from histories, given the items.

    u = (V^T V + alpha sum_{i in history} v_i v_i^T + regularization I)^-1 (1 + alpha) sum_{i in history} v_i: squared
    error to 1 on the history with confidence 1 + alpha and to 0 elsewhere with confidence 1 (Hu, Koren and Volinsky,
    "Collaborative filtering for implicit feedback datasets", ICDM 2008).

    Args:
      asked: csr [q, N] of ones.
      items: float [N, d].

    Returns:
      float32 [q, d].
    """
    items = items.astype(np.float64)
    width = items.shape[1]
    base = items.T @ items + regularization * np.eye(width)
    users = np.zeros((asked.shape[0], width))
    for row in range(asked.shape[0]):
        mine = items[asked.indices[asked.indptr[row] : asked.indptr[row + 1]]]
        if len(mine):
            users[row] = np.linalg.solve(base + alpha * mine.T @ mine, (1.0 + alpha) * mine.sum(axis=0))
    return users.astype(np.float32)


def _als(training: Training, params: Mapping[str, Any], seed: int) -> np.ndarray:
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=params["factors"],
        regularization=params["regularization"],
        alpha=1.0 + params["alpha"],  # there: the confidence of an event
        iterations=params["iterations"],
        num_threads=1,
        random_state=seed,
        use_cg=False,
    )
    model.fit(training.matrix, show_progress=False)
    return np.where(training.warm[:, None], model.item_factors, 0.0)


def _folded(training: Training, items: np.ndarray, scored: np.ndarray, how: Mapping[str, Any]) -> Scorer:
    def score(queries: Queries) -> np.ndarray:
        asked = profiles(queries.histories, training.num_items, how["last"])
        users = fold_in(asked, items, regularization=how["regularization"], alpha=how["alpha"])
        return np.asarray(users @ scored.T, np.float32)

    return score


def ials(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """`implicit`'s iALS. `params`: factors, regularization, alpha, iterations; asked with last (events; None: all)."""
    items = _als(training, params, seed)
    return lambda how: _folded(training, items, items, {**params, **how})


def ials_ridge(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """iALS; the factors of items without training events are predicted from content by a ridge regression.

    `params`: those of `ials`, features; asked with last, ridge, and scale (of predicted factors: a ridge makes them short).
    """
    items = _als(training, params, seed)
    warm = training.warm
    similarity = kernel(training, chosen(training, params["features"]))

    def ask(how: Mapping[str, Any]) -> Scorer:
        predicted = ridge(similarity, warm, items[warm], how["ridge"])
        complete = np.where(warm[:, None], items, how["scale"] * predicted)
        return _folded(training, items, complete, {**params, **how})

    return ask


def _of_users(training: Training, users: np.ndarray, items: np.ndarray, biases: np.ndarray) -> Ask:
    """Scores of a model with learned users. Asked with users: "learned" (an unknown user has none: biases alone) or
    "folded", with last, regularization and alpha; the bias is then one more factor of an item, and the history says how
    much it counts."""
    extended = np.concatenate([items, biases[:, None]], axis=1)

    def score(queries: Queries) -> np.ndarray:
        rows = user_rows(training, queries)
        asking = np.where(rows[:, None] >= 0, users[rows], 0.0)
        return np.asarray(asking @ items.T + biases, np.float32)

    return lambda how: score if how["users"] == "learned" else _folded(training, extended, extended, how)


def lightfm(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """LightFM with the WARP loss (Weston et al., IJCAI 2011), an identity feature and the content for each item.

    `params`: factors, epochs, learning_rate, features ("" for ids alone); asked as `_of_users` says.
    """
    from lightfm import LightFM

    identity = sp.identity(training.num_items, np.float32, format="csr")
    blocks = [training.content[name] for name in chosen(training, params["features"])] if params["features"] else []
    features = sp.hstack([identity, *blocks], format="csr")
    model = LightFM(
        no_components=params["factors"], loss="warp", learning_rate=params["learning_rate"], random_state=seed
    )
    model.fit(training.matrix.tocoo(), item_features=features, epochs=params["epochs"], num_threads=1)
    biases, items = model.get_item_representations(features)
    _, users = model.get_user_representations()
    return _of_users(training, users, items, biases)


def vbpr(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """cornac's VBPR (He and McAuley, AAAI 2016) on one dense feature of the items.

    `params`: feature, factors (half of them on the feature), epochs, batch, learning_rate, penalty; asked as `_of_users`
    says.
    """
    from cornac.data import Dataset, ImageModality
    from cornac.models import VBPR

    # cornac draws its negatives from the first `num_items` items: those with events have to stand in front.
    warm = training.warm
    order = np.argsort(~warm, kind="stable")
    place = np.argsort(order)
    pairs = training.matrix.tocoo()
    data = Dataset(
        num_users=len(training.user_ids),
        num_items=int(warm.sum()),
        uid_map=OrderedDict((user, user) for user in range(len(training.user_ids))),
        iid_map=OrderedDict((item, item) for item in range(training.num_items)),
        uir_tuple=(pairs.row.astype(np.int64), place[pairs.col], pairs.data),
        seed=seed,
    )
    looks = training.content[params["feature"]].toarray()[order]
    data.add_modalities(item_image=ImageModality(features=looks, normalized=True).build())
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
    items = np.concatenate([model.gamma_item, model.theta_item], axis=1)[place]
    return _of_users(training, users, items, (model.beta_item + model.visual_bias)[place])
