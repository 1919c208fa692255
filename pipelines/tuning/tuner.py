"""`triptych tune`: a search over the configuration, on the validation split alone."""

from __future__ import annotations

import gc
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from pipelines.config import Config, TuneConfig
from pipelines.item_item import storage
from pipelines.model.session import records_id
from pipelines.reporting.formatting import format_option
from pipelines.reporting.report import MARKDOWN_FILE
from pipelines.reporting.tune_report import MIN_TRIALS, TrialResult, TuneReport, write_tune_report
from pipelines.runs.locks import LOCK_FILE, lock_folder
from pipelines.runs.progress import say
from pipelines.runs.run_folder import CONFIG_FILE, RunFolder, write_text
from pipelines.training.trainer import BEST_BY, Trainer, TrainJob
from pipelines.tuning.tune_space import Dimension, Space, changed, current, make_space, read_space
from tfrecs.errors import DataError, DivergedError, SpecError

if TYPE_CHECKING:
    import optuna

STORAGE_FILE, TRIALS_FOLDER = "study.db", "trials"
METRIC = f"valid_{BEST_BY}"
_STUDY = "triptych"


@dataclass(frozen=True)
class TuneJob:
    """Arguments of `triptych tune`.

    Attributes:
      records: the records to train on.
      out: the search's folder; one that exists is continued.
      config: varied by the search; its section `tune` says how.
      space: a YAML file in place of `tune.space`.
    """

    records: Path
    out: Path
    config: Config
    space: Path | None = None


@dataclass(frozen=True)
class TuneResult:
    """The result of a search.

    Attributes:
      out: the search's folder.
      config: the file with the best configuration, for `train --config`.
      best: one of the trials.
      trials: in the order in which they were started.
    """

    out: Path
    config: Path
    best: TrialResult
    trials: list[TrialResult]


class _PrunedError(Exception):
    """A trial ended early: its validation curve is worse than that of most others."""


def run(job: TuneJob) -> TuneResult:
    """Search for a better configuration, or continue a search that was stopped, and write its report.

    Every trial is a run of `train` in `<out>/trials/<number>`, so a trial that was killed continues from its last
    epoch. The trials are kept in a SQLite file (Optuna). Trial n is drawn by a tree-structured Parzen estimator
    (Bergstra et al., 2011) from the trials before it and a seed that depends on n only, so a search that was stopped
    draws the same trials as one that was not. Trials below the median of the others' curves end early (Golovin et al.,
    2017).

    Raises:
      SpecError: the space does not fit the configuration, or Optuna is not installed.
      DataError: the folder holds another search, is in use, or no trial finished.
    """
    optuna = _optuna()
    base = job.config.model_copy(update={"tune": TuneConfig()})  # trials do not depend on the search settings
    source = str(job.space) if job.space is not None else "tune.space"
    space = make_space(read_space(job.space) if job.space is not None else job.config.tune.space, base, source)
    with _lock(job.out):
        study = _open_study(optuna, job, base, space)
        result = None
        try:
            while (unfinished := _unfinished(optuna, study)) or _num_started(study) < job.config.tune.trials:
                trial = _next_trial(optuna, study, unfinished, job, base, space)
                _run_trial(optuna, study, trial, job, base, space)
                _tidy(optuna, study, job.out)
                # Here too, so that a search that is killed leaves the report of its finished trials.
                result = _report(optuna, study, job, base, space)
        except KeyboardInterrupt:
            say(f"Stopped; the same command continues the search in {job.out}.")
            raise
        if result is None:  # nothing was left to do
            _tidy(optuna, study, job.out)
            result = _report(optuna, study, job, base, space)
    if result is None:
        raise DataError(f"{job.out}: no trial finished; narrow the space (or raise --trials) and see their failures")
    say(
        f"\nBest of {len(result.trials)} trials: {result.best.number + 1}, {METRIC} {result.best.value:.4f}. "
        f"Train with --config {result.config}; report: {job.out / MARKDOWN_FILE}"
    )
    return result


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise SpecError("tune needs Optuna: pip install -c constraints.txt -e '.[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Lock the search's folder. Raises DataError where another search is running there, or it holds something else."""
    if folder.exists() and any(folder.iterdir()) and not (folder / LOCK_FILE).is_file():
        raise DataError(f"{folder}: not empty and not a search of ours; give --out a new folder")
    with lock_folder(folder, DataError(f"{folder}: another search is running there; wait for it to end"), keep=True):
        yield


def _open_study(optuna: Any, job: TuneJob, base: Config, space: Space) -> optuna.Study:
    from sqlalchemy.pool import NullPool

    # The file is opened here and not by its address, in which ? # % and others of a path mean something.
    connect = partial(sqlite3.connect, job.out.absolute() / STORAGE_FILE)
    study = optuna.create_study(
        storage=optuna.storages.RDBStorage("sqlite://", {"creator": connect, "poolclass": NullPool}),
        study_name=_STUDY,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=job.config.tune.startup, n_warmup_steps=job.config.tune.prune_after
        ),
    )
    identity = {
        "records": records_id(job.records),
        "configuration": base.to_yaml(),
        "space": json.dumps({name: dimension.model_dump() for name, dimension in space.items()}, sort_keys=True),
    }
    for name, value in identity.items():
        if study.user_attrs.setdefault(name, value) != value:
            raise DataError(f"{job.out}: a search with other {name}; give --out a new folder")
        study.set_user_attr(name, value)
    return study


def _unfinished(optuna: Any, study: optuna.Study) -> list[Any]:
    """Return the trials that an earlier process started and did not finish."""
    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))


def _num_started(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False))


def _next_trial(
    optuna: Any, study: optuna.Study, unfinished: list[Any], job: TuneJob, base: Config, space: Space
) -> optuna.Trial:
    number = unfinished[0].number if unfinished else _num_started(study)
    # A sampler with one seed for all trials would draw the first trials again after a restart.
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=job.config.tune.startup, seed=(1_000_003 * job.config.seed + number) % 2**32
    )
    if unfinished:
        trial = optuna.Trial(study, unfinished[0]._trial_id)
    else:
        if number == 0:
            study.enqueue_trial(current(base, space))
        trial = study.ask()
    for name, dimension in space.items():
        _suggest(trial, name, dimension)
    return trial


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> None:
    if dimension.choices is not None:
        trial.suggest_categorical(name, dimension.choices)
    elif dimension.integer:
        trial.suggest_int(name, dimension.low, dimension.high, step=dimension.step or 1, log=dimension.log)  # type: ignore[arg-type]
    else:
        trial.suggest_float(name, dimension.low, dimension.high, step=dimension.step, log=dimension.log)  # type: ignore[arg-type]


def _run_trial(optuna: Any, study: optuna.Study, trial: optuna.Trial, job: TuneJob, base: Config, space: Space) -> None:
    states = optuna.trial.TrialState
    folder = _folder(job.out, trial.number)
    options = ", ".join(f"{name}={format_option(value)}" for name, value in trial.params.items())
    say(f"\nTrial {trial.number + 1}/{max(job.config.tune.trials, trial.number + 1)}: {options}")
    config = changed(base, trial.params, f"trial {trial.number}")
    reported = dict(study.trials[trial.number].intermediate_values)

    def after_epoch(row: Mapping[str, Any]) -> None:
        step = row["epoch"] - 1  # pruners count from 0
        if step not in reported:
            trial.report(row[METRIC], step)
        if trial.should_prune():
            raise _PrunedError

    tf.keras.backend.clear_session()  # graphs of earlier trials
    gc.collect()
    try:
        trainer = Trainer(TrainJob(job.records, folder, config))
        for row in trainer.rows:  # of an earlier process, which may not have reported the last one
            after_epoch(row)
        result = trainer.train(after_epoch)
    except _PrunedError:
        study.tell(trial, state=states.PRUNED)
        say(f"  pruned after epoch {len(RunFolder(folder).read_metrics())}: below the median of the other trials")
    except DivergedError as error:
        trial.set_user_attr("failed", str(error))
        study.tell(trial, state=states.FAIL)
        say(f"  failed: {error}")
    else:
        study.tell(trial, result.metrics[METRIC])
        say(f"  {METRIC} {result.metrics[METRIC]:.4f} at epoch {result.best_epoch} of {result.epochs}")


def _folder(out: Path, number: int) -> Path:
    return out / TRIALS_FOLDER / f"{number:04}"


def _tidy(optuna: Any, study: optuna.Study, out: Path) -> None:
    """Delete the weights of finished trials, but for those of the best; curves and configurations stay."""
    states = optuna.trial.TrialState
    complete = study.get_trials(deepcopy=False, states=(states.COMPLETE,))
    best = study.best_trial.number if complete else None
    for trial in study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED, states.FAIL)):
        run_folder = RunFolder(_folder(out, trial.number))
        shutil.rmtree(run_folder.checkpoints, ignore_errors=True)
        if trial.number != best:
            shutil.rmtree(run_folder.best, ignore_errors=True)
            storage.forget(run_folder.path)


def _report(optuna: Any, study: optuna.Study, job: TuneJob, base: Config, space: Space) -> TuneResult | None:
    """Write the best configuration and the report; None while no trial has finished."""
    states = optuna.trial.TrialState
    trials = []
    for frozen in study.get_trials(deepcopy=False):
        curve = RunFolder(_folder(job.out, frozen.number)).read_metrics()
        value = frozen.value if frozen.state == states.COMPLETE else None
        trials.append(TrialResult(frozen.number, frozen.state.name.lower(), value, dict(frozen.params), curve))
    complete = [(trial.value, -trial.number, trial) for trial in trials if trial.value is not None]
    if not complete:
        return None
    best = max(complete)[-1]  # the first of equals
    config = job.out / CONFIG_FILE
    write_text(config, changed(base, best.params, f"trial {best.number}").to_yaml())
    importances: dict[str, float] = {}
    if len(complete) >= MIN_TRIALS:
        importances = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
        )
    command = f"triptych train --records {job.records} --config {config} --out RUN"
    write_tune_report(job.out, TuneReport(trials, best, importances, METRIC, list(space), command))
    return TuneResult(job.out, config, best, trials)
