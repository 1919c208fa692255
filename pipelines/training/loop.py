"""The loop of `train` and `pretrain`: epochs, checkpoints, curves, early stopping, and going on after a kill."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from pipelines.cluster.workers import Workers
from pipelines.config import Config, PretrainConfig, TrainConfig, load_config
from pipelines.model.checkpoints import Checkpoints
from pipelines.model.model_factory import resolve_config
from pipelines.model.session import records_id
from pipelines.model.strategy import make_strategy
from pipelines.runs.memory import release_memory
from pipelines.runs.progress import progress, say
from pipelines.runs.run_folder import TRAIN, RunFolder
from pipelines.training.joining import check_divisible
from pipelines.training.optimization import make_optimizer, seed_dropout
from tfrecs.errors import DataError
from tfrecs.schema import Manifest

_CURVES = ("train", "valid")


@dataclass(frozen=True)
class TrainJob:
    """Records to learn from, the run folder to write, and the configuration."""

    records: Path
    out: Path
    config: Config


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes:
      out: the run folder.
      epochs: number of epochs that were trained.
      best_epoch: the one that is kept, from 1.
      metrics: the line of `metrics.jsonl` of that epoch.
      seconds: duration of this call.
    """

    out: Path
    epochs: int
    best_epoch: int
    metrics: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class EarlyStopping:
    """When a run ends, and which of its epochs is the best.

    Attributes:
      metric: key of a line of `metrics.jsonl`.
      mode: whether the largest or the smallest value is the best.
      epochs: at most so many are trained.
      patience: epochs without a better value before training stops.
      min_epochs: not before that many.
    """

    metric: str
    mode: Literal["max", "min"]
    epochs: int
    patience: int
    min_epochs: int = 1

    def best(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The line of the best epoch, the first of equal ones."""
        choose = max if self.mode == "max" else min
        return choose(rows, key=lambda row: row[self.metric])

    def finished(self, rows: list[dict[str, Any]]) -> bool:
        """Whether no epoch follows those of `rows`."""
        done = len(rows)
        if done >= self.epochs:
            return True
        return done >= self.min_epochs and done - self.best(rows)["epoch"] >= self.patience


class TrainingLoop(ABC):
    """One run of `train` or `pretrain`, which continues where its folder says that it stopped.

    A subclass makes its model in the constructor, calls `_compile` and `_restore`, and defines an epoch's batches
    (`batches`), what is measured after it (`validate`, `summary`) and what comes before the first one (`prepare`).

    Every worker of a cluster runs the loop and computes the same; the chief alone writes, and what decides how it goes
    on (where to continue, an epoch's metrics) is the chief's.

    Args:
      job: records, run folder and configuration.
      workers: that this process has joined; None: a run of this machine alone.
      step: the command, `train` or `pretrain`.

    Raises:
      DataError: records, configuration or run folder are not what they must be.
    """

    stopping: EarlyStopping
    steps: int
    batch_options: tuple[str, ...]
    """Options that replicas divide among them."""

    def __init__(self, job: TrainJob, workers: Workers | None = None, step: str = TRAIN):
        self.step, self.workers = step, Workers() if workers is None else workers
        self.records, self.manifest = job.records, Manifest.load(job.records)
        if step == TRAIN and self.manifest.splits["train"].events == 0:
            raise DataError(f"{job.records}: no training interactions; see rejected.jsonl and `split` in dataset.yaml")
        self.strategy = make_strategy(job.config.train.strategy, workers)  # before the first word from the chief
        average = self.workers.from_chief(lambda: _average_before(job))
        self.config, self.run = resolve_config(job.config, self.manifest.schema_, average), RunFolder(job.out)
        self.replicas = self.strategy.num_replicas_in_sync
        check_divisible(self.config, self.batch_options, self.replicas)
        if step == TRAIN:
            check_divisible(self.config, ["train.batch_size"], self.replicas, self.config.train.accumulate)
        self.rows: list[dict[str, Any]] = self.workers.from_chief(self._open_run)
        if not self.run.exists:
            say(
                f"warning: worker {self.workers.index} does not see {job.out}, which worker 0 writes; to go on after a "
                "stop, all workers need it"
            )

    def _open_run(self) -> list[dict[str, Any]]:
        """Make the run folder, or open it: the lines of its finished epochs."""
        earlier = self.run.create(self.records, self.config, records_id(self.records), self.step, self.replicas)
        if earlier is None:
            return []
        rows = self.run.read_metrics()
        if rows and earlier != self.replicas:
            say(
                f"The run was trained on {earlier} replica(s) so far and goes on with {self.replicas}: the same batches, "
                "but other random numbers of dropout."
            )
        return rows

    @abstractmethod
    def batches(self, epoch: int) -> Any:
        """The distributed batches of an epoch, from 0; always the same ones for the same epoch."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Measure the model after an epoch: `valid_<metric>` -> value."""

    @abstractmethod
    def summary(self, row: Mapping[str, Any]) -> str:
        """An epoch's metrics in words, for the progress output."""

    def throughput(self, seconds: float) -> dict[str, float]:
        """Metrics of an epoch whose steps took that long."""
        return {}

    def prepare(self) -> None:  # noqa: B027 - most runs need nothing
        """What precedes the first epoch."""

    def train(self, after_epoch: Callable[[Mapping[str, Any]], None] | None = None) -> TrainResult:
        """Train to the end.

        Args:
          after_epoch: called with each new line of `metrics.jsonl` once it is written; what it raises ends the training
            there, to be continued.
        """
        started = time.monotonic()
        curves = {
            part: tf.summary.create_file_writer(str(self.run.logs / part))
            if self.workers.is_chief
            else tf.summary.create_noop_writer()
            for part in _CURVES
        }
        while not self.stopping.finished(self.rows):
            row = self._epoch(len(self.rows))
            self.rows.append(row)
            for part, scalars in scalars_by_curve(row).items():
                with curves[part].as_default(step=row["epoch"]):
                    for name, value in scalars.items():
                        tf.summary.scalar(name, value)
                curves[part].flush()
            self._save(row)
            say(f"  epoch {row['epoch']:>3}/{self.stopping.epochs}  {self.summary(row)}  {row['seconds']:.1f} s")
            if after_epoch is not None:
                after_epoch(row)
        best = self.stopping.best(self.rows)
        return TrainResult(self.run.path, len(self.rows), best["epoch"], best, time.monotonic() - started)

    def _compile(
        self,
        model: tf.keras.Model,
        settings: TrainConfig | PretrainConfig,
        best: Checkpoints,
        *,
        scale: Callable[[tf.Variable], float] = lambda variable: 1.0,
        tables: Sequence[tf.Variable] = (),
        ema_momentum: float = 0.0,
    ) -> None:
        """Give the model its optimizer and the run its checkpoints. `stopping` and `steps` must be set.

        Args:
          model: every variable built.
          settings: learning rate, warm-up, weight decay and clipping.
          best: saves what is kept of the best epoch.
          scale, tables: see `ScaledAdamW`.
          ema_momentum: of the moving average of the weights, 0 = none.
        """
        self._model, self._best = model, best
        with self.strategy.scope():
            optimizer = make_optimizer(
                settings,
                self.steps * self.stopping.epochs,
                scale=scale,
                tables=tables,
                ema_momentum=ema_momentum,
                precision=self.config.train.precision,
            )
            optimizer.build(model.trainable_variables)
            model.compile(
                optimizer=optimizer,
                jit_compile=self.config.train.jit_compile,
                steps_per_execution=min(self.config.train.steps_per_call, self.steps),
            )
        self._checkpoints = Checkpoints(
            self.run.checkpoints,
            max_to_keep=2,
            name="epoch",
            workers=self.workers,
            model=model,
            optimizer=optimizer,
        )

    def release(self) -> None:
        """Free what further epochs alone need: the optimizer's state and the graph of a step."""
        del self._checkpoints
        # In a cluster all workers would have to make the variables of another optimizer, and the chief alone is here.
        if not self.workers.several:
            with self.strategy.scope():
                self._model.compile("sgd")  # no state before its first step; Keras has the earlier one nowhere else
        release_memory()

    def _restore(self) -> None:
        """Go on from the last epoch in `metrics.jsonl`, if there is one.

        A kill between checkpoint and metrics leaves a checkpoint without its line; that epoch is then trained again.
        """
        if self.rows and not self._restored(len(self.rows)):
            raise DataError(
                f"{self.run.checkpoints}: no checkpoint of epoch {len(self.rows)}; {self.step} into another folder"
            )

    def _restored(self, epoch: int) -> bool:
        """Whether there was a checkpoint of that epoch (0: of `prepare`) to go on from."""
        if not self.workers.from_chief(lambda: self._checkpoints.has(epoch)):
            return False
        if not self._checkpoints.restore(epoch, f"{self.step} into another folder"):
            raise DataError(
                f"worker {self.workers.index}: {self.run.checkpoints} has no checkpoint of epoch {epoch}, which worker 0 "
                "has; put --out on a file system that all workers share, or copy the folder from there"
            )
        say(f"Continuing after epoch {epoch}." if epoch else "Continuing after the encoders.")
        return True

    def _epoch(self, epoch: int) -> dict[str, Any]:
        """Train and validate for one epoch, from 0; returns its line of `metrics.jsonl`."""
        started = time.monotonic()
        if epoch == 0 and not self._restored(0):
            self.prepare()
        with self.strategy.scope():
            seed_dropout(self._model, self.config.seed, epoch)
        begin = time.monotonic()
        with progress(f"epoch {epoch + 1}", "steps") as advance:
            history = self._model.fit(
                self.batches(epoch),
                initial_epoch=epoch,
                epochs=epoch + 1,
                steps_per_epoch=self.steps,
                verbose=0,
                callbacks=[StepProgress(advance, self.steps)],
            ).history
        row = {"epoch": epoch + 1, **{name: float(values[-1]) for name, values in history.items()}}
        # Keras takes these from one replica alone; the losses by name are means over all of them.
        for name in ("loss", "regularization_loss", "total_loss"):
            row.pop(name, None)
        row |= self.throughput(time.monotonic() - begin)
        row["learning_rate"] = float(tf.convert_to_tensor(self._model.optimizer.learning_rate))
        row |= self.validate()
        row["seconds"] = round(time.monotonic() - started, 2)
        return self.workers.from_chief(lambda: row)

    def _save(self, row: dict[str, Any]) -> None:
        """Write the checkpoint first, then its line in `metrics.jsonl`: a kill between them repeats an epoch, loses none."""
        self._checkpoints.save(row["epoch"])
        if self.stopping.best(self.rows) is row:
            self._best.save(row["epoch"])
        if self.workers.is_chief:
            self.run.write_metrics(self.rows)


def _average_before(job: TrainJob) -> bool | None:
    """`user.average` of the run that a job goes on with or starts from; None where there is none.

    A run from before the option has the user tower without a mean.
    """
    for folder in (job.out, job.config.train.warm_start):
        if folder is not None and (run := RunFolder(Path(folder))).exists:
            return bool(load_config(run.config_file).user.average)
    return None


class StepProgress(tf.keras.callbacks.Callback):
    """Reports the steps of all epochs of one call of `fit`, of which one call of the graph may take several.

    Args:
      advance: called with the number of steps that are done and of all.
      steps: steps of an epoch.
      epochs: of the call.
    """

    def __init__(self, advance: Callable[[int, int], None], steps: int, epochs: int = 1):
        super().__init__()
        self.advance, self.steps, self.total, self.done, self._first = advance, steps, steps * epochs, 0, 0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._first = batch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.done += batch + 1 - self._first
        self.advance(self.done, self.total)


@contextmanager
def keyboard_interrupt_hint(out: Path) -> Iterator[None]:
    """Tell who stops a run from the keyboard that it can be continued; the interrupt itself goes through."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"Stopped. Every finished epoch is kept: the same command continues in {out}.")
        raise


def scalars_by_curve(row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """A line of `metrics.jsonl` as curve (`train`, `valid`) -> tag -> value.

    A loss has one tag in both, and each curve a log folder of its own, so that TensorBoard draws them into one chart.
    """
    curves: dict[str, dict[str, float]] = {part: {} for part in _CURVES}
    for name, value in row.items():
        if name != "epoch":
            curves["valid" if name.startswith("valid_") else "train"][name.removeprefix("valid_")] = value
    return curves
