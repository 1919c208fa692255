"""TLS, mutual TLS and tokens of the embedded server, with our client, plain gRPC stubs and curl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from curl import curl
from grpc_health.v1 import health_pb2, health_pb2_grpc
from toy_models import export_scale, place
from toy_server import X, connected, predict_request, refused, running

from serving.client.client import Client, Tls
from serving.server.access import Tokens, read_tls, read_tokens
from serving.server.server import RestOptions
from serving.wire import errors
from serving.wire.errors import StartError

REST = RestOptions(0, 30.0, "/metrics")
STATUS = "/v1/models/scale"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    place(export_scale(tmp_path_factory.mktemp("saved") / "doubling", 2.0), folder / "scale", 1)
    return folder


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key; the same of a stranger."""
    folder, made = tmp_path_factory.mktemp("tls"), {}
    for name in ("own", "other"):
        made[name], made[f"{name} key"] = folder / f"{name}.crt", folder / f"{name}.key"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made[name])]
        subprocess.run([*command, "-keyout", str(made[f"{name} key"])], check=True, capture_output=True)
    return made


def config_text(pem: dict[str, Path], *, mutual: bool = False, key: str = "own key") -> str:
    """An SSLConfig as people write it: the PEM texts in it, line by line."""
    fields = {"server_key": pem[key], "server_cert": pem["own"], **({"custom_ca": pem["own"]} if mutual else {})}
    lines = []
    for name, file in fields.items():
        lines += [f"{name}:", *(f'  "{line}\\n"' for line in file.read_text().splitlines())]
    return "\n".join([*lines, f"client_verify: {'true' if mutual else 'false'}"])


def status(target: str, tls: Tls | None = None, token: str | None = None) -> int:
    with Client(target, "scale", timeout=3.0, tls=tls, token=token) as client:
        return client.status()[0].version


def curl_status(server: Any, *options: str) -> int:
    """0 where there is no connection."""
    command = ["curl", "--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code}", *options]
    done = subprocess.run([*command, f"https://{server.rest_address}{STATUS}"], capture_output=True, text=True)
    return int(done.stdout)


def test_with_tls_both_faces_show_the_certificate_and_refuse_plain_connections(models, pem, tmp_path) -> None:
    file = tmp_path / "ssl.config"
    file.write_text(config_text(pem))
    with running(models, rest=REST, tls=read_tls(file)) as server:
        assert status(server.address, Tls(roots=pem["own"])) == 1
        for tls in (None, Tls(roots=pem["other"])):
            with pytest.raises(errors.UnavailableError):
                status(server.address, tls)
        assert curl_status(server, "--cacert", str(pem["own"])) == 200
        assert curl_status(server, "--cacert", str(pem["other"])) == 0
        assert server.describe() == [f"scale  version 1  {server.address}  https://{server.rest_address}"]


def test_with_client_verify_only_clients_whom_custom_ca_vouches_for_are_answered(models, pem, tmp_path) -> None:
    file = tmp_path / "ssl.config"
    file.write_text(config_text(pem, mutual=True))
    with running(models, rest=REST, tls=read_tls(file)) as server:
        assert status(server.address, Tls(pem["own"], pem["own"], pem["own key"])) == 1
        for tls in (Tls(pem["own"]), Tls(pem["own"], pem["other"], pem["other key"])):
            with pytest.raises(errors.UnavailableError):
                status(server.address, tls)
        roots = ("--cacert", str(pem["own"]))
        assert curl_status(server, *roots, "--cert", str(pem["own"]), "--key", str(pem["own key"])) == 200
        assert curl_status(server, *roots) == 0
        assert curl_status(server, *roots, "--cert", str(pem["other"]), "--key", str(pem["other key"])) == 0


def test_with_tokens_every_method_and_path_but_health_needs_one_of_them(models) -> None:
    with running(models, rest=REST, tokens=Tokens(("old", "new"))) as server, connected(server) as stubs:
        assert status(server.address, token="old") == status(server.address, token="new") == 1
        for token in ("wrong", "ne", "newer", None):
            with pytest.raises(errors.AccessDeniedError, match="authorization: Bearer"):
                status(server.address, token=token)
        request = predict_request("scale", x=X)
        assert refused(lambda: stubs.prediction.Predict(request))[0] == "UNAUTHENTICATED"
        assert refused(lambda: stubs.prediction.Predict(request, metadata=[("authorization", "Basic new")]))[0] == (
            "UNAUTHENTICATED"
        )
        answer = stubs.prediction.Predict(request, metadata=[("authorization", "Bearer new")])
        assert list(answer.outputs["y"].float_val) == [2, 4]
        with grpc.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for path in (STATUS, "/metrics", "/elsewhere"):
            assert curl(server, path)[0] == 401
        assert curl(server, STATUS, "-H", "Authorization: Bearer new")[0] == 200
        assert curl(server, f"{STATUS}:predict", "-H", "Authorization: Bearer no", data={"inputs": [[1, 2]]})[0] == 401


def test_a_wrong_tls_file_is_one_line_with_the_remedy(pem, tmp_path) -> None:
    file = tmp_path / "ssl.config"
    for text, message in (
        ("", "server_key is missing"),
        ('server_key: "x"', "server_cert is missing"),
        ('server_key: "x" server_cert: "y"', "no usable key and certificate"),
        (config_text(pem, key="other key"), "must be a pair"),
        (config_text(pem).replace("client_verify: false", "client_verify: true"), "client_verify without custom_ca"),
        ('server_kee: "x"', 'SSLConfig: 1:1: .*no field named "server_kee"'),
    ):
        file.write_text(text)
        with pytest.raises(StartError, match=message) as caught:
            read_tls(file)
        assert "\n" not in str(caught.value)
        assert "ssl.config" in str(caught.value)
        assert "PRIVATE" not in str(caught.value)


def test_a_token_file_has_a_token_a_line(tmp_path) -> None:
    file = tmp_path / "tokens"
    file.write_text("old\n\n new \r\n")
    assert read_tokens(file) == Tokens(("old", "new"))
    assert "old" not in repr(read_tokens(file))
    for text, message in (("\n \n", "no token"), ("one\ntwo three\n", "line 2"), ("schlüssel", "line 1")):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(StartError, match=message):
            read_tokens(file)
    with pytest.raises(StartError, match=r"cannot read .*none"):
        read_tokens(tmp_path / "none")
