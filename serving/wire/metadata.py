"""Metadata of a served model: its signatures with the element types and shapes of inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.wire import stubs
from serving.wire.tensors import DTYPES, DType, dtype_name

PREDICT_METHOD = "tensorflow/serving/predict"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output.

    Attributes:
      dtype: TensorFlow's name of the element type: "string", "float", "int64", ...
      shape: sizes, None for an open one; None if the rank is unknown.
    """

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def row(self) -> DType | None:
        """The element type in `serving.wire.tensors`; None for one that this client cannot send."""
        return next((row for row in DTYPES.values() if row.name == self.dtype), None)


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a signature, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True)
class Metadata:
    """The signatures of one version of a model, by name."""

    version: int
    signatures: Mapping[str, Signature]


def parse(response: Any) -> Metadata:
    """Parse a GetModelMetadataResponse, without signatures that are no predictions (such as the init op)."""
    definitions = stubs.message("SignatureDefMap")()
    response.metadata["signature_def"].Unpack(definitions)
    signatures = {
        name: Signature(_specs(definition.inputs), _specs(definition.outputs))
        for name, definition in sorted(definitions.signature_def.items())
        if definition.method_name == PREDICT_METHOD
    }
    return Metadata(response.model_spec.version.value, signatures)


def _specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(dtype_name(info.dtype), _shape(info.tensor_shape)) for name, info in sorted(tensors.items())
    }


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
