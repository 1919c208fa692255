"""Mutations that make valid Predict requests invalid, and the answers that a server may give to them."""

from __future__ import annotations

import io
import json
import random
import wave
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2

from benchmarks.serving.servers import rest_document
from serving.wire import tensors

_REJECTED = frozenset({"INVALID_ARGUMENT"})
_HARMLESS = frozenset({"OK", "INVALID_ARGUMENT"})
# Never UNKNOWN, UNAVAILABLE (a crashed server) or DEADLINE_EXCEEDED (a hanging one).
_ANY = frozenset({"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"})
# The answer of gRPC itself, in every language, to bytes that are no message.
_UNREADABLE = frozenset({"INTERNAL"})
_STRING = 7  # DT_STRING


@dataclass(frozen=True)
class Mutant:
    """A mutated request.

    Attributes:
      kind: of the mutation.
      body: a serialized PredictRequest, or the body of a REST request.
      allowed: correct gRPC status codes, or HTTP statuses for REST.
      named: text that the message of an error must contain, such as the name of the input.
      rest: it is sent to REST.
    """

    kind: str
    body: bytes
    allowed: frozenset[str]
    named: str
    rest: bool = False


class _UnsuitableError(Exception):
    """The mutation does not apply to this request."""


def make_mutant(requests: list[Any], rng: random.Random) -> Mutant:
    """Mutate one of the requests; the same random numbers give the same bytes."""
    # Signatures are drawn evenly, because a log has many more requests of some than of others.
    signature = rng.choice(sorted({request.model_spec.signature_name for request in requests}))
    candidates = [request for request in requests if request.model_spec.signature_name == signature]
    while True:
        request = predict_pb2.PredictRequest()
        request.CopyFrom(rng.choice(candidates))
        kind = rng.choice(list(_MUTATIONS))
        try:
            return _MUTATIONS[kind](kind, request, rng)
        except _UnsuitableError:
            continue


def with_media(request: Any) -> Any:
    """Copy a request of `embed_items` for two items, with an image and a sound in its inputs `image` and `audio` and a text
    in other string inputs."""
    made = predict_pb2.PredictRequest()
    made.CopyFrom(request)
    pixels = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((8000 * np.sin(np.arange(8000) / 8)).astype("<i2").tobytes())
    files = {"image": tf.io.encode_png(pixels).numpy(), "audio": sound.getvalue()}
    for alias in sorted(made.inputs):
        array = tf.make_ndarray(made.inputs[alias])
        value = array[:1]
        if array.dtype == object and array.ndim == 1:
            value = np.array([files.get(alias, b"a quiet piano")], object)
        _replace(made.inputs[alias], np.repeat(value, 2, axis=0))
    return made


def _finished(kind: str, request: Any, allowed: frozenset[str], named: str) -> Mutant:
    return Mutant(kind, request.SerializeToString(deterministic=True), allowed, named)


def _pick(request: Any, rng: random.Random, suits: Callable[[str, Any], bool] = lambda alias, proto: True) -> str:
    aliases = [alias for alias in sorted(request.inputs) if suits(alias, request.inputs[alias])]
    if not aliases:
        raise _UnsuitableError
    return rng.choice(aliases)


def _tensor(change: Callable[[Any, random.Random], None]) -> Callable[[str, Any, random.Random], Mutant]:
    """Return a mutation of one input that contradicts the signature."""

    def mutate(kind: str, request: Any, rng: random.Random) -> Mutant:
        alias = _pick(request, rng)
        change(request.inputs[alias], rng)
        return _finished(kind, request, _REJECTED, alias)

    return mutate


def _dtype(proto: Any, rng: random.Random) -> None:
    proto.dtype = rng.choice([number for number in range(24) if number != proto.dtype])


def _rank(proto: Any, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 2, 40, 300])):
        proto.tensor_shape.dim.add(size=rng.choice([0, 1, 7]))


def _size(sizes: list[int]) -> Callable[[Any, random.Random], None]:
    def change(proto: Any, rng: random.Random) -> None:
        dims = proto.tensor_shape.dim or [proto.tensor_shape.dim.add()]
        rng.choice(list(dims)).size = rng.choice(sizes)

    return change


def _unknown_rank(proto: Any, rng: random.Random) -> None:
    proto.tensor_shape.unknown_rank = True


def _content(proto: Any, rng: random.Random) -> None:
    proto.tensor_content = bytes(proto.tensor_content) + rng.randbytes(rng.choice([1, 3, 4097]))


def _string(made: Callable[[bytes, random.Random], bytes]) -> Callable[[str, Any, random.Random], Mutant]:
    """Return a mutation of one string of a string input."""

    def mutate(kind: str, request: Any, rng: random.Random) -> Mutant:
        alias = _pick(request, rng, lambda alias, proto: proto.dtype == _STRING and len(proto.string_val) > 0)
        values = request.inputs[alias].string_val
        index = rng.randrange(len(values))
        values[index] = made(values[index], rng)
        text = request.model_spec.signature_name != "embed_items"
        return _finished(kind, request, _REJECTED if text else _HARMLESS, alias if text else "")

    return mutate


def _inserted(junk: bytes) -> Callable[[bytes, random.Random], bytes]:
    def made(value: bytes, rng: random.Random) -> bytes:
        position = rng.randrange(len(value) + 1)
        return value[:position] + junk + value[position:]

    return made


def _value(alias: str, choices: list[Any]) -> Callable[[str, Any, random.Random], Mutant]:
    """Return a mutation that sets all elements of a named input."""

    def mutate(kind: str, request: Any, rng: random.Random) -> Mutant:
        _pick(request, rng, lambda name, proto: name == alias)
        array = tf.make_ndarray(request.inputs[alias])
        _replace(request.inputs[alias], np.full_like(array, rng.choice(choices)))
        return _finished(kind, request, _REJECTED, alias)

    return mutate


def _shape_of_k(kind: str, request: Any, rng: random.Random) -> Mutant:
    _pick(request, rng, lambda name, proto: name == "k")
    array = tf.make_ndarray(request.inputs["k"])
    _replace(request.inputs["k"], rng.choice([array[0], array[:, None], array[None], array[:0]]))
    return _finished(kind, request, _REJECTED, "k")


def _numbers(kind: str, request: Any, rng: random.Random) -> Mutant:
    alias = _pick(request, rng, lambda alias, proto: proto.dtype in (1, 9) and len(proto.tensor_shape.dim) > 0)
    array = np.array(tf.make_ndarray(request.inputs[alias]))
    if not array.size:
        raise _UnsuitableError
    odd = [np.nan, np.inf, -np.inf, 3e38, -3e38] if array.dtype.kind == "f" else [2**63 - 1, -(2**63), -1, 0]
    array.flat[rng.randrange(array.size)] = rng.choice(odd)
    _replace(request.inputs[alias], array)
    return _finished(kind, request, _HARMLESS, "diversity" if alias == "diversity" else "")


def _rows(kind: str, request: Any, rng: random.Random) -> Mutant:
    alias = _pick(request, rng, lambda alias, proto: len(proto.tensor_shape.dim) > 0)
    if sum(len(proto.tensor_shape.dim) > 0 for proto in request.inputs.values()) < 2:
        raise _UnsuitableError
    array = tf.make_ndarray(request.inputs[alias])
    _replace(request.inputs[alias], np.concatenate([array] * rng.choice([2, 3])))
    return _finished(kind, request, _REJECTED, alias)


def _cut_file(kind: str, request: Any, rng: random.Random) -> Mutant:
    if request.model_spec.signature_name != "embed_items":
        raise _UnsuitableError
    alias = _pick(request, rng, lambda alias, proto: any(len(value) > 100 for value in proto.string_val))
    values = request.inputs[alias].string_val
    index = rng.choice([index for index, value in enumerate(values) if len(value) > 100])
    # An empty string would be a missing file. The end of a PNG may hold no pixels, so that its loss is harmless.
    values[index] = values[index][: rng.randrange(1, len(values[index]))]
    return _finished(kind, request, _HARMLESS, alias)


def _names(kind: str, request: Any, rng: random.Random) -> Mutant:
    spec, junk = request.model_spec, rng.choice(["", "x", "a/b", "\0", "ä" * 2000, "serving_default "])
    what = rng.choice(["model", "signature", "version", "label", "filter", "drop", "extra"])
    if what == "drop":
        alias = _pick(request, rng)
        del request.inputs[alias]
        return _finished(f"{kind}: {what}", request, _REJECTED, alias)
    if what == "extra":
        request.inputs["intruder"].CopyFrom(tf.make_tensor_proto(1))
        return _finished(f"{kind}: {what}", request, _REJECTED, "intruder")
    if what == "model":
        spec.name = junk
    elif what == "signature":
        spec.signature_name = junk
    elif what == "version":
        spec.version.value = rng.choice([-1, 0, 2**62])
    elif what == "label":
        spec.version_label = junk
    else:
        request.output_filter.append(junk)
    refusals = _ANY if (what, junk) == ("signature", "") else _ANY - {"OK"}
    return _finished(f"{kind}: {what}", request, refusals, "")


def _bytes(kind: str, request: Any, rng: random.Random) -> Mutant:
    body = bytearray(request.SerializeToString(deterministic=True))
    for _ in range(rng.choice([1, 1, 2, 8])):
        position = rng.randrange(len(body))
        change = rng.choice(["flip", "cut", "insert", "remove"])
        if change == "flip":
            body[position] ^= 1 << rng.randrange(8)
        elif change == "cut":
            del body[max(1, position) :]
        elif change == "insert":
            body[position:position] = rng.randbytes(rng.choice([1, 4, 64]))
        elif len(body) > 1:
            del body[position]
    try:
        predict_pb2.PredictRequest.FromString(bytes(body))
    except DecodeError:
        return Mutant(kind, bytes(body), _UNREADABLE, "")
    return Mutant(kind, bytes(body), _ANY, "")


def _rest_text(kind: str, request: Any, rng: random.Random) -> Mutant:
    text = bytearray(json.dumps(rest_document(request)).encode())
    for _ in range(rng.choice([1, 2, 5])):
        position = rng.randrange(len(text))
        text[position : position + rng.choice([0, 1, 9])] = rng.choice(
            [b"", b"[", b"}", b'"', b"\xff", b"\0", b"1e999", b","]
        )
    return Mutant(kind, bytes(text), frozenset({"200", "400"}), "", rest=True)


def _rest_value(kind: str, request: Any, rng: random.Random) -> Mutant:
    document = rest_document(request)
    inputs = document["inputs"]
    alias = rng.choice(sorted(inputs))
    inputs[alias] = rng.choice(
        [None, {}, {"b64": "?"}, {"b64": "AA==", "c": 1}, True, [[[]]], [[[[["x"]]]]], ["a", True], 2**70, "\0", [{}]]
    )
    return Mutant(kind, json.dumps(document).encode(), frozenset({"400"}), "", rest=True)


def _replace(proto: Any, array: np.ndarray) -> None:
    proto.Clear()
    tensors.encode(array, proto, content=True)


_MUTATIONS: dict[str, Callable[[str, Any, random.Random], Mutant]] = {
    "element type": _tensor(_dtype),
    "rank": _tensor(_rank),
    "negative size": _tensor(_size([-1, -7, -(2**63)])),
    "huge size": _tensor(_size([10**7, 2**31, 2**40, 2**63 - 1])),
    "unknown rank": _tensor(_unknown_rank),
    "content": _tensor(_content),
    "NUL byte": _string(_inserted(b"\0")),
    "not UTF-8": _string(_inserted(b"\xff\xfe")),
    "long string": _string(lambda value, rng: b"x" * rng.choice([65_537, 1_000_000])),
    "k": _value("k", [0, -1, -(2**31), 2**31 - 1, 10_001]),
    "shape of k": _shape_of_k,
    "diversity": _value("diversity", [-0.001, 1.001, np.nan, np.inf]),
    "numbers": _numbers,
    "rows": _rows,
    "cut file": _cut_file,
    "names": _names,
    "bytes": _bytes,
    "REST text": _rest_text,
    "REST value": _rest_value,
}
