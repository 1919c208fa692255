"""Flags of TensorFlow Serving on the command line of `triptych serve`, and what the server does with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from toy_models import export_scale, place
from toy_server import Stubs, X, batches, connected, refused, running

from pipelines.cli import main
from pipelines.config import load_config
from pipelines.serve import command
from pipelines.serving import model_server
from pipelines.serving.model_server import ServeJob, model_source, poll_seconds, rest_options
from pipelines.serving.tensorflow_flags import MISSING, explanation
from serving.server.grpc_api.listeners import read_channel_arguments
from serving.wire.errors import StartError

REPO = Path(__file__).resolve().parents[2]
PAGE = REPO / "docs" / "reference" / "tensorflow_serving.md"
HAVE = {name.lstrip("-") for option in command.params for name in option.opts if "_" in name}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_scale(tmp_path_factory.mktemp("saved") / "doubling", 2.0)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[ServeJob]:
    """What `triptych serve` would do, collected in place of done."""
    collected: list[ServeJob] = []
    monkeypatch.setattr(model_server, "run", collected.append)
    return collected


def test_the_flags_arrive_in_the_job(jobs: list[ServeJob]) -> None:
    result = CliRunner().invoke(
        main,
        [
            "serve",
            "--model_name=half",
            "--model_base_path=/models/half",
            "--grpc_socket_path=/tmp/s",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=2000",
            "--rest_api_timeout_in_ms=1500",
            "--file_system_poll_wait_seconds=0",
            "--max_num_load_retries=3",
            "--load_retry_interval_micros=-1",
            "--enable_batching=true",
        ],
    )
    assert result.exit_code == 0, result.output
    (job,) = jobs
    assert (job.model_name, job.model_base_path, job.grpc_socket_path) == ("half", "/models/half", "/tmp/s")
    assert (job.load_retries, job.load_retry_micros, job.enable_batching) == (3, -1, True)
    assert job.grpc_channel_arguments == "grpc.max_connection_age_ms=2000"
    options = rest_options(job)
    assert options is not None
    assert options.timeout == 1.5
    assert poll_seconds(job) == 0


@pytest.mark.parametrize(
    ("given", "enabled"),
    [
        ([], False),
        (["--enable_batching"], True),
        (["--enable-batching"], True),
        (["--enable_batching=true"], True),
        (["--enable_batching=false"], False),
        (["--enable_batching", "--no-rest"], True),
    ],
)
def test_a_flag_may_have_a_value(jobs: list[ServeJob], given: list[str], enabled: bool) -> None:
    assert CliRunner().invoke(main, ["serve", *given]).exit_code == 0
    assert [job.enable_batching for job in jobs] == [enabled]


def test_a_flag_that_is_not_there_is_named_with_what_it_would_do(jobs: list[ServeJob]) -> None:
    result = CliRunner().invoke(main, ["serve", "--rest_api_num_threads=4"])
    assert result.exit_code == 2
    assert result.output == (
        "triptych: --rest_api_num_threads is a flag of TensorFlow Serving that this server does not have: it limits "
        "the threads of the REST API; here: --set serve.threads=N\n"
    )
    result = CliRunner().invoke(main, ["serve", "--prefer-tflite-model"])
    assert (result.exit_code, "it serves model.tflite" in result.output) == (2, True)
    result = CliRunner().invoke(main, ["serve", "--rest_api_colour=red"])
    assert (result.exit_code, "No such option" in result.output) == (2, True)
    assert jobs == []


def test_no_flag_is_both_there_and_missing_and_the_documentation_names_them_all() -> None:
    assert set(MISSING).isdisjoint(HAVE)
    assert all(explanation(f"--{name}") for name in MISSING)
    page = PAGE.read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(?:--)?(\w+)` \|", page, re.M))
    assert (set(MISSING) | HAVE) - rows == {"token_file"}, "flags without a row of the table"


def test_channel_arguments_are_numbers_where_they_can_be() -> None:
    assert read_channel_arguments("") == {}
    assert read_channel_arguments(
        "grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb,a=b=c,big=3000000000"
    ) == {
        "grpc.max_connection_age_ms": 2000,
        "grpc.lb_policy_name": "grpclb",
        "a": "b=c",
        "big": "3000000000",
    }
    for text in ("grpc.max_connection_age_ms", "=2"):
        with pytest.raises(StartError, match=f'--grpc_channel_arguments: "{text}" is not NAME=VALUE'):
            read_channel_arguments(text)


@pytest.mark.parametrize("batching", [None, batches(batch_timeout_micros=0)])
def test_a_unix_socket_answers_beside_the_port_and_channel_arguments_hold(saved, tmp_path, batching) -> None:
    place(saved, tmp_path / "models" / "scale", 1)
    socket = tmp_path / "grpc.sock"
    arguments = {"grpc.max_receive_message_length": 1000}
    changes = {"socket_path": str(socket), "channel_arguments": arguments, "batching": batching}
    with running(tmp_path / "models", **changes) as server:
        assert server.describe() == [f"scale  version 1  {server.address}  unix:{socket}"]
        with grpc.insecure_channel(f"unix:{socket}") as channel, connected(server) as stubs:
            for each in (stubs, Stubs(channel)):
                assert tf.make_ndarray(each.predict("scale", x=X).outputs["y"]).tolist() == [[2, 4]]
            large = np.ones((200, 2), np.float32)
            assert refused(lambda: stubs.predict("scale", x=large))[0] == "RESOURCE_EXHAUSTED"


def job(**options: Any) -> ServeJob:
    return ServeJob(load_config(), **options)


def test_one_model_by_name_and_base_path(saved: Path, tmp_path: Path) -> None:
    place(saved, tmp_path, 7)
    place(saved, tmp_path, 6)
    for name, expected in ((None, "default"), ("half", "half")):
        source, named = model_source(job(model_name=name, model_base_path=str(tmp_path)))
        (model,) = source()
        assert (model.name, model.base_path, named) == (expected, tmp_path, str(tmp_path))
    with running(source) as server:
        assert server.models.available() == [("half", 7)]


def test_a_wrong_base_path_is_refused_in_tensorflow_serving_s_words(tmp_path: Path) -> None:
    for path, message in (
        ("models", r"Expected model default to have an absolute path or URI; got base_path\(\)=models"),
        (str(tmp_path / "no"), f"Could not find base path {tmp_path / 'no'} for servable default"),
    ):
        with pytest.raises(StartError, match=f"--model_base_path: {message}"):
            model_source(job(model_base_path=path))
    with pytest.raises(StartError, match="--model_name names the model in --model_base_path, and there is none"):
        model_source(job(model_name="half", models=tmp_path))


def test_what_is_given_in_vain_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "models.config"
    file.write_text("model_config_list {}")
    _, named = model_source(job(model_config_file=file, model_base_path="/a", models=tmp_path, model_name="a"))
    assert named == str(file)
    said = capsys.readouterr()
    assert (said.out + said.err).splitlines() == [
        f"{flag} is ignored: --model_config_file names the models"
        for flag in ("--model_base_path", "--models", "--model_name")
    ]


@pytest.mark.parametrize(("poll", "config_poll", "expected"), [(2, 0, 2), (2, 1, 1), (1, 5, 1), (0, 5, 5), (0, 0, 0)])
def test_versions_are_looked_for_whenever_the_configuration_is_read(tmp_path, poll, config_poll, expected) -> None:
    assert poll_seconds(job(model_config_file=tmp_path, poll=poll, config_poll=config_poll)) == expected
    assert poll_seconds(job(poll=poll, config_poll=config_poll)) == poll
