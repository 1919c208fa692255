"""Fitted peers: each is fitted once in its own process and stored, so that a killed benchmark can continue."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.heldout import DEPTH, BenchmarkSplit
from benchmarks.quality.peers.interface import save_queries, save_training
from benchmarks.quality.peers.table import Peer
from benchmarks.results_file import REPO
from pipelines.runs.progress import say
from tfrecs.errors import DataError

_FIRST_LINE, _LINE_EVERY = 5.0, 15.0  # seconds before the first epoch that is shown and between those after it

# Prints the versions of the distributions that contain the given modules.
_PRINT_VERSIONS = """
import importlib.metadata, json, sys
distributions = importlib.metadata.packages_distributions()
names = sorted({name for module in sys.argv[1:] for name in distributions.get(module, [])})
print(json.dumps({name: importlib.metadata.version(name) for name in names}))
"""


@dataclass(frozen=True)
class FittedPeer:
    """The ranked lists of a fitted peer.

    Attributes:
      lists: "valid" and "test" -> int32 [A, Q, depth], for A sets of scoring parameters.
      fit_seconds, rank_seconds: time of fitting and of ranking.
      epochs: the best epoch on validation and all that were trained; None for a peer that does not stop early.
    """

    lists: dict[str, np.ndarray]
    fit_seconds: float
    rank_seconds: float
    epochs: tuple[int, int] | None = None


class FitCache:
    """Fits peers on one split and stores the results.

    Args:
      split: training data and requests.
      work: folder for exchanged files and stored fits.
      python: interpreter with the libraries of the peers; without one, peers that need a library are skipped.
      threads: of the numerical libraries during a fit.
    """

    def __init__(self, split: BenchmarkSplit, work: Path, python: Path | None, threads: int):
        self.exchange, self.folder = work / "exchange", work / "fits"
        self.python, self.threads = python, threads
        for folder in (self.exchange, self.folder):
            folder.mkdir(parents=True, exist_ok=True)
        save_training(self.exchange / "training.npz", split.training)
        for name, queries in split.queries.items():
            save_queries(self.exchange / f"{name}.npz", queries)
        digest = hashlib.sha256()
        for name in ("training", "valid", "test"):
            digest.update((self.exchange / f"{name}.npz").read_bytes())
        self.digest = digest.hexdigest()

    def unavailable_reason(self, peer: Peer) -> str | None:
        """Say why this machine cannot fit a peer, or return None if it can."""
        if not peer.needs:
            return None
        if self.python is None:
            return f"needs {', '.join(peer.needs)}: give the interpreter that has them with --peers-python"
        imports = subprocess.run([self.python, "-c", f"import {', '.join(peer.needs)}"], capture_output=True, text=True)
        if imports.returncode:
            cause = imports.stderr.strip().splitlines()[-1]
            return f"{self.python} cannot import {', '.join(peer.needs)} ({cause})"
        return None

    def versions(self, peers: Iterable[Peer]) -> dict[str, str]:
        """Return distribution -> version of the libraries that the peers need."""
        needs = sorted({module for peer in peers for module in peer.needs})
        if self.python is None or not needs:
            return {}
        command = [str(self.python), "-c", _PRINT_VERSIONS, *needs]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        versions: dict[str, str] = json.loads(output)
        return versions

    def path(self, peer: Peer, params: Mapping[str, Any], seed: int) -> Path:
        """Return the file of a fit; its name covers everything that the fit depends on."""
        scoring = [dict(scoring_params) for scoring_params in peer.scoring]
        key = json.dumps([peer.name, peer.revision, dict(params), scoring, seed, DEPTH, self.digest], sort_keys=True)
        return self.folder / f"{peer.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"

    def fit(self, peer: Peer, params: Mapping[str, Any], seed: int) -> FittedPeer:
        """Fit a peer, or load a stored fit.

        Raises:
          DataError: the fit failed; the message names its log.
        """
        path = self.path(peer, params, seed)
        if not path.is_file():
            self._run_worker(peer, params, seed, path)
        with np.load(path) as file:
            fit_seconds, rank_seconds = file["seconds"].tolist()
            epochs = file["epochs"].tolist() if "epochs" in file else []  # not in fits of earlier versions
            lists = {"valid": file["valid"], "test": file["test"]}
            return FittedPeer(lists, fit_seconds, rank_seconds, (epochs[0], epochs[1]) if epochs else None)

    def _run_worker(self, peer: Peer, params: Mapping[str, Any], seed: int, path: Path) -> None:
        python = self.python if peer.needs else sys.executable
        scoring = [dict(scoring_params) for scoring_params in peer.scoring]
        command = [
            str(python), "-m", "benchmarks.quality.peers.worker", "--exchange", str(self.exchange), "--peer", peer.name,
            "--params", json.dumps(dict(params)), "--scoring", json.dumps(scoring), "--seed", str(seed),
            "--depth", str(DEPTH), "--out", str(path),
        ]  # fmt: skip
        threads = {f"{library}_NUM_THREADS": str(self.threads) for library in ("OMP", "OPENBLAS", "MKL")}
        environment = os.environ | threads | {"PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": ""}
        log = path.with_suffix(".log")
        due = time.monotonic() + _FIRST_LINE
        with (
            log.open("w", encoding="utf-8") as output,
            subprocess.Popen(
                command, cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                output.write(line)
                output.flush()
                if line.startswith("epoch ") and time.monotonic() >= due:
                    due = time.monotonic() + _LINE_EVERY
                    say(f"    {peer.name}: {line.rstrip()}")
        if process.returncode:
            raise DataError(
                f"{log}: fitting {peer.name} ended with {process.returncode}; see there, or leave it out of --peers"
            )
