"""TLS, mutual TLS and tokens of both clients, against servers that require them."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
)

from serving.client.aio import AsyncClient
from serving.client.client import Client, Tls
from serving.wire import errors


@dataclass(frozen=True)
class Files:
    """A certificate for localhost that vouches for itself, and its key; the same of a stranger."""

    certificate: Path
    key: Path
    other_certificate: Path
    other_key: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    made = []
    for name in ("own", "other"):
        made += [folder / f"{name}.crt", folder / f"{name}.key"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost", "-out", str(made[-2]), "-keyout", str(made[-1])]
        subprocess.run(command, check=True, capture_output=True)
    return Files(*made)


class Model(model_service_pb2_grpc.ModelServiceServicer):
    """One version, for whoever has the token; remembers what it was sent."""

    def __init__(self, token: str | None) -> None:
        self.token, self.sent = token, [""]

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.sent.append(dict(context.invocation_metadata()).get("authorization", ""))
        if self.token is not None and self.sent[-1] != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "a token is needed")
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[{"version": 3, "state": 30}])


@contextmanager
def served(model: Model, files: Files | None, *, mutual: bool = False) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(model, server)
    if files is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        pair = (files.key.read_bytes(), files.certificate.read_bytes())
        roots = files.certificate.read_bytes() if mutual else None
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair], roots, mutual))
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(None).wait()


def status(target: str, **settings: Any) -> int:
    with Client(target, "m", timeout=settings.pop("timeout", 10.0), **settings) as client:
        return client.status()[0].version


def async_status(target: str, **settings: Any) -> int:
    async def ask() -> int:
        async with AsyncClient(target, "m", timeout=settings.pop("timeout", 10.0), **settings) as client:
            return (await client.status())[0].version

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [status, async_status], ids=["threads", "asyncio"])


@both
def test_tls_connects_to_who_the_roots_vouch_for_and_to_nobody_else(ask: Any, files: Files) -> None:
    with served(Model(None), files) as target:
        assert ask(target, tls=Tls(roots=files.certificate)) == 3
        for settings in ({"tls": Tls(roots=files.other_certificate)}, {}):
            with pytest.raises(errors.UnavailableError):
                ask(target, timeout=2.0, **settings)


@both
def test_mutual_tls_shows_the_client_s_certificate(ask: Any, files: Files) -> None:
    with served(Model(None), files, mutual=True) as target:
        own = Tls(files.certificate, files.certificate, files.key)
        assert ask(target, tls=own) == 3
        for tls in (Tls(files.certificate), Tls(files.certificate, files.other_certificate, files.other_key)):
            with pytest.raises(errors.UnavailableError):
                ask(target, timeout=2.0, tls=tls)


@both
@pytest.mark.parametrize("encrypted", [True, False])
def test_the_token_goes_with_every_call(ask: Any, files: Files, encrypted: bool) -> None:
    model = Model("s3cret")
    tls = Tls(roots=files.certificate) if encrypted else None
    with served(model, files if encrypted else None) as target:
        assert ask(target, tls=tls, token="s3cret\n") == 3
        assert model.sent[-1] == "Bearer s3cret"
        for token in ("wrong", None):
            with pytest.raises(errors.AccessDeniedError, match="a token is needed"):
                ask(target, tls=tls, token=token)


def test_what_cannot_be_is_named_before_anything_is_sent(files: Files, tmp_path: Path) -> None:
    der = tmp_path / "binary.der"
    der.write_bytes(b"\x30\x82")
    for tls, message in (
        (Tls(roots=tmp_path / "none.pem"), r"none\.pem: cannot be read \(No such file"),
        (Tls(roots=der), r"binary\.der: not a PEM file"),
        (Tls(certificate=files.certificate), "certificate and key go together"),
    ):
        with pytest.raises(errors.InvalidRequestError, match=message):
            Client("localhost:1", "m", timeout=1.0, tls=tls)
    for token in ("", " \n", "a\nb", "schlüssel"):
        with pytest.raises(errors.InvalidRequestError, match="token: must be"):
            Client("localhost:1", "m", timeout=1.0, token=token)
    with grpc.insecure_channel("localhost:1") as channel, pytest.raises(errors.InvalidRequestError, match="tls is for"):
        Client("localhost:1", "m", timeout=1.0, tls=Tls(), channel=channel)
