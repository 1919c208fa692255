"""Predict requests made wrong, one step each, and what a server must answer to them. Pure but for the random numbers."""

from __future__ import annotations

import base64
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

from serving.wire import tensors

_REFUSED = frozenset({"INVALID_ARGUMENT"})
_HARMLESS = frozenset({"OK", "INVALID_ARGUMENT"})
# Whatever a client sends: never UNKNOWN, UNAVAILABLE (a dead server) or DEADLINE_EXCEEDED (a stuck one).
_ANY = frozenset({"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED"})
# What gRPC itself answers, in every language, where the bytes are no message.
_UNREADABLE = frozenset({"INTERNAL"})
_STRING = 7  # DT_STRING


@dataclass(frozen=True)
class Mutant:
    """A request to send.

    Attributes:
      kind: of the mutation.
      body: a serialized PredictRequest, or the body of a REST request where `rest`.
      allowed: gRPC status codes that are right; for REST, the HTTP statuses.
      named: the answer's message must hold this, where it is a refusal; "" for anything.
      rest: it goes to REST.
    """

    kind: str
    body: bytes
    allowed: frozenset[str]
    named: str
    rest: bool = False


class _UnsuitableError(Exception):
    """The mutation has nothing to work on in this request."""


def mutant(requests: list[Any], rng: random.Random) -> Mutant:
    """A wrong version of one of the requests; the same numbers drawn give the same bytes."""
    # Signatures evenly: a log has far more requests of some than of others.
    signature = rng.choice(sorted({request.model_spec.signature_name for request in requests}))
    alike = [request for request in requests if request.model_spec.signature_name == signature]
    while True:
        request = predict_pb2.PredictRequest()
        request.CopyFrom(rng.choice(alike))
        kind = rng.choice(list(_MUTATIONS))
        try:
            return _MUTATIONS[kind](kind, request, rng)
        except _UnsuitableError:
            continue


def with_files(request: Any) -> Any:
    """A request of `embed_items` with a picture and a sound in those of its inputs that the demo calls `image` and
    `audio`, and a text in others of one string an item."""
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
        one = np.array([files.get(alias, b"a quiet piano")], object) if array.dtype == object else array[:1]
        _replace(made.inputs[alias], np.repeat(array[:1] if array.ndim > 1 else one, 2, axis=0))
    return made


def _finished(kind: str, request: Any, allowed: frozenset[str], named: str) -> Mutant:
    return Mutant(kind, request.SerializeToString(deterministic=True), allowed, named)


def _pick(request: Any, rng: random.Random, suits: Callable[[str, Any], bool] = lambda alias, proto: True) -> str:
    found = [alias for alias in sorted(request.inputs) if suits(alias, request.inputs[alias])]
    if not found:
        raise _UnsuitableError
    return rng.choice(found)


def _tensor(change: Callable[[Any, random.Random], None]) -> Callable[[str, Any, random.Random], Mutant]:
    """A mutation of one input that makes it no tensor of the signature."""

    def mutate(kind: str, request: Any, rng: random.Random) -> Mutant:
        alias = _pick(request, rng)
        change(request.inputs[alias], rng)
        return _finished(kind, request, _REFUSED, alias)

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
    """A mutation of one string of an input that holds text."""

    def mutate(kind: str, request: Any, rng: random.Random) -> Mutant:
        alias = _pick(request, rng, lambda alias, proto: proto.dtype == _STRING and len(proto.string_val) > 0)
        values = request.inputs[alias].string_val
        place = rng.randrange(len(values))
        values[place] = made(values[place], rng)
        text = request.model_spec.signature_name != "embed_items"
        return _finished(kind, request, _REFUSED if text else _HARMLESS, alias if text else "")

    return mutate


def _inserted(junk: bytes) -> Callable[[bytes, random.Random], bytes]:
    def made(value: bytes, rng: random.Random) -> bytes:
        place = rng.randrange(len(value) + 1)
        return value[:place] + junk + value[place:]

    return made


def _value(alias: str, choices: list[Any]) -> Callable[[str, Any, random.Random], Mutant]:
    """A mutation that gives a named input another value everywhere."""

    def mutate(kind: str, request: Any, rng: random.Random) -> Mutant:
        _pick(request, rng, lambda name, proto: name == alias)
        array = tf.make_ndarray(request.inputs[alias])
        _replace(request.inputs[alias], np.full_like(array, rng.choice(choices)))
        return _finished(kind, request, _REFUSED, alias)

    return mutate


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
    return _finished(kind, request, _REFUSED, alias)


def _cut_file(kind: str, request: Any, rng: random.Random) -> Mutant:
    if request.model_spec.signature_name != "embed_items":
        raise _UnsuitableError
    alias = _pick(request, rng, lambda alias, proto: any(len(value) > 100 for value in proto.string_val))
    values = request.inputs[alias].string_val
    place = rng.choice([place for place, value in enumerate(values) if len(value) > 100])
    # Cut to nothing it would be a missing file; and what is cut off a PNG's end may hold no pixel.
    values[place] = values[place][: rng.randrange(1, len(values[place]))]
    return _finished(kind, request, _HARMLESS, alias)


def _names(kind: str, request: Any, rng: random.Random) -> Mutant:
    spec, junk = request.model_spec, rng.choice(["", "x", "a/b", "\0", "ä" * 2000, "serving_default "])
    what = rng.choice(["model", "signature", "version", "label", "filter", "drop", "extra"])
    if what == "drop":
        alias = _pick(request, rng)
        del request.inputs[alias]
        return _finished(f"{kind}: {what}", request, _REFUSED, alias)
    if what == "extra":
        request.inputs["intruder"].CopyFrom(tf.make_tensor_proto(1))
        return _finished(f"{kind}: {what}", request, _REFUSED, "intruder")
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
        place = rng.randrange(len(body))
        change = rng.choice(["flip", "cut", "insert", "remove"])
        if change == "flip":
            body[place] ^= 1 << rng.randrange(8)
        elif change == "cut":
            del body[max(1, place) :]
        elif change == "insert":
            body[place:place] = rng.randbytes(rng.choice([1, 4, 64]))
        elif len(body) > 1:
            del body[place]
    try:
        predict_pb2.PredictRequest.FromString(bytes(body))
    except DecodeError:
        return Mutant(kind, bytes(body), _UNREADABLE, "")
    return Mutant(kind, bytes(body), _ANY, "")


def _rest_text(kind: str, request: Any, rng: random.Random) -> Mutant:
    text = bytearray(json.dumps(_document(request)).encode())
    for _ in range(rng.choice([1, 2, 5])):
        place = rng.randrange(len(text))
        text[place : place + rng.choice([0, 1, 9])] = rng.choice(
            [b"", b"[", b"}", b'"', b"\xff", b"\0", b"1e999", b","]
        )
    return Mutant(kind, bytes(text), frozenset({"200", "400"}), "", rest=True)


def _rest_value(kind: str, request: Any, rng: random.Random) -> Mutant:
    document = _document(request)
    inputs = document["inputs"]
    alias = rng.choice(sorted(inputs))
    inputs[alias] = rng.choice(
        [None, {}, {"b64": "?"}, {"b64": "AA==", "c": 1}, True, [[[]]], [[[[["x"]]]]], ["a", 1], 2**70, "\0", [{}]]
    )
    return Mutant(kind, json.dumps(document).encode(), frozenset({"400"}), "", rest=True)


def _document(request: Any) -> dict[str, Any]:
    """The same request in the columnar format of REST."""

    def listed(value: Any) -> Any:
        if isinstance(value, list):
            return [listed(item) for item in value]
        return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value

    inputs = {alias: listed(tf.make_ndarray(request.inputs[alias]).tolist()) for alias in sorted(request.inputs)}
    return {"signature_name": request.model_spec.signature_name, "inputs": inputs}


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
    "diversity": _value("diversity", [-0.001, 1.001, np.nan, np.inf]),
    "numbers": _numbers,
    "rows": _rows,
    "cut file": _cut_file,
    "names": _names,
    "bytes": _bytes,
    "REST text": _rest_text,
    "REST value": _rest_value,
}
