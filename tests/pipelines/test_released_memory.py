"""What a training does not need any more is freed before the hybrid score is fitted."""

from __future__ import annotations

import mmap
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
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


def test_encodings_are_read_again_after_their_pages_were_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.arange(12, dtype=np.float16).tofile(tmp_path / "file")
    mapped = np.memmap(tmp_path / "file", np.float16, "r", shape=(4, 3))
    encodings = Encodings(mapped, {"text": np.zeros(3)}, {"text": np.ones(3)})
    first, asked, real = encodings["text"][:], [], mapped._mmap

    def madvise(option: int) -> None:
        asked.append(option)
        real.madvise(option)

    monkeypatch.setattr(mapped, "_mmap", SimpleNamespace(madvise=madvise))
    encodings.release()
    assert asked == [mmap.MADV_DONTNEED]
    np.testing.assert_array_equal(encodings["text"][:], first)
