"""Message classes and methods of TensorFlow Serving's API, without TensorFlow.

tensorflow-serving-api imports TensorFlow, which takes seconds. Here the same definitions (`definitions.pb`, written by
`serving.wire.stubs.generate`) are loaded into a separate descriptor pool, so that they do not clash with TensorFlow's
registration of the same files in one process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

DEFINITIONS = Path(__file__).with_name("definitions.pb")

# Method -> service; the messages are named after the method.
METHODS = {
    "Predict": "tensorflow.serving.PredictionService",
    "GetModelMetadata": "tensorflow.serving.PredictionService",
    "GetModelStatus": "tensorflow.serving.ModelService",
}


def _load() -> Any:
    pool = descriptor_pool.DescriptorPool()
    if DEFINITIONS.is_file():  # missing while the generator writes it for the first time
        for file in descriptor_pb2.FileDescriptorSet.FromString(DEFINITIONS.read_bytes()).file:
            pool.Add(file)
    return pool


_POOL = _load()


def message(name: str) -> Any:
    """The message class of a name in `tensorflow.serving`, such as "PredictRequest". Raises KeyError."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"tensorflow.serving.{name}"))


def method(channel: grpc.Channel, name: str) -> Callable[..., Any]:
    """A callable for one of METHODS, as in a generated stub. Raises KeyError."""
    return channel.unary_unary(
        f"/{METHODS[name]}/{name}",
        request_serializer=message(f"{name}Request").SerializeToString,
        response_deserializer=message(f"{name}Response").FromString,
    )
