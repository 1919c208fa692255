"""A run in half precision and in parts: killed, gone on, exported in float32, and continued in another precision."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import tensorflow as tf
from plain import SMALL
from whole import Whole

from pipelines.config import load_config
from pipelines.exporting import exporter as export
from pipelines.runs.run_folder import RunFolder
from pipelines.training import trainer as train
from tfrecs.errors import DataError

HALF = ("train.precision=mixed_bfloat16", "train.accumulate=4")


def stop(row: object) -> NoReturn:
    raise KeyboardInterrupt


@pytest.mark.matrix
@pytest.mark.slow
def test_a_run_in_half_precision_goes_on_after_a_kill_and_is_exported_in_float32(plain: Whole, tmp_path: Path) -> None:
    job = train.TrainJob(plain.records, tmp_path / "run", load_config(None, (*SMALL, *HALF)))
    with pytest.raises(KeyboardInterrupt):
        train.Trainer(job).train(stop)
    train.run(job)
    rows, in_float32 = (RunFolder(folder).read_metrics() for folder in (job.out, plain.run))
    assert [row["epoch"] for row in rows] == [1, 2]
    for half, row in zip(rows, in_float32, strict=True):
        assert half["retrieval_loss"] == pytest.approx(row["retrieval_loss"], rel=0.02)

    version = export.run(export.ExportJob(job.out, tmp_path / "models" / "half")).path
    loaded = tf.saved_model.load(str(version))
    kinds = {tf.float32, tf.int32, tf.int64, tf.string}
    for name, signature in loaded.signatures.items():
        tensors = [*signature.structured_input_signature[1].values(), *signature.structured_outputs.values()]
        assert {tensor.dtype for tensor in tensors} <= kinds, name
    reader = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    types = reader.get_variable_to_dtype_map().values()
    assert tf.float32 in types
    assert not {tf.bfloat16, tf.float16} & set(types)

    changes = ("train.precision=mixed_float16", f"train.warm_start={job.out}", "train.warm_start_epochs=1")
    continued = train.Trainer(train.TrainJob(plain.records, tmp_path / "on", load_config(None, (*SMALL, *changes))))
    continued.train()
    again = train.Trainer(train.TrainJob(plain.records, tmp_path / "on", load_config(None, (*SMALL, *changes))))
    scale, restored = (trainer.session.model.optimizer.loss_scale for trainer in (continued, again))
    assert int(scale.good_steps) > 0
    assert (int(restored.good_steps), float(restored.value)) == (int(scale.good_steps), float(scale.value))
    assert np.isfinite(continued.rows[-1]["retrieval_loss"])


def test_parts_that_do_not_divide_a_step_are_named_with_the_next_size_that_they_do(
    plain: Whole, tmp_path: Path
) -> None:
    job = train.TrainJob(plain.records, tmp_path / "run", load_config(None, (*SMALL, "train.accumulate=3")))
    with pytest.raises(DataError, match=r"train\.accumulate=3 parts; --set train\.batch_size=18"):
        train.Trainer(job)
    assert not job.out.exists()
