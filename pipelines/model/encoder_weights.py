"""Weights of encoders: where they start from, how they are saved, and how fast they learn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.cluster.workers import Workers
from pipelines.config import Config
from pipelines.model.checkpoints import Checkpoints, restore_best
from pipelines.runs.run_folder import PRETRAIN, RunFolder, write_text
from tfrecs.errors import DataError
from towers.encoders.base import Encoder

ENCODERS_FILE = "encoders.json"


def start_encoders(item_encoders: Mapping[str, Encoder], user_encoders: Mapping[str, Encoder], config: Config) -> None:
    """Load the pretrained weights that the configuration names into new encoders.

    Args:
      item_encoders: modality -> encoder.
      user_encoders: user feature -> encoder.
      config: `train.pretrained`, and what the encoders' own options name.

    Raises:
      DataError: there are none, or they are of other encoders.
    """
    for encoder in (*item_encoders.values(), *user_encoders.values()):
        encoder.load_pretrained()
    if config.train.pretrained is not None:
        load_encoders(RunFolder(Path(config.train.pretrained)), item_encoders)


def trained_share(encoders: Iterable[Encoder]) -> str:
    """How many of the encoders' weights are trained in a step, in words."""
    encoders = list(encoders)
    trained, total = (
        sum(int(tf.size(variable)) for encoder in encoders for variable in getattr(encoder, attribute))
        for attribute in ("trainable_variables", "variables")
    )
    return f"{trained:,} of the encoders' {total:,} weights are trained in every step ({trained / max(total, 1):.1%})"


def save_encoders_as(run: RunFolder, encoders: Mapping[str, Encoder], workers: Workers) -> Checkpoints:
    """Write, on the chief, the options of the encoders of a run of `triptych pretrain`; their weights go into the
    checkpoints."""
    if workers.is_chief:
        write_text(run.path / ENCODERS_FILE, json.dumps(encoder_options(encoders), indent=1) + "\n")
    return Checkpoints(run.best, max_to_keep=1, workers=workers, encoders=dict(encoders))


def load_encoders(run: RunFolder, encoders: Mapping[str, Encoder]) -> None:
    """Load the best weights of a run of `triptych pretrain`.

    Args:
      run: its folder.
      encoders: modality -> encoder, of the same options.

    Raises:
      DataError: there is no such run, or its encoders were made otherwise or for other features than these.
    """
    run.load(PRETRAIN)
    pretrained = json.loads((run.path / ENCODERS_FILE).read_text(encoding="utf-8"))
    for name, config in encoder_options(encoders).items():
        other = pretrained.get(name)
        if other is None:
            raise DataError(f"{run.path}: has no encoder of {name!r}; pretrain on records that have this feature")
        key = next((key for key in config if config[key] != other.get(key)), None)
        if key is not None:
            raise DataError(
                f"{run.path}: its encoder of {name!r} has another {key} ({str(other.get(key))[:60]}, here "
                f"{str(config[key])[:60]}); --set it to the same, or pretrain on these records"
            )
    for encoder in encoders.values():
        encoder(zero_input(encoder))  # makes its variables, so that they are restored now and not some time later
    restore_best(run, "pretrain on these records", encoders=dict(encoders))


def encoder_options(encoders: Mapping[str, Encoder]) -> dict[str, dict[str, Any]]:
    """The options that must be equal for weights to fit, with a hash in place of a vocabulary."""
    options = {}
    for name, encoder in encoders.items():
        config = json.loads(json.dumps(encoder.get_config()))
        if "vocabulary" in config:
            config["vocabulary"] = hashlib.sha256("\n".join(config["vocabulary"]).encode()).hexdigest()
        options[name] = {key: value for key, value in config.items() if key not in ("name", "trainable", "dtype")}
    return options


def zero_input(encoder: Encoder) -> tf.Tensor:
    """One preprocessed value of zeros, [1, ...]."""
    spec = encoder.input_spec_static
    return tf.zeros([1, *spec.shape], spec.dtype)


def encoder_scales(encoders: Iterable[Encoder], scale: float, decay: float) -> dict[int, float]:
    """Factors on the learning rate of the encoders' variables.

    Args:
      encoders: the encoders.
      scale: factor of the layer next to the towers.
      decay: factor of a layer over that of the layer above it.

    Returns:
      id of a variable -> factor.
    """
    scales: dict[int, float] = {}
    for encoder in encoders:
        for layers_above, variables in enumerate(reversed(encoder.depths())):
            scales |= {id(variable): scale * decay**layers_above for variable in variables}
    return scales
