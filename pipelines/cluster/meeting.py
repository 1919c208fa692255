"""How the workers of a cluster meet, before TensorFlow's own servers start.

Each worker listens at its own address and connects to the workers before it; each pair exchanges one line of JSON. So a
worker that is missing is named after a time limit, and workers that were started in different ways are told, where
TensorFlow would wait for an hour, or train on different things. A process that still trains does not answer: who is
restarted after a kill waits until the others were restarted too.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipelines.cluster.tf_config import Cluster
from pipelines.runs.progress import say
from tfrecs.errors import SpecError, WorkersError, shorten

_SAY_EVERY = 15.0  # seconds
_PAUSE = 0.2  # seconds between two attempts to reach a worker
_ANSWER = 10.0  # seconds that a worker which took the connection has for its line
_LONGEST = 1 << 20  # bytes of a line

Greeting = dict[str, Any]


def meet(cluster: Cluster, details: Mapping[str, Any], limit: float) -> None:
    """Wait until all workers are there, and compare how they were started.

    Args:
      cluster: the workers, and which of them this one is.
      details: name -> JSON value, what must be the same on all workers.
      limit: seconds to wait.

    Raises:
      SpecError: workers differ, or this worker's own port is taken.
      WorkersError: some did not come in time.
    """
    mine: Greeting = {"index": cluster.index, "details": {"the cluster": list(cluster.addresses), **details}}
    met: dict[int, Greeting] = {}
    left = threading.Event()
    with _listener(cluster) as listener:
        for peer in range(cluster.index):
            threading.Thread(target=_call, args=(cluster, peer, mine, met, left), daemon=True).start()
        try:
            _listen(cluster, listener, mine, met, limit)
        finally:
            left.set()
    for peer in sorted(met):
        _compare(cluster, peer, mine, met[peer])


@contextmanager
def _listener(cluster: Cluster) -> Iterator[socket.socket]:
    host, _, port = cluster.addresses[cluster.index].rpartition(":")
    try:
        # TensorFlow's server listens on all interfaces too; on the loopback there is no need to.
        listener = socket.create_server((host if host in ("127.0.0.1", "localhost") else "", int(port)), backlog=128)
    except OSError as error:
        raise SpecError(
            f"worker {cluster.index}: cannot listen at port {port} ({error.strerror}); end what runs there, or give "
            "this worker another port in TF_CONFIG"
        ) from error
    with listener:
        listener.settimeout(_PAUSE)
        yield listener


def _listen(cluster: Cluster, listener: socket.socket, mine: Greeting, met: dict[int, Greeting], limit: float) -> None:
    started = said = time.monotonic()
    while len(met) < len(cluster.addresses) - 1:
        now = time.monotonic()
        if now - started > limit:
            raise WorkersError(
                f"worker {cluster.index}: {_missing(cluster, met)} did not answer within {limit:g} s; start every "
                "worker, and check the addresses in TF_CONFIG and the network between them (train.worker_timeout is "
                "the limit)"
            )
        if now - said > _SAY_EVERY:
            said = now
            say(f"  waiting for {_missing(cluster, met)}, {limit - (now - started):.0f} s left")
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            theirs = _exchange(connection, mine, first=False)
        if theirs is not None and cluster.index < theirs["index"] < len(cluster.addresses):
            met[theirs["index"]] = theirs


def _call(cluster: Cluster, peer: int, mine: Greeting, met: dict[int, Greeting], left: threading.Event) -> None:
    host, _, port = cluster.addresses[peer].rpartition(":")
    while not left.is_set():
        try:
            with socket.create_connection((host, int(port)), timeout=_ANSWER) as connection:
                theirs = _exchange(connection, mine, first=True)
        except OSError:  # not there yet, or its name is not known yet
            theirs = None
        if theirs is not None and theirs["index"] == peer:
            met[peer] = theirs
            return
        left.wait(_PAUSE)


def _exchange(connection: socket.socket, mine: Greeting, *, first: bool) -> Greeting | None:
    """Send this worker's line and read the other's; None where what answers is no worker that waits."""
    line = json.dumps(mine).encode() + b"\n"
    connection.settimeout(_ANSWER)
    try:
        if first:
            connection.sendall(line)
        with connection.makefile("rb") as stream:
            theirs = json.loads(stream.readline(_LONGEST))
        if not isinstance(theirs["index"], int) or not isinstance(theirs["details"], dict):
            return None
        if not first:
            connection.sendall(line)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return {"index": theirs["index"], "details": theirs["details"]}


def _missing(cluster: Cluster, met: Mapping[int, Greeting]) -> str:
    missing = [peer for peer in range(len(cluster.addresses)) if peer != cluster.index and peer not in met]
    names = [f"{peer} ({cluster.addresses[peer]})" for peer in missing[:4]]
    if len(missing) > len(names):
        names.append(f"{len(missing) - len(names)} more")
    return f"worker{'s' * (len(missing) > 1)} {', '.join(names)}"


def _compare(cluster: Cluster, peer: int, mine: Greeting, theirs: Greeting) -> None:
    ours, others = mine["details"], theirs["details"]
    for name in (*ours, *(name for name in others if name not in ours)):
        if ours.get(name) != others.get(name):
            raise SpecError(
                f"worker {peer} ({cluster.addresses[peer]}) has another value of {name} ({shorten(others.get(name))}, "
                f"worker {cluster.index} {shorten(ours.get(name))}); start all workers with one command"
            )
