"""RecTools' SASRec (Kang and McAuley, ICDM 2018) with the full softmax in place of sampled negatives."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.quality.peers.base import Ask, Training
from pipelines.scoring.requests import Queries, Scorer

# Lists that are longer than what is measured; the other items of the catalogue get no score.
_DEPTH = 100


def fit(training: Training, params: Mapping[str, Any], seed: int) -> Ask:
    """`params`: factors, blocks, heads, length (events of a history that count), batch, learning_rate, dropout, kept (epochs).

    Asked with epochs: one of `kept`, whose last is the last of training.
    """
    import pandas as pd
    import torch
    from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    def dataset(users: np.ndarray, items: np.ndarray) -> Dataset:
        # Only the order of a user's events counts: seconds that ascend row by row say it.
        moments = pd.to_datetime(np.arange(len(users)), unit="s")
        columns = {Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: moments}
        return Dataset.construct(pd.DataFrame(columns))

    kept: dict[int, dict[str, torch.Tensor]] = {}

    class Keep(Callback):
        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            done = trainer.current_epoch + 1
            if done in params["kept"]:
                kept[done] = copy.deepcopy(pl_module.torch_model.state_dict())
                print(f"epoch {done} of {params['kept'][-1]}", flush=True)

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=params["kept"][-1],
            accelerator="cpu",
            devices=1,
            callbacks=[Keep()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    torch.set_num_threads(1)
    seed_everything(seed, verbose=False)
    model = SASRecModel(
        n_factors=params["factors"],
        n_blocks=params["blocks"],
        n_heads=params["heads"],
        session_max_len=params["length"],
        batch_size=params["batch"],
        lr=params["learning_rate"],
        dropout_rate=params["dropout"],
        loss="softmax",
        get_trainer_func=trainer,
    )
    model.fit(dataset(training.users, training.items))
    warm = training.warm

    def ask(how: Mapping[str, Any]) -> Scorer:
        def score(queries: Queries) -> np.ndarray:
            model.lightning_model.torch_model.load_state_dict(kept[how["epochs"]])
            scores = np.full((len(queries), training.num_items), -np.inf, np.float32)
            known = [history[warm[history]] for history in queries.histories]
            lengths = np.array([len(history) for history in known])
            asking = np.flatnonzero(lengths)
            if len(asking):
                asked = dataset(np.repeat(np.arange(len(known)), lengths), np.concatenate(known))
                with warnings.catch_warnings():
                    # It warns of items of the catalogue that are in nobody's history.
                    warnings.simplefilter("ignore")
                    lists = model.recommend(asking, asked, k=_DEPTH, filter_viewed=True, add_rank_col=False)
                scores[lists[Columns.User], lists[Columns.Item]] = lists[Columns.Score]
            return scores

        return score

    return ask
