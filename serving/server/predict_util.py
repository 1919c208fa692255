"""Checks of predict requests against a signature, and the response message.

The order of the checks, the status codes and the messages are those of TensorFlow Serving
(tensorflow_serving/servables/tensorflow/predict_util.cc, tensorflow/cc/saved_model/util.cc). It leaves element types
and shapes to the graph, and so do these for any model but an export of Triptych (`strict`), whose contract fixes them.

Pure functions. Errors are `tf.errors.OpError`, the canonical codes that the runtime itself raises.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving.server.status import failed_precondition, invalid, unimplemented
from serving.wire import tensors

# By the ranks of `k` that an export has and a request gives: clients and exports of different versions meet.
_K_REMEDIES = {
    ("k", 1, 0): "; give one k for each row ([10] for one row), or use a newer client",
    (
        "k",
        0,
        1,
    ): "; this export is of an older Triptych: give one number for all rows, in REST's columnar form, or export "
    "the run again (triptych export)",
}

DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


def response(
    model: str, signature: str, version: int, outputs: Mapping[str, np.ndarray]
) -> predict_pb2.PredictResponse:
    """Build the response message.

    Raises:
      UnimplementedError: an output has an element type that a TensorProto cannot hold.
    """
    message = predict_pb2.PredictResponse()
    message.model_spec.name = model
    message.model_spec.signature_name = signature
    message.model_spec.version.value = version
    for alias, array in outputs.items():
        try:
            # Typed fields, as TensorFlow Serving answers by default: much client code reads `float_val` directly.
            tensors.encode(array, message.outputs[alias], content=False)
        except tensors.TensorError as error:
            raise unimplemented(f'output "{alias}": {error}') from error
    return message


def decode_inputs(
    signature: Any, protos: Mapping[str, Any], *, limit_bytes: int, strict: bool
) -> dict[str, np.ndarray]:
    """Decode the inputs of a request to arrays, with defaults filled in.

    Args:
      signature: the SignatureDef.
      protos: input name -> TensorProto.
      limit_bytes: see `serving.wire.tensors.decode`.
      strict: refuse other element types and shapes than the signature's, which are left to the graph otherwise.

    Raises:
      InvalidArgumentError: an input is missing, unknown, not a valid tensor, or (strict) of another type or shape.
    """
    check_names(signature, protos)
    return {
        alias: _decode(
            alias,
            info if strict else None,
            protos[alias] if alias in protos else signature.defaults[alias],
            limit_bytes,
        )
        for alias, info in signature.inputs.items()
    }


def with_defaults(signature: Any, inputs: Mapping[str, np.ndarray], *, strict: bool) -> dict[str, np.ndarray]:
    """Check inputs that are already arrays of the right types, and fill in defaults; see `decode_inputs`."""
    check_names(signature, inputs)
    for alias, array in inputs.items():
        if strict:
            check_shape(alias, signature.inputs[alias], array.shape)
    given = {alias: tf.make_ndarray(proto) for alias, proto in signature.defaults.items() if alias not in inputs}
    return {**given, **inputs}


def find_signature(signatures: Mapping[str, Any], name: str) -> Any:
    """Look up a SignatureDef. Raises FailedPreconditionError if there is none of that name."""
    if name not in signatures:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    return signatures[name]


def check_names(signature: Any, given: Collection[str]) -> None:
    """Raise InvalidArgumentError unless every input is given or has a default, and nothing else is given."""
    sent, expected = set(given), set(signature.inputs)
    if sent == expected:
        return
    missing = expected - sent - set(signature.defaults)
    extra = sent - expected
    if missing or extra:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(expected)} "
            f"len({{{_listed(sent)}}}) != len({{{_listed(expected)}}}). "
            f"Sent extra: {{{_listed(extra)}}}. Missing but required: {{{_listed(missing)}}}."
        )


def check_shape(alias: str, info: Any, shape: Sequence[int]) -> None:
    """Raise InvalidArgumentError unless the input has the sizes that the signature fixes."""
    declared = info.tensor_shape
    if declared.unknown_rank:
        return
    expected = [dim.size for dim in declared.dim]
    if len(expected) != len(shape) or [
        want for want, got in zip(expected, shape, strict=True) if want not in (-1, got)
    ]:
        wanted = ",".join("?" if size < 0 else str(size) for size in expected)
        raise invalid(
            f'Expects input "{alias}" to be of shape [{wanted}] but [{",".join(map(str, shape))}] is provided'
            f"{_K_REMEDIES.get((alias, len(expected), len(shape)), '')}"
        )


def select_outputs(signature: Any, output_filter: Sequence[str]) -> list[str]:
    """The sorted names of the outputs to compute; all for an empty filter. Raises InvalidArgumentError."""
    for position, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_listed(signature.outputs)}}}."
            )
        if alias in output_filter[:position]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    return sorted(output_filter or signature.outputs)


def _decode(alias: str, info: Any, proto: Any, limit_bytes: int) -> np.ndarray:
    """Decode an input; `info` is the TensorInfo that it must agree with, None to leave that to the graph."""
    if info is not None and proto.dtype != info.dtype:
        wanted, got = tensors.dtype_name(info.dtype), tensors.dtype_name(proto.dtype)
        raise invalid(f'Expects input "{alias}" to be {wanted} but {got} is provided')
    try:
        shape = tensors.dimensions(proto)
        if info is not None:
            check_shape(alias, info, shape)  # before any memory is taken for it
        return tensors.decode(proto, limit_bytes=limit_bytes, shape=shape)
    except tensors.TensorError as error:
        raise invalid(f"tensor parsing error: {alias} ({error})") from error


def _listed(names: Collection[str]) -> str:
    return ",".join(sorted(names))
