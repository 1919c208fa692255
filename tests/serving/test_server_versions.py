"""Which version answers: the newest, swapped while requests run, rolled back, without broken ones."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    prediction_log_pb2,
)
from toy_models import add_warm_up, export_scale, place
from toy_server import Stubs, X, connected, eventually, predict_request, refused, running, turns_for

from serving.server import model_manager, servable
from serving.server.model_manager import ModelManager, VersionState
from serving.server.sources import folder_source


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_scale(tmp_path_factory.mktemp("saved") / "doubling", 2.0)


@pytest.fixture(scope="module")
def tripling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_scale(tmp_path_factory.mktemp("saved") / "tripling", 3.0)


def test_the_newest_version_is_served_and_folders_of_other_names_are_not(doubling, tripling, tmp_path):
    place(tripling, tmp_path / "scale", 10)
    place(doubling, tmp_path / "scale", 9)
    place(doubling, tmp_path / "scale", 11).rename(tmp_path / "scale" / "11.tmp")
    (tmp_path / "notes").mkdir()
    with running(tmp_path) as server, connected(server) as stubs:
        assert server.models.available() == [("scale", 10)]
        assert server.describe() == [f"scale  version 10  {server.address}"]
        assert refused(lambda: stubs.predict("scale", "", 9, x=X))[0] == "NOT_FOUND"
        assert tf.make_ndarray(stubs.predict("scale", "", 10, x=X).outputs["y"]).tolist() == [[3, 6]]


@pytest.mark.parametrize(("name", "other"), [("exp [v1] *?", "exp v 12"), ("a\\b", "ab")])
def test_models_in_folders_that_tensorflow_takes_for_patterns_are_served(name, other, doubling, tripling, tmp_path):
    place(tripling, tmp_path / other / "scale", 1)
    place(doubling, tmp_path / name / "scale", 1)
    with running(tmp_path / name) as server, connected(server) as stubs:
        assert tf.make_ndarray(stubs.predict("scale", "", 1, x=X).outputs["y"]).tolist() == [[2, 4]]


def test_a_model_s_own_folder_may_be_given_and_models_may_come_later(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "first", 1)
    with running(tmp_path / "first") as server:
        assert server.models.available() == [("first", 1)]
    with running(tmp_path) as server, connected(server) as stubs:
        place(tripling, tmp_path / "second", 1)
        eventually(lambda: ("second", 1) in server.models.available())
        assert tf.make_ndarray(stubs.predict("second", x=X).outputs["y"]).tolist() == [[3, 6]]
        assert tf.make_ndarray(stubs.predict("first", x=X).outputs["y"]).tolist() == [[2, 4]]


def test_a_swap_under_load_fails_no_request_and_mixes_no_answer(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    wrong: list[Any] = []
    seen: set[int] = set()
    enough = threading.Event()

    def hammer(stubs: Stubs) -> None:
        while not enough.is_set():
            try:
                response = stubs.predict("scale", x=X)
            except grpc.RpcError as error:
                wrong.append(error)
                return
            version = response.model_spec.version.value
            seen.add(version)
            if tf.make_ndarray(response.outputs["y"]).tolist() != [[version + 1, 2 * (version + 1)]]:
                wrong.append(response)

    with running(tmp_path) as server, connected(server) as stubs:
        threads = [threading.Thread(target=hammer, args=(stubs,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: bool(seen))
        place(tripling, tmp_path / "scale", 2)
        eventually(lambda: 2 in seen)
        eventually(lambda: stubs.states("scale") == {2: VersionState.AVAILABLE, 1: VersionState.END})
        enough.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert seen == {1, 2}


def test_a_request_under_way_finishes_on_the_version_it_began_with(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    with running(tmp_path) as server, connected(server) as stubs:
        turns = np.int32(turns_for(stubs, 3.0))
        request = predict_request("scale", "slow", turns=turns)
        slow = stubs.prediction.Predict.future(request)
        eventually(lambda: server.models._models["scale"][1].leases == 1)
        place(tripling, tmp_path / "scale", 2)
        eventually(lambda: ("scale", 2) in server.models.available())
        assert not slow.done()
        assert stubs.states("scale") == {2: VersionState.AVAILABLE, 1: VersionState.UNLOADING}
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[3, 6]]
        answer = slow.result(timeout=60)
        assert answer.model_spec.version.value == 1
        assert tf.make_ndarray(answer.outputs["factor"]) == 2.0
        eventually(lambda: stubs.states("scale")[1] == VersionState.END)


def break_saved_model(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"not a model")


def break_variables(version: Path) -> None:
    next((version / "variables").glob("*.data-*")).write_bytes(b"")


def break_warm_up(version: Path) -> None:
    add_warm_up(version, [predict_request("scale", "strict", size=np.array([0], np.int32))])


def break_warm_up_file(version: Path) -> None:
    add_warm_up(version, [])
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"not a record file")


def break_warm_up_record(version: Path) -> None:
    add_warm_up(version, [])
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(b"\xff")


def record_another_kind(version: Path) -> None:
    add_warm_up(version, [])
    log = prediction_log_pb2.PredictionLog(session_run_log=prediction_log_pb2.SessionRunLog())
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (break_saved_model, "Cannot parse"),
        (break_variables, "Read less bytes than requested"),
        (break_warm_up, "size must be positive"),
        (break_warm_up_record, "Failed to parse warmup record"),
        (record_another_kind, "Unsupported log_type for warmup: session_run_log"),
        (break_warm_up_file, "verify your warmup data is in TFRecord format"),
    ],
)
def test_a_broken_new_version_leaves_the_old_one_serving_and_says_why(doubling, tripling, tmp_path, damage, why):
    place(doubling, tmp_path / "scale", 1)
    reports: list[str] = []
    with running(tmp_path, reports) as server, connected(server) as stubs:
        broken = place(tripling, tmp_path, 2)
        damage(broken)
        broken.rename(tmp_path / "scale" / "2")
        eventually(lambda: stubs.states("scale").get(2) == VersionState.END)
        assert stubs.states("scale")[1] == VersionState.AVAILABLE
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]
        request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "scale", "version": {"value": 2}})
        (status,) = stubs.model.GetModelStatus(request).model_version_status
        assert status.status.error_code != 0
        assert why in status.status.error_message
        time.sleep(0.3)  # several polls
        (line,) = [line for line in reports if line.startswith("scale version 2 cannot be served: ")]
        assert why in line


def test_a_broken_version_is_tried_again_once_its_files_change(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    good = (tripling / "saved_model.pb").read_bytes()
    with running(tmp_path) as server, connected(server) as stubs:
        half = place(tripling, tmp_path, 2)
        break_saved_model(half)
        half.rename(tmp_path / "scale" / "2")
        eventually(lambda: stubs.states("scale").get(2) == VersionState.END)
        (tmp_path / "scale" / "2" / "saved_model.pb").write_bytes(good)
        eventually(lambda: ("scale", 2) in server.models.available())
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[3, 6]]


def test_removing_the_newest_version_goes_back_to_the_one_before(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    newest = place(tripling, tmp_path / "scale", 2)
    with running(tmp_path) as server, connected(server) as stubs:
        newest.rename(tmp_path / "gone")
        eventually(lambda: server.models.available() == [("scale", 1)])
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]
        (tmp_path / "scale").rename(tmp_path / "gone" / "scale")
        eventually(lambda: server.models.available() == [])
        assert refused(lambda: stubs.predict("scale", x=X)) == (
            "NOT_FOUND",
            "Servable not found for request: Latest(scale)",
        )


def test_a_folder_that_is_out_of_reach_changes_nothing(doubling, tmp_path):
    folder = tmp_path / "models"
    place(doubling, folder / "scale", 1)
    reports: list[str] = []
    with running(folder, reports) as server:
        folder.rename(tmp_path / "elsewhere")
        eventually(lambda: any("cannot look for models" in line for line in reports))
        time.sleep(0.3)  # several polls
        assert server.models.available() == [("scale", 1)]
        assert sum("cannot look for models" in line for line in reports) == 1


def test_warm_up_requests_run_before_the_version_is_available(doubling, tmp_path):
    version = place(doubling, tmp_path / "scale", 1)
    add_warm_up(version, [predict_request("any", x=X), predict_request("any", "echo", word=["a"], shout=True)])
    with running(tmp_path) as server, server.models.servable("scale", None) as leased:
        # One call looked up per signature that the requests named.
        assert leased._calls.cache_info().currsize == 2


def test_a_version_is_loading_until_its_warm_up_is_done_and_the_one_before_answers(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "models" / "scale", 1)
    with running(tmp_path / "models") as server, connected(server) as stubs:
        slow = place(tripling, tmp_path, 2)
        turns = np.int32(turns_for(stubs, 1.0))
        add_warm_up(slow, [predict_request("any", "slow", turns=turns), predict_request("any", x=X)])
        slow.rename(tmp_path / "models" / "scale" / "2")
        eventually(lambda: 2 in stubs.states("scale"))
        assert stubs.states("scale") == {2: VersionState.LOADING, 1: VersionState.AVAILABLE}
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]
        assert refused(lambda: stubs.predict("scale", "", 2, x=X))[0] == "NOT_FOUND"
        eventually(lambda: stubs.states("scale")[2] == VersionState.AVAILABLE)
        assert tf.make_ndarray(stubs.predict("scale", x=X).outputs["y"]).tolist() == [[3, 6]]


def failing_at_first(monkeypatch: pytest.MonkeyPatch, failures: int) -> list[float]:
    """Lets so many loads of a version fail although its files are whole; the times of all loads."""
    loads: list[float] = []

    def load(path: Path, name: str, version: int) -> Any:
        loads.append(time.monotonic())
        if len(loads) <= failures:
            raise OSError("the disk is away")
        return servable.load(path, name, version)

    monkeypatch.setattr(model_manager, "load", load)
    return loads


@pytest.mark.parametrize("poll_seconds", [0, 0.02])
def test_a_version_that_fails_to_load_is_tried_again_as_often_as_asked(
    doubling, tmp_path, monkeypatch, poll_seconds
) -> None:
    place(doubling, tmp_path / "scale", 1)
    loads = failing_at_first(monkeypatch, 2)
    reports: list[str] = []
    options = {"poll_seconds": poll_seconds, "load_retries": 2, "load_retry_seconds": 0.1}
    with running(tmp_path, reports, **options) as server:
        assert server.models.retrying()
        eventually(lambda: server.models.available() == [("scale", 1)])
        assert not server.models.retrying()
        assert min(np.diff(loads)) >= 0.1
        assert [line for line in reports if "cannot be served" in line] == [
            "scale version 1 cannot be served: the disk is away; tried again in 0.1 s (1 of 2)",
            "scale version 1 cannot be served: the disk is away; tried again in 0.1 s (2 of 2)",
        ]


def test_a_version_that_fails_once_too_often_or_is_gone_is_not_tried_again(doubling, tmp_path, monkeypatch) -> None:
    place(doubling, tmp_path / "scale", 1)
    gone = place(doubling, tmp_path / "other", 1)
    loads = failing_at_first(monkeypatch, 100)
    with running(tmp_path, load_retries=1, load_retry_seconds=0.2) as server:
        gone.rename(tmp_path / "gone")
        eventually(lambda: not server.models.retrying())
        time.sleep(0.5)
        assert len(loads) == 3  # two of "scale", one of "other"
        (status,) = server.models.statuses("scale")
        assert (status.state, status.error is None) == (VersionState.END, False)


def test_more_warm_up_requests_than_tensorflow_serving_takes_are_an_error(doubling, tmp_path):
    version = place(doubling, tmp_path / "scale", 1)
    add_warm_up(version, [predict_request("any", x=X)] * 1001)
    with running(tmp_path) as server:
        (status,) = server.models.statuses("scale")
        assert status.error is not None
        assert "exceeds the maximum (1000)" in status.error.message


def test_the_manager_needs_no_grpc(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    manager = ModelManager(folder_source(tmp_path), poll_seconds=0, report=lambda line: None)
    manager.start()
    with manager.servable("scale", None) as leased:
        signature = leased.signatures["serving_default"]
        assert leased.run(signature, {"x": X}, ["y"])["y"].tolist() == [[2, 4]]
    manager.stop()
    assert [status.state for status in manager.statuses("scale")] == [VersionState.END]
    with pytest.raises(tf.errors.NotFoundError, match=r"Latest\(scale\)"), manager.servable("scale", None):
        pass
