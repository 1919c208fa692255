"""`triptych train` in several processes on this machine, as a cluster starts it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import tensorflow as tf

REPO = Path(__file__).resolve().parents[2]

# Without anything random in a step: each replica draws numbers of its own, so that dropout differs with their number.
# The rate of made queries cannot be 1; a millionth of the positions is less than one in these tests.
CERTAIN = (
    "text.dropout=0",
    "audio.mask=0",
    "vector.dropout=0",
    "categories.dropout=0",
    "item.modality_dropout=0",
    "item.id_dropout=0",
    "user.dropout=0",
    "ranking.dropout=0",
    "retrieval.query_rate=0.999999",
    "retrieval.own_query_rate=1",
)


def addresses(count: int) -> list[str]:
    """Free ones on this machine."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def tf_config(workers: Sequence[str], index: int) -> str:
    return json.dumps({"cluster": {"worker": list(workers)}, "task": {"type": "worker", "index": index}})


class Worker:
    """One process of a cluster; what it prints goes into a file."""

    def __init__(self, workers: Sequence[str], index: int, arguments: Sequence[str], log: Path):
        environment = {**os.environ, "TF_CONFIG": tf_config(workers, index)}
        command = [sys.executable, "-m", "pipelines.train", *arguments, "--strategy", "multiworker"]
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(command, cwd=REPO, env=environment, stdout=file, stderr=subprocess.STDOUT)

    def end(self, seconds: float = 240.0) -> int:
        """Wait for the end; returns the exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    @property
    def lines(self) -> list[str]:
        """What was printed, without what TensorFlow's C++ says."""
        return [line for line in self.log.read_text().splitlines() if " | " not in line and ".cc:" not in line]


def start(count: int, arguments: Sequence[str], folder: Path) -> list[Worker]:
    """Start all workers of a cluster."""
    workers = addresses(count)
    return [Worker(workers, index, arguments, folder / f"worker-{index}.log") for index in range(count)]


def weights(run: Path) -> dict[str, np.ndarray]:
    """The weights of a run's best epoch by their names in the checkpoint."""
    reader = tf.train.load_checkpoint(str(run / "best"))
    names = [name for name in reader.get_variable_to_shape_map() if "_random_generator" not in name]
    return {
        name: reader.get_tensor(name)
        for name in names
        if name.startswith("model/") and reader.get_variable_to_dtype_map()[name].is_floating
    }


def largest_difference(first: Path, second: Path) -> float:
    """Of any weight of two runs."""
    one, other = weights(first), weights(second)
    assert set(one) == set(other)
    assert len(one) > 50
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)
