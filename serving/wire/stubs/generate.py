"""Write the message definitions that the client needs, from the installed tensorflow-serving-api.

    python -m serving.wire.stubs.generate

Run it after changing the version of tensorflow-serving-api, and commit the result.
"""

from __future__ import annotations

# isort: off
import tfrecs  # noqa: F401  (the Keras guard, before the imports below bring in TensorFlow)

# isort: on
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from serving.wire.stubs import DEFINITIONS


def collect() -> bytes:
    """Serialize a FileDescriptorSet of the client's messages and everything that they import, imports first.

    Messages only: the modules with the services, `prediction_service_pb2` and `model_service_pb2`, cannot be imported
    under protobuf 4.
    """
    files: dict[str, bytes] = {}

    def add(file: FileDescriptor) -> None:
        if file.name in files:
            return
        for dependency in file.dependencies:
            add(dependency)
        files[file.name] = file.serialized_pb

    for module in (predict_pb2, get_model_metadata_pb2, get_model_status_pb2):
        add(module.DESCRIPTOR)
    definitions = descriptor_pb2.FileDescriptorSet()
    for serialized in files.values():
        definitions.file.add().ParseFromString(serialized)
    return definitions.SerializeToString(deterministic=True)


def main() -> None:
    DEFINITIONS.write_bytes(collect())
    print(f"{DEFINITIONS}: {DEFINITIONS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
