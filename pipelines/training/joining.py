"""How the workers of a training find together, and what they must divide among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.cluster.workers import Workers, joined
from pipelines.config import Config
from pipelines.model.session import records_id
from pipelines.runs.run_folder import TRAIN
from tfrecs.errors import DataError
from tfrecs.version import VERSION


@contextmanager
def joined_by(records: Path, config: Config, step: str = TRAIN) -> Iterator[Workers]:
    """Join the workers of a training, all of which must have the same records, configuration and versions.

    Args:
      records: the folder.
      config: of the run.
      step: the command, `train` or `pretrain`.

    Raises:
      TriptychError: see `joined`.
    """

    def details() -> dict[str, Any]:
        options = config.model_dump(mode="json")
        sections = {
            f"{name}.{key}": value
            for name, section in options.items()
            if isinstance(section, dict)
            for key, value in section.items()
        }
        versions = {"the version of Triptych": VERSION, "the version of TensorFlow": tf.__version__}
        return {
            "the command": step,
            "the records": records_id(records),
            "seed": config.seed,
            **versions,
            **sections,
        }

    with joined(config.train.strategy, details, config.train.worker_timeout) as workers:
        yield workers


def check_divisible(config: Config, options: Sequence[str], replicas: int, parts: int = 1) -> None:
    """Check that the replicas can divide a step among them.

    Args:
      config: of the run.
      options: `section.key` of numbers that are divided.
      replicas: how many.
      parts: that each replica divides its share into (`train.accumulate`).

    Raises:
      DataError: one is not a multiple of the replicas times the parts; all of those are named, with the next multiple.
    """
    sizes = {option: getattr(getattr(config, option.partition(".")[0]), option.partition(".")[2]) for option in options}
    by = replicas * parts
    wrong = {option: -(-size // by) * by for option, size in sizes.items() if size % by}
    if wrong:
        remedy = " ".join(f"--set {option}={size}" for option, size in wrong.items())
        each = f", each with train.accumulate={parts} parts" if parts > 1 else ""
        raise DataError(f"{', '.join(wrong)}: not divisible by {replicas} replicas{each}; {remedy}")
