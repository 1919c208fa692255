"""TF_CONFIG, the environment variable that describes a cluster to each of its workers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from tfrecs.errors import SpecError, shorten

VARIABLE = "TF_CONFIG"
_FORM = '{"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'
_JOBS = ("chief", "worker")


@dataclass(frozen=True)
class Cluster:
    """The workers that train together, and which of them this process is.

    Attributes:
      addresses: host:port of each, the chief first.
      index: of this process in them.
    """

    addresses: tuple[str, ...]
    index: int


def cluster_of(strategy: str) -> Cluster | None:
    """The cluster on which a strategy trains; None where it stays on this machine.

    Args:
      strategy: of `train.strategy`. `auto` takes a cluster of two or more workers, unless TPU_NAME is set.

    Raises:
      SpecError: TF_CONFIG is missing, or not what it must be.
    """
    text = os.environ.get(VARIABLE)
    if strategy == "multiworker":
        if not text:
            raise SpecError(
                f"--strategy multiworker: set {VARIABLE} to the cluster's workers and this worker's index, {_FORM}"
            )
        return read_cluster(text)
    if strategy != "auto" or not text or "TPU_NAME" in os.environ or "cluster" not in _object(text):
        return None  # a service that runs containers sets TF_CONFIG for a single one, too
    cluster = read_cluster(text)
    return cluster if len(cluster.addresses) > 1 else None


def read_cluster(text: str) -> Cluster:
    """Read TF_CONFIG.

    Raises:
      SpecError: one line that names what is wrong, and the form.
    """
    config = _object(text)
    jobs, task = config.get("cluster"), config.get("task")
    if not isinstance(jobs, dict) or not jobs:
        raise _wrong("has no cluster")
    unknown = next((job for job in jobs if job not in _JOBS), None)
    if unknown is not None:
        raise _wrong(f"has the job {shorten(unknown)}, but all that train are workers (there is no parameter server)")
    addresses: list[str] = []
    for job in _JOBS:
        of_job = jobs.get(job, [])
        if not isinstance(of_job, list):
            raise _wrong(f"gives no list of addresses for the job {job}")
        addresses += of_job
    for address in addresses:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise _wrong(f"has the address {shorten(address)}")
        if addresses.count(address) > 1:
            raise _wrong(f"has the address {address} twice")
    return Cluster(tuple(addresses), _index(jobs, task))


def _index(jobs: dict[str, list[str]], task: Any) -> int:
    if not isinstance(task, dict) or "type" not in task or "index" not in task:
        raise _wrong("does not say which task this process is (type and index)")
    job, index = task["type"], task["index"]
    if job not in jobs:
        raise _wrong(f"says that this process is a {shorten(job)}, which the cluster has none of")
    count = len(jobs[job])
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        raise _wrong(f"says that this process is {job} {shorten(index)}, but the cluster has {job} 0 to {count - 1}")
    return index + (len(jobs.get("chief", [])) if job == "worker" else 0)


def _object(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _wrong(f"is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise _wrong("is not a JSON object")
    return config


def _wrong(what: str) -> SpecError:
    return SpecError(f"{VARIABLE} {what}; write it as {_FORM}")
