"""Message classes and methods of TensorFlow Serving's API, without TensorFlow.

tensorflow-serving-api imports TensorFlow, which takes seconds. Here the same definitions (`definitions.pb`, written
by `serving.stubs.generate`) are loaded into a descriptor pool of our own, so they never clash with TensorFlow's
registration of the same files where both are in one process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

DEFINITIONS = Path(__file__).with_name("definitions.pb")

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"


def _load() -> Any:
    pool = descriptor_pool.DescriptorPool()
    if DEFINITIONS.is_file():  # it is not while the generator writes it for the first time
        for file in descriptor_pb2.FileDescriptorSet.FromString(DEFINITIONS.read_bytes()).file:
            pool.Add(file)
    return pool


_POOL = _load()


def message(name: str) -> Any:
    """The message class of a full name such as "tensorflow.serving.PredictRequest". Raises KeyError."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


def method(channel: grpc.Channel, service: str, name: str) -> Callable[..., Any]:
    """A callable for one method of a service, as a generated stub would have. Raises KeyError."""
    found = _POOL.FindServiceByName(service).FindMethodByName(name)
    if found is None:
        raise KeyError(f"{service} has no method {name}")
    return channel.unary_unary(
        f"/{service}/{name}",
        request_serializer=message_factory.GetMessageClass(found.input_type).SerializeToString,
        response_deserializer=message_factory.GetMessageClass(found.output_type).FromString,
    )
