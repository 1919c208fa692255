"""The model server behind the app: one that is there, or the embedded one as a process of its own. No TensorFlow."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.runs.progress import say
from serving.client.client import Client
from serving.wire.errors import ServingError


@contextmanager
def model_server(model: str, models: Path, target: str | None, port: int) -> Iterator[str]:
    """Yield host:port of a server of a model.

    Args:
      model: its name, a folder in `models`.
      models: folder with exported models.
      target: host:port of a server that is there; None takes the one on this machine, or starts one, which ends with the
        block.
      port: where a server on this machine is looked for.
    """
    if target is not None:
        yield target
        return
    default = f"127.0.0.1:{port}"
    if _serves(default, model):
        yield default
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    say(f"No server of {model} on {default}: starting the embedded one on port {port}.")
    command = [sys.executable, "-m", "pipelines.cli", "serve", "--models", str(models / model)]
    process = subprocess.Popen(
        [*command, "--port", str(port), "--no-rest"],
        stdin=subprocess.DEVNULL,
        preexec_fn=_terminate_with_parent(),
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _terminate_with_parent() -> Callable[[], None] | None:
    """Return, on Linux, a function that makes the child process end when its parent is killed."""
    if not sys.platform.startswith("linux"):
        return None
    libc, pr_set_pdeathsig = ctypes.CDLL(None), 1
    return lambda: libc.prctl(pr_set_pdeathsig, signal.SIGTERM)


def _serves(target: str, model: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        host, _, port = target.rpartition(":")
        if probe.connect_ex((host, int(port))):
            return False
    try:
        with Client(target, model, timeout=2.0) as client:
            return any(version.state == "AVAILABLE" for version in client.status())
    except ServingError:
        return False  # another service, or another model
