"""Writes the message definitions that the client needs, taken from the installed tensorflow-serving-api.

    python -m serving.stubs.generate

Run it after changing the version of tensorflow-serving-api, and commit what it writes.
"""

from __future__ import annotations

import tfrecs  # noqa: F401  (the Keras guard, before the import of TensorFlow below)

# The order matters to nobody, the blank line to the reader: these import TensorFlow.
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

from serving.stubs import DEFINITIONS


def collect() -> bytes:
    """A serialized FileDescriptorSet: both services' files and all they import, each after its own imports."""
    files: dict[str, bytes] = {}

    def add(file: FileDescriptor) -> None:
        if file.name in files:
            return
        for dependency in file.dependencies:
            add(dependency)
        files[file.name] = file.serialized_pb

    add(prediction_service_pb2.DESCRIPTOR)
    add(model_service_pb2.DESCRIPTOR)
    definitions = descriptor_pb2.FileDescriptorSet()
    for serialized in files.values():
        definitions.file.add().ParseFromString(serialized)
    return definitions.SerializeToString(deterministic=True)


def main() -> None:
    DEFINITIONS.write_bytes(collect())
    print(f"{DEFINITIONS}: {DEFINITIONS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
