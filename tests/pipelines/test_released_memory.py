"""What a training does not need any more is freed before the hybrid score is fitted."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
from whole import SMALL, Whole

from pipelines.config import load_config
from pipelines.model.encodings import Encodings
from pipelines.training.trainer import Trainer, TrainJob


def test_the_optimizer_and_the_feed_end_with_the_training_and_the_model_stays(plain: Whole, tmp_path: Path) -> None:
    trainer = Trainer(TrainJob(plain.records, tmp_path / "run", load_config(None, SMALL)))
    trainer.refresh()
    model = trainer.session.model
    before = model.item_embeddings()[0].numpy()
    ended = [weakref.ref(trainer.feed), weakref.ref(model.optimizer)]
    slots = [weakref.ref(variable) for variable in model.optimizer.variables]
    trainer.release()
    assert slots
    assert not any(reference() for reference in [*ended, *slots])
    np.testing.assert_array_equal(model.item_embeddings()[0], before)


def test_encodings_are_read_again_after_their_pages_were_given_back(tmp_path: Path) -> None:
    stored = np.arange(12, dtype=np.float16).reshape(4, 3)
    stored.tofile(tmp_path / "file")
    mapped = np.memmap(tmp_path / "file", np.float16, "r", shape=(4, 3))
    encodings = Encodings(mapped, {"text": np.zeros(3)}, {"text": np.ones(3)})
    first = encodings["text"][:]
    encodings.release()
    np.testing.assert_array_equal(encodings["text"][:], first)
