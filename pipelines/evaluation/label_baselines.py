"""Baselines of the ranking head: item popularity, and the biases of item and user."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import linregress

from pipelines.scoring.requests import Requests

__all__ = ["BiasModel", "choose_bias", "fit_bias", "popularity_line", "predict_bias"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BiasModel:
    """Mean + item bias + user bias (Koren, 2010, "Factor in the neighbors", section 2.1), both shrunk towards 0.

    Attributes:
      mean: of the label over the training events.
      items: float64 [N], bias of each item: the sum of its events' deviations from the mean, over their number plus
        the shrinkage. 0 for an item without a known label.
      user_shrinkage: of the user bias, which is computed from the history of each request.
    """

    mean: float
    items: Floats
    user_shrinkage: float


def fit_bias(
    items: NDArray[np.integer],
    labels: NDArray[np.floating],
    num_items: int,
    item_shrinkage: float,
    user_shrinkage: float,
) -> BiasModel:
    """Fit the item biases of one label.

    Args:
      items: int [E], the item of each training event.
      labels: float [E], NaN = unknown, ignored.
      num_items: N.
      item_shrinkage: added to the number of an item's events.
      user_shrinkage: added to the number of a user's events when predicting.
    """
    known = ~np.isnan(labels)
    event_items, values = items[known], labels[known].astype(np.float64)
    mean = float(values.mean()) if len(values) else 0.0
    total = np.bincount(event_items, weights=values - mean, minlength=num_items)
    count = np.bincount(event_items, minlength=num_items)
    divisor = count + item_shrinkage
    biases = np.divide(total, divisor, out=np.zeros(num_items), where=divisor > 0)
    return BiasModel(mean, biases, user_shrinkage)


def predict_bias(model: BiasModel, requests: Requests, column: int, low: float, high: float) -> Floats:
    """Predict one label of the requests' held-out events.

    The user bias is the sum of the deviations of the labels in the request's history from mean + item bias, over their
    number plus the shrinkage.

    Args:
      model: of this label.
      requests: with E held-out events.
      column: of the label.
      low: smallest prediction.
      high: largest prediction.

    Returns:
      float64 [E], in [low, high].
    """
    users = np.zeros(len(requests))
    for row, (items, labels) in enumerate(zip(requests.queries.histories, requests.labels, strict=True)):
        values = labels[:, column]
        known = ~np.isnan(values)
        divisor = known.sum() + model.user_shrinkage
        if known.any():
            users[row] = (values[known] - model.mean - model.items[items[known]]).sum() / divisor
    return np.clip(model.mean + users[requests.pair_rows] + model.items[requests.pair_items], low, high)


def choose_bias(
    items: NDArray[np.integer],
    labels: NDArray[np.floating],
    num_items: int,
    validation: Requests,
    column: int,
    bounds: tuple[float, float],
    shrinkages: Sequence[float],
) -> BiasModel:
    """Fit a model with the pair of shrinkages that has the smallest squared error on validation requests.

    Args:
      items: int [E], the item of each training event.
      labels: float [E], NaN = unknown, ignored.
      num_items: N.
      validation: requests of the validation split.
      column: of the label.
      bounds: smallest and largest prediction.
      shrinkages: to choose from, for items and for users; of equally good pairs the first.
    """
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
    """Fit the least-squares line from an item's popularity to the label of its training events.

    Args:
      popularity: float64 [N].
      items: int [E].
      labels: float [E], NaN = unknown, ignored.

    Returns:
      (slope, offset): (0, mean) where all items are equally popular, (0, 0) without a known label.
    """
    known = ~np.isnan(labels)
    if not known.any():
        return 0.0, 0.0
    x, y = popularity[items[known]], labels[known].astype(np.float64)
    if np.ptp(x) == 0:
        return 0.0, float(y.mean())
    line = linregress(x, y)
    return float(line.slope), float(line.intercept)
