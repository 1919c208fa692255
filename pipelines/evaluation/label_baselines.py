"""What a ranking head must beat: an item's popularity, and the means of user and item."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.scoring.requests import Requests

__all__ = ["BiasModel", "choose_bias", "fit_bias", "popularity_line", "predict_bias"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BiasModel:
    """mean + item's bias + user's bias (Koren, 2010, "Factor in the neighbors", section 2.1), each shrunk towards 0.

    Attributes:
      mean: of the label over the training events.
      items: float64 [N], bias of each item: the sum of its events' deviations from the mean, over their number plus
        the shrinkage. 0 for an item without a known label.
      shrinkage: of the user's bias, which is taken from the history of the request.
    """

    mean: float
    items: Floats
    shrinkage: float


def fit_bias(
    items: NDArray[np.integer],
    labels: NDArray[np.floating],
    num_items: int,
    item_shrinkage: float,
    user_shrinkage: float,
) -> BiasModel:
    """Fits the biases of one label.

    Args:
      items: int [E], position of each training event's item.
      labels: float [E], NaN = unknown, ignored.
    """
    known = ~np.isnan(labels)
    where, values = items[known], labels[known].astype(np.float64)
    mean = float(values.mean()) if len(values) else 0.0
    total = np.bincount(where, weights=values - mean, minlength=num_items)
    count = np.bincount(where, minlength=num_items)
    divisor = count + item_shrinkage
    biases = np.divide(total, divisor, out=np.zeros(num_items), where=divisor > 0)
    return BiasModel(mean, biases, user_shrinkage)


def predict_bias(model: BiasModel, requests: Requests, column: int, low: float, high: float) -> Floats:
    """float64 [E]: predictions for the requests' held-out events, in [low, high].

    The user's bias is the sum of the deviations of the labels in the history of the request (all that the user had
    done by then, as the model itself knows it) from mean + item's bias, over their number plus the shrinkage.

    Args:
      column: which label.
    """
    users = np.zeros(len(requests))
    for row, (items, labels) in enumerate(zip(requests.queries.histories, requests.labels, strict=True)):
        values = labels[:, column]
        known = ~np.isnan(values)
        divisor = known.sum() + model.shrinkage
        if known.any():
            users[row] = (values[known] - model.mean - model.items[items[known]]).sum() / divisor
    said = model.mean + users[requests.pair_rows] + model.items[requests.pair_items]
    return np.clip(said, low, high)


def choose_bias(
    items: NDArray[np.integer],
    labels: NDArray[np.floating],
    num_items: int,
    validation: Requests,
    column: int,
    bounds: tuple[float, float],
    shrinkages: Sequence[float],
) -> BiasModel:
    """The pair of shrinkages with the smallest squared error on the validation split; the first of equals."""
    truth = validation.pair_labels[:, column].astype(np.float64)
    best: tuple[float, BiasModel] | None = None
    for item_shrinkage, user_shrinkage in itertools.product(shrinkages, repeat=2):
        model = fit_bias(items, labels, num_items, item_shrinkage, user_shrinkage)
        errors = np.square(predict_bias(model, validation, column, *bounds) - truth)
        error = float(np.nanmean(errors)) if (~np.isnan(errors)).any() else 0.0
        if best is None or error < best[0]:
            best = error, model
    if best is None:
        raise ValueError("no shrinkage to choose from")
    return best[1]


def popularity_line(
    popularity: Floats, items: NDArray[np.integer], labels: NDArray[np.floating]
) -> tuple[float, float]:
    """Slope and offset of the least-squares line from an item's popularity to the label of its training events.

    Args:
      popularity: float64 [N].
      items: int [E].
      labels: float [E], NaN = unknown, ignored.

    Returns:
      (0, mean) where all items are equally popular, (0, 0) without a known label.
    """
    known = ~np.isnan(labels)
    if not known.any():
        return 0.0, 0.0
    x, y = popularity[items[known]], labels[known].astype(np.float64)
    spread = np.square(x - x.mean()).sum()
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread > 0 else 0.0
    return slope, float(y.mean() - slope * x.mean())
