"""What to serve: a folder of models, or TensorFlow Serving's own model configuration.

    <base>/<model name>/<integer version>/saved_model.pb

A `ModelServerConfig` (tensorflow_serving/config/model_server_config.proto), from a text file or a reload request, names
the models with their base paths, version policies and version labels. What is refused, and in which words, is
TensorFlow Serving's (model_servers/server_core.cc, ValidateModelConfigList).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.config import model_server_config_pb2

from serving.server.config_files import read_text_proto
from serving.server.status import invalid
from serving.wire.errors import StartError

# Version number -> folder, of all there are, to those that shall be served.
Policy = Callable[[Mapping[int, Path]], dict[int, Path]]

_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
      name: what clients call it.
      base_path: the folder that holds its version folders.
      policy: which of the versions there are served.
      labels: version label -> version.
    """

    name: str
    base_path: Path
    policy: Policy
    labels: Mapping[str, int]


# What to serve, asked anew at every poll. Raises OSError or ServingError where it cannot tell; then nothing changes.
Source = Callable[[], Sequence[ModelConfig]]


def latest(count: int) -> Policy:
    """The policy of the highest `count` numbers."""
    return partial(_latest, count)


def every(versions: Mapping[int, Path]) -> dict[int, Path]:
    """The policy of all versions."""
    return dict(sorted(versions.items()))


def specific(numbers: Sequence[int]) -> Policy:
    """The policy of the listed versions, as far as they are there."""
    return partial(_specific, tuple(numbers))


def version_folders(base_path: Path) -> dict[int, Path]:
    """The subfolders that are named by an integer. Raises OSError."""
    names = (child for child in sorted(base_path.iterdir()) if child.name.isascii() and child.name.isdigit())
    return {int(child.name): child for child in names if child.is_dir()}


def folder(root: Path) -> Source:
    """Every model under `root`, newest version; or `root` itself where it holds version folders."""

    def models() -> list[ModelConfig]:
        if version_folders(root):
            return [ModelConfig(root.resolve().name, root, latest(1), {})]
        children = sorted(child for child in root.iterdir() if child.is_dir())
        return [ModelConfig(child.name, child, latest(1), {}) for child in children if version_folders(child)]

    return models


def config_file(path: Path, *, poll_seconds: float) -> Source:
    """The models of a text file that holds a ModelServerConfig.

    Args:
      path: the file.
      poll_seconds: how often to read it again (`--model_config_file_poll_wait_seconds`); 0 for once.

    The source raises:
      StartError: the file is not there or not such a configuration; the line says where.
    """
    models: list[ModelConfig] = []
    read_at = -float("inf")

    def source() -> list[ModelConfig]:
        nonlocal models, read_at
        if read_at < 0 or (poll_seconds and time.monotonic() - read_at >= poll_seconds):
            models = _from_file(path)
            read_at = time.monotonic()
        return models

    return source


def from_proto(config: model_server_config_pb2.ModelServerConfig) -> list[ModelConfig]:
    """The models of a configuration. Raises InvalidArgumentError for what TensorFlow Serving refuses."""
    models = [_model(entry) for entry in config.model_config_list.config]
    names = [model.name for model in models]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise invalid(f"Illegal to list model {name} multiple times in config list")
    return models


def _from_file(path: Path) -> list[ModelConfig]:
    config = read_text_proto(path, model_server_config_pb2.ModelServerConfig())
    if config.WhichOneof("config") != "model_config_list":
        raise StartError(f"{path}: no model_config_list in it; write one with a config {{...}} for every model")
    try:
        return from_proto(config)
    except tf.errors.InvalidArgumentError as error:
        raise StartError(f"{path}: {error.message}") from error


def _model(entry: model_server_config_pb2.ModelConfig) -> ModelConfig:
    if not entry.name:
        raise invalid("a model in the configuration has no name")
    # The deprecated enumeration's number 1 is TensorFlow; that is the only other way to say the platform.
    platform = entry.model_platform or (_PLATFORM if entry.model_type == 1 else "")
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )
    if platform != _PLATFORM:
        raise invalid(f"Model {entry.name} requests unsupported platform {platform}")
    if not Path(entry.base_path).is_absolute():
        raise invalid(f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}")
    return ModelConfig(entry.name, Path(entry.base_path), _policy(entry), dict(entry.version_labels))


def _policy(entry: model_server_config_pb2.ModelConfig) -> Policy:
    policy = entry.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return every
    if choice == "specific":
        return specific(policy.specific.versions)
    # Unset is the newest one, and so is `latest {}`.
    return latest(max(1, policy.latest.num_versions))


def _latest(count: int, versions: Mapping[int, Path]) -> dict[int, Path]:
    return {version: versions[version] for version in sorted(versions)[-count:]}


def _specific(numbers: Sequence[int], versions: Mapping[int, Path]) -> dict[int, Path]:
    return {version: versions[version] for version in sorted(set(numbers)) if version in versions}
