"""The export gate: what it refuses, and that a refusal leaves the folder as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from toy_models import export_scale
from whole import Whole

from pipelines.exporting import exporter as export
from pipelines.exporting.exporter import ExportJob, make_module
from pipelines.exporting.parity import _close
from pipelines.hybrid.trained_run import TrainedRun
from pipelines.runs.locks import lock_folder
from serving.export_check.gate import STOCK_OPS, TEXT_OPS, ask_fresh_process, unknown_ops
from serving.graph.signatures import ServingModule
from tfrecs.errors import ExportError


def test_ops_newer_than_the_oldest_server_and_ops_of_other_libraries_are_refused() -> None:
    newer = {"SegmentMaxV2", "GlobalShuffleDataset"}
    assert newer <= set(dir(tf.raw_ops))
    found = unknown_ops(["MatMul", "IO>AudioResample", "RoundRobinTrim", "EagerPyFunc", "NormalizeUTF8", *newer])
    assert found == ["EagerPyFunc", "GlobalShuffleDataset", "IO>AudioResample", "RoundRobinTrim", "SegmentMaxV2"]
    assert len(STOCK_OPS) == 1387
    assert not STOCK_OPS & TEXT_OPS


def test_a_fresh_process_loads_from_a_folder_that_tensorflow_takes_for_a_pattern(tmp_path: Path) -> None:
    export_scale(tmp_path / "exp v 12", 3.0)
    odd = export_scale(tmp_path / "exp [v1] *?", 2.0)
    answers = ask_fresh_process(odd, {"serving_default": {"x": np.float32([[1, 2]])}})
    assert answers.outputs["serving_default"]["y"].tolist() == [[2.0, 4.0]]


def off_by_little(module: ServingModule) -> None:
    module.item_embeddings.assign(module.item_embeddings + 0.01)


def two_items_swapped(module: ServingModule) -> None:
    module.item_ids = tf.gather(module.item_ids, [1, 0, *range(2, module.num_items + 1)])


def a_newer_op(module: ServingModule) -> None:
    similar = module.similar

    def newer(item_ids: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = similar(item_ids, k)
        zero = tf.raw_ops.SegmentMaxV2(data=[0.0], segment_ids=[0], num_segments=1)[0]
        return {**outputs, "scores": outputs["scores"] + zero}

    module.similar = newer  # type: ignore[method-assign]


def one_that_fails(module: ServingModule) -> None:
    def similar(item_ids: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.Assert(tf.size(item_ids) > 99, ["not today"])]):
            return {"ids": tf.identity(item_ids), "scores": tf.cast(k, tf.float32)[:, None]}

    module.similar = similar  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(off_by_little, r"served .* differ from Python's by .*allowed", marks=pytest.mark.matrix),
        pytest.param(
            two_items_swapped, r"served ids differ from Python's \(request \d+, place \d+: ", marks=pytest.mark.matrix
        ),
        (one_that_fails, r"fresh process could not serve .*: signature similar: assertion failed: \[not today\]"),
        (a_newer_op, "stock TensorFlow Serving has no op SegmentMaxV2"),
    ],
)
def test_a_failed_gate_says_why_and_leaves_the_old_versions_alone(
    plain: Whole,
    plain_run: TrainedRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[ServingModule], None],
    reason: str,
) -> None:
    there = tmp_path / "demo" / "7"
    there.mkdir(parents=True)
    (there / "saved_model.pb").write_bytes(b"an older version")
    (tmp_path / "demo" / ".export").mkdir()  # of an export that was killed

    def spoilt(*arguments: Any) -> ServingModule:
        module = make_module(*arguments)
        spoil(module)
        return module

    monkeypatch.setattr(export, "make_module", spoilt)
    monkeypatch.setattr(export, "load_trained", lambda folder: plain_run)
    with pytest.raises(ExportError, match=reason) as caught:
        export.run(ExportJob(plain.run, tmp_path / "demo"))
    assert "\n" not in str(caught.value)
    assert "nothing was written" in str(caught.value)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "demo",
        "demo/7",
        "demo/7/saved_model.pb",
    ]


def test_two_exports_do_not_write_into_one_folder_at_a_time(
    plain: Whole, plain_run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "load_trained", lambda folder: plain_run)
    with (
        lock_folder(tmp_path / "demo", AssertionError("nobody else writes there")),
        pytest.raises(ExportError, match="another export is writing there"),
    ):
        export.run(ExportJob(plain.run, tmp_path / "demo"))


def test_what_the_gate_measured_is_kept_with_the_version(plain: Whole) -> None:
    kept = json.loads((plain.export.path / "assets.extra" / "gate.json").read_text())
    gate = plain.export.gate
    assert kept == {name: getattr(gate, name) for name in kept}
    assert set(kept) == {
        *("requests", "worst_difference", "op_kinds", "megabytes", "load_seconds", "p50_ms", "p99_ms"),
    }
    assert kept["requests"] == 10
    assert 0 <= kept["worst_difference"] < 1e-4
    on_disk = sum(path.stat().st_size for path in plain.export.path.rglob("*") if path.is_file()) / 1e6
    assert kept["megabytes"] == pytest.approx(on_disk, abs=0.01)


def test_warm_up_requests_are_real_histories_and_touch_every_signature(plain: Whole, plain_run: TrainedRun) -> None:
    path = plain.export.path / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    requests = [log.predict_log.request for log in logs]
    asked = [request.model_spec.signature_name for request in requests]
    assert asked.count("recommend") == plain.config.export.warmup_requests
    assert set(asked) == {"recommend", "recommend_simple", "rank", "similar", "search", "embed_items"}
    known = set(plain_run.catalogue.ids.tolist())
    for request in requests[: plain.config.export.warmup_requests]:
        history = {item.decode() for item in tf.make_ndarray(request.inputs["history_ids"])[0]} - {""}
        assert history
        assert history <= known


def test_differences_within_float32_pass_and_others_do_not() -> None:
    expected = np.array([[20.0, 1.0, -np.inf]])
    assert _close("x", np.array([[20.0001, 1.0, -np.inf]]), expected) == pytest.approx(1e-4)
    with pytest.raises(ExportError, match=r"differ from Python's by 0\.0003, allowed 0\.0002"):
        _close("x", np.array([[20.0003, 1.0, -np.inf]]), expected)
    with pytest.raises(ExportError, match="other gaps"):
        _close("x", np.array([[20.0, 1.0, 0.0]]), expected)
