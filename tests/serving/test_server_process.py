"""The embedded server's start and stop: address, errors, draining, signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from toy_models import export_scale, place
from toy_server import (
    Stubs,
    X,
    connected,
    eventually,
    predict_request,
    running,
    server_options,
    silent,
    status_of,
    turns_for,
)

from serving.server import model_manager
from serving.server.server import Server, serve
from serving.server.sources import ModelConfig, folder_source
from serving.wire.errors import StartError

pytestmark = pytest.mark.slow

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_scale(tmp_path_factory.mktemp("saved") / "doubling", 2.0)


@pytest.fixture(scope="module")
def tripling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_scale(tmp_path_factory.mktemp("saved") / "tripling", 3.0)


def test_the_server_listens_on_the_loopback_unless_a_host_is_given(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    with running(tmp_path) as server:
        assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", server.address)
        assert server.address.endswith(f":{server.port}")


def server_at(models: Path, port: int) -> Server:
    return Server(folder_source(models), server_options(port=port, grace=0.0), silent)


def test_a_taken_port_and_a_missing_folder_are_one_line_with_the_remedy(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    with running(tmp_path) as server, pytest.raises(StartError, match=rf"listen at 127.0.0.1:{server.port}.*--port"):
        server_at(tmp_path, server.port).start()
    with pytest.raises(StartError, match=r"no-such-folder.*--models"):
        server_at(tmp_path / "no-such-folder", 0).start()


def test_a_request_that_comes_while_models_load_waits_for_them(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    loading = threading.Event()

    def slow_source() -> Sequence[ModelConfig]:
        assert loading.wait(30)
        return folder_source(tmp_path)()

    server = Server(slow_source, server_options(), silent)
    starting = threading.Thread(target=server.start)
    starting.start()
    try:
        eventually(lambda: server.port != 0)
        with connected(server) as stubs:
            early = stubs.prediction.Predict.future(predict_request("scale", x=X), timeout=30)
            time.sleep(0.5)
            assert not early.done()
            loading.set()
            assert tf.make_ndarray(early.result().outputs["y"]).tolist() == [[2, 4]]
    finally:
        loading.set()
        starting.join()
        server.stop()


def test_serving_a_folder_without_a_model_is_an_error_that_says_what_to_do(tmp_path):

    def start() -> None:
        serve(folder_source(tmp_path), server_options(grace=0.0), source_name=str(tmp_path), echo=print)

    with pytest.raises(StartError, match=r"nothing to serve .*triptych export"):
        start()
    (tmp_path / "scale" / "1").mkdir(parents=True)
    with pytest.raises(StartError, match=r"nothing to serve \(scale  version 1  not served: .*saved_model"):
        start()


def test_a_start_at_which_nothing_loads_waits_for_the_tries_that_are_left(doubling, tmp_path, monkeypatch):
    """Then it serves, or it ends with the reason; stopping meanwhile is no error."""
    place(doubling, tmp_path / "scale", 1)
    real, tries = model_manager.load, iter([False, True, False, False, *[False] * 100])

    def load(*place: Any) -> Any:
        if next(tries):
            return real(*place)
        raise OSError("the disk is away")

    monkeypatch.setattr(model_manager, "load", load)
    lines: list[str] = []

    def interrupt_once_served(line: str) -> None:
        lines.append(line)
        if "is served" in line:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    def start(echo: Any, **options: Any) -> None:
        options = {"poll_seconds": 0.02, "grace": 0.0, **options}
        serve(folder_source(tmp_path), server_options(**options), source_name="models", echo=echo)

    start(interrupt_once_served, load_retries=1)
    assert lines[0].startswith("scale  version 1  not served: the disk is away")
    assert lines[1].startswith("scale version 1 is served (loaded in ")
    assert lines[2].startswith("scale  version 1  127.0.0.1:")
    with pytest.raises(StartError, match=r"nothing to serve \(scale  version 1  not served: the disk is away\)"):
        start(lines.append, load_retries=1)

    interrupted = threading.Event()

    def interrupt(line: str) -> None:
        if not interrupted.is_set():
            interrupted.set()
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    started = time.monotonic()
    start(interrupt, load_retries=1, load_retry_seconds=600.0)
    assert time.monotonic() - started < 60


def test_a_unix_socket_that_cannot_be_is_one_line_with_the_remedy(tmp_path):
    for path in (tmp_path / "no" / "such" / "folder", tmp_path / ("long" * 30)):
        options = server_options(socket_path=str(path))
        with pytest.raises(StartError, match=r"cannot listen at the socket .*--grpc_socket_path"):
            Server(lambda: [], options, silent).start()


def test_stopping_lets_a_request_under_way_finish_and_refuses_new_ones(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    with running(tmp_path) as server, connected(server) as stubs:
        slow = stubs.prediction.Predict.future(predict_request("scale", "slow", turns=np.int32(turns_for(stubs, 3.0))))
        eventually(lambda: server.models._models["scale"][1].leases == 1)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        eventually(lambda: not slow.done() and status_of(lambda: stubs.predict("scale", x=X)) == "UNAVAILABLE")
        assert tf.make_ndarray(slow.result(timeout=60).outputs["factor"]) == 2.0
        stopping.join(timeout=60)
        assert server.models.available() == []


SERVE = """
import functools, sys
from pathlib import Path
from serving.server.server import ServerOptions, serve
from serving.server.sources import folder_source
options = ServerOptions(host=None, port=0, poll_seconds=0.05, threads=2, max_message_bytes=1 << 20, grace=10.0)
serve(folder_source(Path(sys.argv[1])), options, source_name=sys.argv[1], echo=functools.partial(print, flush=True))
names = {name.split(".")[0] for name in sys.modules}
print("imported:", sorted(names & {"tensorflow_recommenders", "keras_nlp", "towers", "pipelines", "tensorflow_io"}))
"""


def test_the_process_announces_its_models_and_drains_on_sigterm(doubling, tripling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        cwd=REPO,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"scale  version 1  (127\.0\.0\.1:\d+)\n", line)
        assert found, line
        with grpc.insecure_channel(found[1]) as channel:
            assert tf.make_ndarray(Stubs(channel).predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]
        place(tripling, tmp_path / "scale", 2)
        assert re.fullmatch(r"scale version 2 is served \(loaded in [\d.]+ s\)\n", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert output.splitlines()[-2:] == ["scale version 2 is no longer served", "imported: []"]


def test_serve_returns_on_sigint_and_gives_the_signals_back(doubling, tmp_path):
    place(doubling, tmp_path / "scale", 1)
    before = signal.getsignal(signal.SIGINT)
    lines: list[str] = []

    def interrupt_after_the_first(line: str) -> None:
        lines.append(line)
        if len(lines) == 1:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    serve(folder_source(tmp_path), server_options(), source_name=str(tmp_path), echo=interrupt_after_the_first)
    assert [line.split("  127")[0] for line in lines] == [
        "scale  version 1",
        "stopping: requests under way may finish",
        "scale version 1 is no longer served",
    ]
    assert signal.getsignal(signal.SIGINT) is before
