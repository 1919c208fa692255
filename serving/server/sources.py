"""Sources of models to serve: a folder, or TensorFlow Serving's own model configuration.

    <base>/<model name>/<integer version>/saved_model.pb

A `ModelServerConfig` (tensorflow_serving/config/model_server_config.proto), from a text file or a reload request, names
the models with their base paths, version policies and version labels. Validation and error messages follow TensorFlow
Serving (model_servers/server_core.cc, ValidateModelConfigList).
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

VersionPolicy = Callable[[Mapping[int, Path]], dict[int, Path]]
"""Chooses the versions to serve: all versions (number -> folder) -> those to serve."""

_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class ModelConfig:
    """One model to serve.

    Attributes:
      name: the name that clients use.
      base_path: the folder that holds its version folders.
      policy: chooses the versions to serve.
      labels: version label -> version.
    """

    name: str
    base_path: Path
    policy: VersionPolicy
    labels: Mapping[str, int]


Source = Callable[[], Sequence[ModelConfig]]
"""Lists the models to serve; called at every poll. If it raises OSError or ServingError, what is loaded stays loaded."""


def latest_versions(count: int) -> VersionPolicy:
    """The policy that serves the `count` highest version numbers."""
    return partial(_latest, count)


def all_versions(versions: Mapping[int, Path]) -> dict[int, Path]:
    """The policy that serves every version."""
    return dict(sorted(versions.items()))


def specific_versions(numbers: Sequence[int]) -> VersionPolicy:
    """The policy that serves the listed versions, those of them that exist."""
    return partial(_specific, tuple(numbers))


def version_folders(base_path: Path) -> dict[int, Path]:
    """List a model's versions: number -> folder.

    Raises:
      OSError: the folder cannot be read.
    """
    names = (child for child in sorted(base_path.iterdir()) if child.name.isascii() and child.name.isdigit())
    return {int(child.name): child for child in names if child.is_dir()}


def folder_source(root: Path) -> Source:
    """The newest version of every model under `root`, or of `root` itself if it holds version folders."""

    def models() -> list[ModelConfig]:
        if version_folders(root):
            return [ModelConfig(root.resolve().name, root, latest_versions(1), {})]
        children = sorted(child for child in root.iterdir() if child.is_dir())
        return [ModelConfig(child.name, child, latest_versions(1), {}) for child in children if version_folders(child)]

    return models


def model_source(name: str, base_path: str) -> Source:
    """The newest version of one model, as `--model_name` and `--model_base_path` of TensorFlow Serving give it.

    Raises:
      StartError: the path is not that of a folder, or not an absolute one.
    """
    entry = model_server_config_pb2.ModelConfig(name=name, base_path=base_path, model_platform=_PLATFORM)
    config = model_server_config_pb2.ModelServerConfig(model_config_list={"config": [entry]})
    models = _checked(config, "--model_base_path")
    if not Path(base_path).is_dir():
        raise StartError(f"--model_base_path: Could not find base path {base_path} for servable {name}")
    return lambda: models


def config_file_source(path: Path, *, poll_seconds: float) -> Source:
    """The models of a ModelServerConfig in a text file.

    Args:
      path: the file.
      poll_seconds: how often to read it again (`--model_config_file_poll_wait_seconds`); 0 to read it once.

    Returns:
      A source that raises StartError, naming the line, if the file is missing or is no such configuration.
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
    """Convert a configuration to models.

    Raises:
      InvalidArgumentError: TensorFlow Serving would refuse the configuration.
    """
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
    return _checked(config, str(path))


def _checked(config: model_server_config_pb2.ModelServerConfig, given_by: str) -> list[ModelConfig]:
    """Convert a configuration. Raises StartError, which names where it was given."""
    try:
        return from_proto(config)
    except tf.errors.InvalidArgumentError as error:
        raise StartError(f"{given_by}: {error.message}") from error


def _model(entry: model_server_config_pb2.ModelConfig) -> ModelConfig:
    if not entry.name:
        raise invalid("a model in the configuration has no name")
    # The deprecated field `model_type` is the only other way to name the platform; its value 1 is TensorFlow.
    platform = entry.model_platform or (_PLATFORM if entry.model_type == 1 else "")
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            f"model name is {entry.name}"
        )
    if platform != _PLATFORM:
        raise invalid(f"Model {entry.name} requests unsupported platform {platform}")
    if not Path(entry.base_path).is_absolute():
        raise invalid(f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}")
    return ModelConfig(entry.name, Path(entry.base_path), _policy(entry), dict(entry.version_labels))


def _policy(entry: model_server_config_pb2.ModelConfig) -> VersionPolicy:
    policy = entry.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return all_versions
    if choice == "specific":
        return specific_versions(policy.specific.versions)
    # Without a policy, or with an empty `latest {}`, TensorFlow Serving serves the newest version.
    return latest_versions(max(1, policy.latest.num_versions))


def _latest(count: int, versions: Mapping[int, Path]) -> dict[int, Path]:
    return {version: versions[version] for version in sorted(versions)[-count:]}


def _specific(numbers: Sequence[int], versions: Mapping[int, Path]) -> dict[int, Path]:
    return {version: versions[version] for version in sorted(set(numbers)) if version in versions}
