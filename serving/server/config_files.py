"""TensorFlow Serving's configuration files: protocol buffers in text form.

tensorflow-serving-api contains the messages of the model configuration but not those for batching
(servables/tensorflow/session_bundle_config.proto), monitoring (config/monitoring_config.proto) and TLS
(config/ssl_config.proto), so they are declared here. The text form uses field names only, so numbers do not matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from serving.server.batching.batches import BatchingOptions
from serving.wire.errors import StartError

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"

_M = TypeVar("_M", bound=Message)
_Field = descriptor_pb2.FieldDescriptorProto
_WRAPPER = ".google.protobuf."

_BATCHING_FIELDS = {
    "max_batch_size": "Int64Value",
    "batch_timeout_micros": "Int64Value",
    "max_enqueued_batches": "Int64Value",
    "num_batch_threads": "Int64Value",
    "thread_pool_name": "StringValue",
    "enable_large_batch_splitting": "BoolValue",
    "max_execution_batch_size": "Int64Value",
}


def read_text_proto(path: Path, message: _M) -> _M:
    """Fill `message` from a text file and return it.

    Raises:
      StartError: the file cannot be read or parsed; the message names file, line, column and reason, in the words of
        TensorFlow Serving's log.
    """
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except text_format.ParseError as error:
        place = f"{error.GetLine()}:{error.GetColumn()}: " if error.GetLine() else ""
        reason = str(error).split(" : ", 1)[-1].splitlines()[0]
        raise StartError(
            f"{path}: Error parsing text-format {message.DESCRIPTOR.full_name}: {place}{reason}; it must be a "
            f"{message.DESCRIPTOR.name} in text form"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"cannot read {path}: {error}") from error


def read_batching(path: Path, defaults: BatchingOptions) -> BatchingOptions:
    """Read a BatchingParameters file; fields that it leaves out are as in `defaults`.

    Raises:
      StartError: the file cannot be read, or a value is invalid.
    """
    message: Any = read_text_proto(path, _message("BatchingParameters"))
    values: dict[str, Any] = {name: getattr(message, name).value for name in _BATCHING_FIELDS if message.HasField(name)}
    if message.allowed_batch_sizes:
        values["allowed_batch_sizes"] = tuple(message.allowed_batch_sizes)
    values["pad_variable_length_inputs"] = message.pad_variable_length_inputs
    try:
        return defaults.replaced(values)
    except ValueError as error:
        raise StartError(f"{path}: {error}") from error


def read_prometheus_path(path: Path) -> str | None:
    """Read the path of the metrics from a MonitoringConfig file; None if it does not enable them. Raises StartError."""
    config: Any = read_text_proto(path, _message("MonitoringConfig"))
    if not config.prometheus_config.enable:
        return None
    return config.prometheus_config.path or PROMETHEUS_PATH


def read_ssl(path: Path) -> Any:
    """Read an SSLConfig file: `server_key`, `server_cert`, `custom_ca`, `client_verify`. Raises StartError."""
    return read_text_proto(path, _message("SSLConfig"))


def _definitions() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="triptych/server_configuration.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    batching = file.message_type.add(name="BatchingParameters")
    for number, (name, kind) in enumerate(_BATCHING_FIELDS.items(), 1):
        _add(batching, name, number, _Field.TYPE_MESSAGE, type_name=_WRAPPER + kind)
    first_free = len(_BATCHING_FIELDS) + 1
    _add(batching, "allowed_batch_sizes", first_free, _Field.TYPE_INT64, label=_Field.LABEL_REPEATED)
    _add(batching, "pad_variable_length_inputs", first_free + 1, _Field.TYPE_BOOL)
    prometheus = file.message_type.add(name="PrometheusConfig")
    _add(prometheus, "enable", 1, _Field.TYPE_BOOL)
    _add(prometheus, "path", 2, _Field.TYPE_STRING)
    monitoring = file.message_type.add(name="MonitoringConfig")
    _add(monitoring, "prometheus_config", 1, _Field.TYPE_MESSAGE, type_name=".tensorflow.serving.PrometheusConfig")
    tls = file.message_type.add(name="SSLConfig")
    for number, name in enumerate(("server_key", "server_cert", "custom_ca"), 1):
        _add(tls, name, number, _Field.TYPE_STRING)
    _add(tls, "client_verify", 4, _Field.TYPE_BOOL)
    # A separate pool, so that nothing clashes if tensorflow-serving-api adds these messages one day.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return pool


def _add(message: Any, name: str, number: int, kind: Any, *, label: Any = _Field.LABEL_OPTIONAL, **rest: Any) -> None:
    message.field.add(name=name, number=number, type=kind, label=label, **rest)


_POOL = _definitions()


def _message(name: str) -> Message:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"tensorflow.serving.{name}"))()
