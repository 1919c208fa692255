"""Training rounds of Triptych; driven by `benchmarks.scale.throughput`.

    python -m benchmarks.scale.triptych_rounds --records DIR --threads N --targets N [--set section.key=value ...]

Trains as `triptych train` does, batches and progress included, and pauses after each round of about so many targets until a
line comes in. The first round warms up. Each round prints a line of JSON: targets that were learned from (the mean of a step
in an epoch, times the steps), steps and seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import tensorflow as tf

from pipelines.config import load_config
from pipelines.runs.progress import say
from pipelines.training.loop import StepProgress, TrainJob
from pipelines.training.trainer import Trainer


class Rounds:
    """Counts steps where `triptych train` reports its progress, and pauses between rounds.

    Args:
      targets: of a round, at least.
      targets_a_step: mean over an epoch.
    """

    def __init__(self, targets: int, targets_a_step: float):
        self.targets, self.targets_a_step, self.before = targets, targets_a_step, 0
        self.started = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        steps = done - self.before
        targets = steps * self.targets_a_step
        if targets < self.targets:
            return
        seconds = time.perf_counter() - self.started
        print(json.dumps({"targets": round(targets), "steps": steps, "seconds": seconds}), flush=True)
        if not sys.stdin.readline():
            sys.exit()
        self.before, self.started = done, time.perf_counter()


def main() -> None:
    """Run the rounds of the command line until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--targets", type=int, required=True)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    job = parser.parse_args()
    for limit in (
        tf.config.threading.set_intra_op_parallelism_threads,
        tf.config.threading.set_inter_op_parallelism_threads,
    ):
        limit(job.threads)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(TrainJob(job.records, Path(folder) / "run", load_config(None, tuple(job.changes))))
        trainer.prepare()
        feed = trainer.feed
        say(f"{trainer.steps} steps an epoch, {feed.padding:.1%} padding")
        targets_a_step = trainer.manifest.splits["train"].events / trainer.steps
        callback, epoch = StepProgress(Rounds(job.targets, targets_a_step), trainer.steps), 0
        while True:  # until the input ends
            batches = trainer.batches(epoch)
            trainer.session.model.fit(batches, steps_per_epoch=trainer.steps, verbose=0, callbacks=[callback])
            epoch += 1


if __name__ == "__main__":
    main()
