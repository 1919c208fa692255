"""Fits of peers, each made once in a process of its own and kept, so that a killed benchmark goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.heldout_lists import DEPTH, Split
from benchmarks.quality.peers.base import save_queries, save_training
from benchmarks.quality.peers.table import Peer
from tfrecs.errors import DataError

REPO = Path(__file__).resolve().parents[2]

# The distributions that hold a module, with their versions; a module may come from two of them.
_VERSIONS = """
import importlib.metadata, json, sys
of = importlib.metadata.packages_distributions()
names = sorted({name for module in sys.argv[1:] for name in of.get(module, [])})
print(json.dumps({name: importlib.metadata.version(name) for name in names}))
"""


@dataclass(frozen=True)
class Fitted:
    """`lists`: "valid" and "test" -> int32 [A, Q, depth], A ways of asking; seconds of fitting and of ranking."""

    lists: dict[str, np.ndarray]
    fit_seconds: float
    rank_seconds: float


class Fits:
    """Makes and keeps the fits of one split.

    Args:
      split: what is learned from and asked.
      work: folder for the exchanged files and the kept fits.
      python: the interpreter that has the peers' libraries; None: peers that need one are skipped.
      threads: of the numerical libraries of a fit.
    """

    def __init__(self, split: Split, work: Path, python: Path | None, threads: int):
        self.exchange, self.kept = work / "exchange", work / "fits"
        self.python, self.threads = python, threads
        for folder in (self.exchange, self.kept):
            folder.mkdir(parents=True, exist_ok=True)
        save_training(self.exchange / "training.npz", split.training)
        for name, queries in split.queries.items():
            save_queries(self.exchange / f"{name}.npz", queries)
        digest = hashlib.sha256()
        for name in ("training", "valid", "test"):
            digest.update((self.exchange / f"{name}.npz").read_bytes())
        self.digest = digest.hexdigest()

    def missing(self, peer: Peer) -> str | None:
        """Why this machine cannot fit it; None: it can."""
        if not peer.needs:
            return None
        if self.python is None:
            return f"needs {', '.join(peer.needs)}: give the interpreter that has them with --peers-python"
        asked = subprocess.run([self.python, "-c", f"import {', '.join(peer.needs)}"], capture_output=True, text=True)
        if asked.returncode:
            return f"{self.python} cannot import {', '.join(peer.needs)} ({asked.stderr.strip().splitlines()[-1]})"
        return None

    def versions(self, peers: Iterable[Peer]) -> dict[str, str]:
        """Distribution -> version of what the peers' interpreter has of their needs."""
        needs = sorted({module for peer in peers for module in peer.needs})
        if self.python is None or not needs:
            return {}
        told = subprocess.run([self.python, "-c", _VERSIONS, *needs], capture_output=True, text=True, check=True)
        versions: dict[str, str] = json.loads(told.stdout)
        return versions

    def path(self, peer: Peer, params: Mapping[str, Any], seed: int) -> Path:
        # No file of a fit that another split, other parameters or older code of the peer have made may be found.
        asks = [dict(how) for how in peer.asks]
        said = json.dumps([peer.name, peer.revision, dict(params), asks, seed, DEPTH, self.digest], sort_keys=True)
        return self.kept / f"{peer.name}-{hashlib.sha256(said.encode()).hexdigest()[:16]}.npz"

    def __call__(self, peer: Peer, params: Mapping[str, Any], seed: int) -> Fitted:
        """Fits a peer, or finds what was fitted before.

        Raises:
          DataError: its process ended with an error, which is in the log that the message names.
        """
        path = self.path(peer, params, seed)
        if not path.is_file():
            self._run(peer, params, seed, path)
        with np.load(path) as file:
            fit, rank = file["seconds"].tolist()
            return Fitted({"valid": file["valid"], "test": file["test"]}, fit, rank)

    def _run(self, peer: Peer, params: Mapping[str, Any], seed: int, path: Path) -> None:
        python = self.python if peer.needs else sys.executable
        asks = [dict(how) for how in peer.asks]
        command = [
            str(python), "-m", "benchmarks.quality.peers.worker", "--exchange", str(self.exchange), "--peer", peer.name,
            "--params", json.dumps(dict(params)), "--asks", json.dumps(asks), "--seed", str(seed),
            "--depth", str(DEPTH), "--out", str(path),
        ]  # fmt: skip
        threads = {f"{library}_NUM_THREADS": str(self.threads) for library in ("OMP", "OPENBLAS", "MKL")}
        environment = os.environ | threads | {"PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": ""}
        log = path.with_suffix(".log")
        with log.open("w", encoding="utf-8") as output:
            ended = subprocess.run(command, cwd=REPO, env=environment, stdout=output, stderr=subprocess.STDOUT)
        if ended.returncode:
            raise DataError(
                f"{log}: fitting {peer.name} ended with {ended.returncode}; see there, or leave it out of --peers"
            )
