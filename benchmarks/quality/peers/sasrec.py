"""SASRec of RecTools (Kang and McAuley, ICDM 2018) with the full softmax instead of sampled negatives."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.quality.peers.early_stopping import EarlyStopped, train_to_best_epoch
from benchmarks.quality.peers.interface import ScorerFactory, TrainingData
from pipelines.scoring.requests import Queries

# Longer than the measured lists; all other items get no score.
_DEPTH = 100


def dataset(users: np.ndarray, items: np.ndarray) -> Any:
    """Return a RecTools data set of events, those of a user oldest first."""
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Dataset

    # Only the order of events matters: ascending seconds express it.
    moments = pd.to_datetime(np.arange(len(users)), unit="s")
    columns = {Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: moments}
    return Dataset.construct(pd.DataFrame(columns))


def make_model(params: Mapping[str, Any], *, epochs: int | None = None, callback: Any = None) -> Any:
    """Return an unfitted model that trains on the CPU.

    Args:
      params: see `fit`; also loss (the full softmax if absent) and negatives of a position (where the loss has any).
      epochs: of `fit`; `fit_partial` is told how many itself.
      callback: of Lightning's trainer.
    """
    from pytorch_lightning import Trainer
    from rectools.models import SASRecModel

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            callbacks=[callback] if callback else [],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    return SASRecModel(
        n_factors=params["factors"],
        n_blocks=params["blocks"],
        n_heads=params["heads"],
        session_max_len=params["length"],
        batch_size=params["batch"],
        lr=params["learning_rate"],
        dropout_rate=params["dropout"],
        loss=params.get("loss", "softmax"),
        n_negatives=params.get("negatives", 1),
        get_trainer_func=trainer,
    )


def fit(training: TrainingData, params: Mapping[str, Any], seed: int) -> ScorerFactory:
    """Fit SASRec to its best epoch on validation. No scoring options.

    Parameters: factors, blocks, heads, length (history events), batch, learning_rate, dropout, and those of early stopping.
    """
    import torch
    from pytorch_lightning import seed_everything
    from rectools import Columns

    # Lightning says of every epoch that training ended.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    seed_everything(seed, verbose=False)
    model = make_model(params)
    events, warm = dataset(training.users, training.items), training.warm

    def score(queries: Queries) -> np.ndarray:
        scores = np.full((len(queries), training.num_items), -np.inf, np.float32)
        known = [history[warm[history]] for history in queries.histories]
        lengths = np.array([len(history) for history in known])
        rows = np.flatnonzero(lengths)
        if len(rows):
            histories = dataset(np.repeat(np.arange(len(known)), lengths), np.concatenate(known))
            with warnings.catch_warnings():
                # RecTools warns about items that are in no history.
                warnings.simplefilter("ignore")
                lists = model.recommend(rows, histories, k=_DEPTH, filter_viewed=True, add_rank_col=False)
            scores[lists[Columns.User], lists[Columns.Item]] = lists[Columns.Score]
        return scores

    best = train_to_best_epoch(
        training,
        params,
        seed,
        train_epoch=lambda: model.fit_partial(events, min_epochs=1, max_epochs=1),
        scorer=lambda: score,
        state=lambda: copy.deepcopy(model.lightning_model.torch_model.state_dict()),
    )
    model.lightning_model.torch_model.load_state_dict(best.state)
    return EarlyStopped(lambda options: score, best.epoch, best.trained)
