"""Weights of items without training events, learned from known items that are treated as if they had none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.hybrid.likelihood import Choices, FittedWeights
from pipelines.hybrid.ranking_weights import choice_scores, places

__all__ = ["EXPLORATIONS", "exploration_curve", "mixed_choices", "simulated_cold"]

EXPLORATIONS = tuple(np.arange(-2.0, 3.01, 0.25).tolist())
_DEPTH = 20


def simulated_cold(is_cold: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw known items that are to be treated as cold ones.

    Args:
      is_cold: bool [N].
      share: of the items with training events, rounded down.
      seed: of the draw.

    Returns:
      bool [N].
    """
    warm = np.flatnonzero(~is_cold)
    result = np.zeros(len(is_cold), bool)
    result[np.random.default_rng(seed).choice(warm, int(share * len(warm)), replace=False)] = True
    return result


def mixed_choices(known: Choices, cold: Choices, is_simulated: np.ndarray) -> Choices:
    """Take what is known of the simulated cold items from content, and the rest as it is.

    Only the scores OF these items change; in the histories of users they stay known, as in use most items of a history are.

    Args:
      known: with what the log says of every item.
      cold: the same choices, with what content predicts for the simulated cold items.
      is_simulated: bool [Q, 1 + C], which of the alternatives are such items.
    """
    values = np.where(is_simulated[..., None], cold.values, known.values)
    return Choices(values, known.is_cold | is_simulated, known.correction)


def exploration_curve(
    choices: Choices, fitted: FittedWeights, explorations: Sequence[float] = EXPLORATIONS
) -> list[dict[str, float]]:
    """Measure what showing new items more often gains and costs.

    Args:
      choices: of `mixed_choices`.
      fitted: weights of the parts, and the bias of cold items.
      explorations: numbers added to the score of cold items.

    Returns:
      Rows with `explore`, and Recall@20 of the choices of known items (`known`) and of new ones (`new`); none where there are no choices of one of them.
    """
    scores, is_new = choice_scores(choices, fitted), choices.is_cold[:, 0]
    if is_new.all() or not is_new.any():
        return []
    rows = []
    for explore in explorations:
        found = places(scores + np.float32(explore) * choices.is_cold, choices.correction) < _DEPTH
        rows.append({"explore": explore, "known": float(found[~is_new].mean()), "new": float(found[is_new].mean())})
    return rows
