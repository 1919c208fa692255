"""Access control of the embedded server: TLS, mutual TLS and bearer tokens.

TensorFlow Serving's `--ssl_config_file` is an SSLConfig (config/ssl_config.proto) in text form that contains the PEM
texts. It applies to gRPC only there; here REST uses the same certificate. Bearer tokens (RFC 6750) are an addition.
"""

from __future__ import annotations

import inspect
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.server.config_files import read_ssl
from serving.wire.errors import StartError
from serving.wire.tokens import Tokens, read_tokens

__all__ = ["ServerTls", "TokenInterceptor", "TokenMiddleware", "Tokens", "read_tls", "read_tokens"]

_HEADER = "authorization"
_REFUSAL = "a token is needed: send the header authorization: Bearer <token>"
# Open without a token: the probes of orchestrators cannot send one, and learn only whether a model is served.
_OPEN_SERVICE = "/grpc.health.v1.Health/"


@dataclass(frozen=True)
class ServerTls:
    """Key and certificates of a server, as PEM texts.

    Attributes:
      key: the server's private key.
      certificate: the server's certificate chain.
      roots: root certificates for client certificates; empty for none.
      verify_clients: require a client certificate (mutual TLS).
    """

    key: str = field(repr=False)
    certificate: str
    roots: str
    verify_clients: bool

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials for gRPC."""
        pair = (self.key.encode(), self.certificate.encode())
        return grpc.ssl_server_credentials([pair], self.roots.encode() or None, self.verify_clients)

    def context(self) -> ssl.SSLContext:
        """Context for HTTP. Raises ssl.SSLError if key and certificate are invalid or do not match."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # OpenSSL reads a chain from files only; only this user can read the temporary folder.
        with tempfile.TemporaryDirectory() as folder:
            key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
            key.write_text(self.key, encoding="ascii")
            certificate.write_text(self.certificate, encoding="ascii")
            # An encrypted key must raise an error, not ask for a password at the terminal.
            context.load_cert_chain(certificate, key, password=lambda: "")
        if self.roots:
            context.load_verify_locations(cadata=self.roots)
        if self.verify_clients:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def read_tls(path: Path) -> ServerTls:
    """Read an SSLConfig file.

    Raises:
      StartError: it cannot be read, is no SSLConfig, lacks a part, or key and certificate do not match.
    """
    config = read_ssl(path)
    tls = ServerTls(config.server_key, config.server_cert, config.custom_ca, config.client_verify)
    for name, text in (("server_key", tls.key), ("server_cert", tls.certificate)):
        if not text:
            raise StartError(f"{path}: {name} is missing; give its PEM text")
    if tls.verify_clients and not tls.roots:
        raise StartError(f"{path}: client_verify without custom_ca; give the PEM text of who vouches for clients")
    try:
        tls.context()
    except (ssl.SSLError, UnicodeEncodeError) as error:
        raise StartError(
            f"{path}: no usable key and certificate ({error}); server_key and server_cert must be a pair, and custom_ca "
            "certificates, in PEM, the key without a password"
        ) from error
    return tls


class TokenInterceptor(grpc.ServerInterceptor):
    """Refuse gRPC calls without a token (UNAUTHENTICATED), except to the health service."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._refusal = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        details: Any = handler_call_details
        header = dict(details.invocation_metadata).get(_HEADER, "")
        if details.method.startswith(_OPEN_SERVICE) or self._tokens.allow(header):
            return continuation(details)
        return self._refusal


class AsyncTokenInterceptor(grpc.aio.ServerInterceptor):
    """`TokenInterceptor` for a server of `grpc.aio`."""

    def __init__(self, tokens: Tokens) -> None:
        self._allowed = TokenInterceptor(tokens)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = self._allowed.intercept_service(continuation, handler_call_details)
        return await handler if inspect.isawaitable(handler) else handler


class TokenMiddleware:
    """Refuse HTTP requests without a token (401) on every path, before the body is read."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if self._tokens.allow(headers.get(_HEADER.encode(), b"").decode("latin-1")):
            await self._app(scope, receive, send)
        else:
            refusal = JSONResponse({"error": _REFUSAL}, 401, headers={"WWW-Authenticate": "Bearer"})
            await refusal(scope, receive, send)


def _refuse(request: bytes, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, _REFUSAL)
