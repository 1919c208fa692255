"""Training rounds of RecTools' SASRec, in the peers' interpreter; driven by `benchmarks.scale.throughput`.

    python -m benchmarks.scale.sasrec_rounds --training FILE --params JSON --threads N --targets N

Trains as `SASRecModel.fit` does, data loader included, and pauses after each round of so many targets until a line comes in.
The first round warms up. Each round prints a line of JSON: targets that were learned from, steps and seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality.peers import sasrec
from benchmarks.quality.peers.interface import load_training


def cut_histories(users: np.ndarray, items: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut long histories into users of their own, so that every event but a user's first is a target exactly once.

    RecTools itself learns from the newest `length + 1` events of a user alone.

    Args:
      users, items: int [E], the events of a user contiguous, oldest first.
      length: positions of a sequence.

    Returns:
      users and items of the pieces; a piece begins with the last event of the one before it.
    """
    begins = np.flatnonzero(np.diff(users, prepend=-1))
    pieces = []
    for events in np.split(items, begins[1:]):
        pieces += [events[at : at + length + 1] for at in range(0, max(1, len(events) - 1), length)]
    return np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces]), np.concatenate(pieces)


def main() -> None:
    """Run the rounds of the command line until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=Path, required=True)
    parser.add_argument("--params", type=json.loads, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--targets", type=int, required=True)
    job = parser.parse_args()

    import torch
    from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything

    class Rounds(Callback):
        """Counts targets, and pauses between rounds."""

        def __init__(self) -> None:
            self.targets = self.steps = 0
            self.started = time.perf_counter()

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            self.targets += int((batch["y"] != 0).sum())
            self.steps += 1
            if self.targets < job.targets:
                return
            seconds = time.perf_counter() - self.started
            print(json.dumps({"targets": self.targets, "steps": self.steps, "seconds": seconds}), flush=True)
            if not sys.stdin.readline():
                sys.exit()
            self.targets = self.steps = 0
            self.started = time.perf_counter()

    torch.set_num_threads(job.threads)
    seed_everything(0, verbose=False)
    training = load_training(job.training)
    # So many epochs that the input ends before them.
    model = sasrec.make_model(job.params, epochs=1_000_000, callback=Rounds())
    model.fit(sasrec.dataset(*cut_histories(training.users, training.items, job.params["length"])))


if __name__ == "__main__":
    main()
