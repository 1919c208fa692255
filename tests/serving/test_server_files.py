"""The batching and monitoring files, the metrics page, and `triptych serve` with all of its files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from curl import curl
from prometheus_client.parser import text_string_to_metric_families
from toy_models import export_scale, place
from toy_server import Stubs, X, batches, connected, refused, running

from pipelines.config import load_config
from pipelines.serving.model_server import ServeJob, batching_options, rest_options
from serving.server.config_files import read_batching, read_prometheus_path
from serving.server.metrics import Histogram, ServerMetrics
from serving.server.server import RestOptions
from serving.server.sources import config_file_source
from serving.wire.errors import StartError

REPO = Path(__file__).resolve().parents[2]

BATCHING = """
max_batch_size { value: 128 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
allowed_batch_sizes: 64
allowed_batch_sizes: 128
pad_variable_length_inputs: true
"""


def test_a_batching_file_changes_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text(BATCHING)
    assert read_batching(file, batches()) == batches(
        max_batch_size=128,
        batch_timeout_micros=5000,
        max_enqueued_batches=100,
        num_batch_threads=2,
        allowed_batch_sizes=(64, 128),
        pad_variable_length_inputs=True,
    )
    file.write_text("")
    assert read_batching(file, batches()) == batches()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "max_batch_size: 3",
            r"batching.config: Error parsing text-format tensorflow.serving.BatchingParameters: 1:.*must be a Batching",
        ),
        ("max_batch_size { value: 8 }\nmax_size { value: 1 }", r'BatchingParameters: 2:.*no field named "max_size"'),
        ("allowed_batch_sizes: 3", "batching.config: Last entry in allowed_batch_sizes must match max_batch_size"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
    ],
)
def test_a_wrong_batching_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "batching.config"
    file.write_text(text)
    with pytest.raises(StartError, match=message) as caught:
        read_batching(file, batches())
    assert "\n" not in str(caught.value)


def test_a_monitoring_file_turns_the_metrics_on(tmp_path: Path) -> None:
    file = tmp_path / "monitoring.config"
    for text, path in (
        ("", None),
        ('prometheus_config { path: "/m" }', None),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true, path: "/m" }', "/m"),
    ):
        file.write_text(text)
        assert read_prometheus_path(file) == path


def test_the_files_that_people_copy_are_readable() -> None:
    deploy = REPO / "serving" / "deploy"
    assert read_batching(deploy / "batching.config", batches()).max_batch_size == 8
    assert read_prometheus_path(deploy / "monitoring.config") == "/monitoring/prometheus/metrics"
    assert [model.name for model in config_file_source(deploy / "models.config", poll_seconds=0)()] == ["demo"]


def test_the_command_line_s_options_go_together(tmp_path: Path) -> None:
    config, file = load_config(), tmp_path / "file"
    file.write_text("")
    assert batching_options(ServeJob(config, tmp_path)) is None
    options = batching_options(ServeJob(config, tmp_path, enable_batching=True))
    assert options is not None
    assert (options.max_batch_size, options.num_batch_threads) == (1000, os.cpu_count())
    assert rest_options(ServeJob(config, tmp_path)) == RestOptions(8501, 30.0, None)
    assert rest_options(ServeJob(config, tmp_path, no_rest=True)) is None
    with pytest.raises(StartError, match="--enable-batching"):
        batching_options(ServeJob(config, tmp_path, batching_parameters_file=file))
    with pytest.raises(StartError, match="REST port"):
        rest_options(ServeJob(config, tmp_path, no_rest=True, monitoring_config_file=file))


def test_a_histogram_is_cumulative_over_growing_buckets() -> None:
    histogram = Histogram("h", ("a", "b"), first=10, factor=2, buckets=3)
    for amount in (5, 10, 11, 1000):
        histogram.add(("x", 'say "\\"'), amount)
    labels = 'a="x",b="say \\"\\\\\\""'
    assert histogram.lines() == [
        "# TYPE h histogram",
        f'h_bucket{{{labels},le="10"}} 2',
        f'h_bucket{{{labels},le="20"}} 3',
        f'h_bucket{{{labels},le="40"}} 3',
        f'h_bucket{{{labels},le="+Inf"}} 4',
        f"h_sum{{{labels}}} 1026",
        f"h_count{{{labels}}} 4",
    ]


def test_prometheus_s_own_parser_reads_the_page_of_a_server_that_served(tmp_path: Path) -> None:
    place(export_scale(tmp_path / "saved", 2.0), tmp_path / "models" / "scale", 1)
    rest = RestOptions(0, 30.0, "/monitoring/prometheus/metrics")
    with running(tmp_path / "models", rest=rest, batching=batches()) as server, connected(server) as stubs:
        for _ in range(3):
            stubs.predict("scale", x=X)
        stubs.predict("scale", "strict", size=np.arange(1, 5, dtype=np.int32))
        assert refused(lambda: stubs.predict("scale", "nope", x=X))[0] == "FAILED_PRECONDITION"
        assert refused(lambda: stubs.predict("ghost", x=X))[0] == "NOT_FOUND"
        curl(server, "/v1/models/scale:predict", data={"inputs": [[1, 2]]})
        status, page = curl(server, "/monitoring/prometheus/metrics")
        assert status == 200
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    count, latency = ":tensorflow:serving:request_count", ":tensorflow:serving:request_latency_count"
    scale = ("model_name", "scale")
    # prometheus_client gives every counter of the text format the ending _total, whatever it is called there.
    counted = {key[1:]: value for key, value in samples.items() if key[0] in (count, f"{count}_total")}
    assert counted == {
        (scale, ("status", "OK")): 5,
        (scale, ("status", "FAILED_PRECONDITION")): 1,
        (("model_name", ""), ("status", "NOT_FOUND")): 1,
    }
    assert f'{count}{{model_name="scale",status="OK"}} 5' in page
    assert samples[latency, ("API", "Predict"), ("entrypoint", "GRPC"), scale] == 4
    assert samples[latency, ("API", "predict"), ("entrypoint", "REST"), scale] == 1
    runtime = ":tensorflow:serving:runtime_latency_count"
    assert samples[runtime, ("API", "Predict"), scale, ("runtime", "TF1")] == 5
    queued = ":tensorflow:serving:batching_session:queuing_latency_count"
    assert samples[queued, ("thread_pool_name", "pool")] == 1
    assert samples[":tensorflow:serving:batching_session:processed_batch_size_sum",] == 4


def test_every_metric_has_a_tensorflow_serving_name() -> None:
    assert re.findall(r"# TYPE (\S+) ", ServerMetrics().page()) == [
        ":tensorflow:serving:batching_session:queuing_latency",
        ":tensorflow:serving:batching_session:input_batch_size",
        ":tensorflow:serving:batching_session:padding_size",
        ":tensorflow:serving:batching_session:processed_batch_size",
        ":tensorflow:serving:request_count",
        ":tensorflow:serving:request_latency",
        ":tensorflow:serving:runtime_latency",
    ]


def serve(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.serve", "--port", "0", "--rest-port", "0", *options],
        cwd=REPO,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_triptych_serve_takes_tensorflow_serving_s_flags_and_files(tmp_path: Path) -> None:
    place(export_scale(tmp_path / "saved", 2.0), tmp_path / "models" / "scale", 1)
    models, batching, monitoring = (tmp_path / name for name in ("models.config", "batching.config", "monitoring"))
    models.write_text(
        f'model_config_list {{ config {{ name: "renamed" base_path: "{tmp_path / "models" / "scale"}" '
        'model_platform: "tensorflow" } }'
    )
    batching.write_text(BATCHING)
    monitoring.write_text("prometheus_config { enable: true }")
    process = serve(
        f"--model_config_file={models}",
        "--enable_batching",
        f"--batching_parameters_file={batching}",
        f"--monitoring_config_file={monitoring}",
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"renamed  version 1  (127\.0\.0\.1:\d+)  (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line + (process.stderr.read() if process.stderr and process.poll() is not None else "")
        with grpc.insecure_channel(found[1]) as channel:
            assert tf.make_ndarray(Stubs(channel).predict("renamed", x=X).outputs["y"]).tolist() == [[2, 4]]
        page = subprocess.run(
            ["curl", "-s", f"{found[2]}/monitoring/prometheus/metrics"], capture_output=True, text=True, check=True
        ).stdout
        assert ':tensorflow:serving:request_count{model_name="renamed",status="OK"} 1' in page
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert output.splitlines()[-1] == "renamed version 1 is no longer served"


@pytest.mark.slow
def test_a_wrong_file_ends_triptych_serve_with_one_line_and_status_2(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text("model_config_list {\n  confg {}\n}\n")
    process = serve(f"--model_config_file={file}")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.count("\n") == 1
    assert errors.startswith(f"triptych: {file}: Error parsing text-format tensorflow.serving.ModelServerConfig: 2:3: ")
