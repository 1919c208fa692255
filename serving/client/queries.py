"""Conversion of call arguments to signature inputs, and of outputs to results. Pure functions.

A model may have inputs that the SavedModel contract does not name, one per context column and user feature of its data
set. They are taken from the model's metadata; those that the caller leaves out are sent as missing ("" or NaN).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from serving.client.pictures import readable
from serving.wire import tensors
from serving.wire.errors import InvalidRequestError, ServerFailureError
from serving.wire.ids import ID_INPUTS, ItemId, as_id, as_ids
from serving.wire.metadata import Signature, TensorSpec
from tfrecs.schema import request_fault

Outputs = Mapping[str, np.ndarray]
NumResults: TypeAlias = int | Sequence[int]
"""The input `k`: one number of results for all rows, or one for each."""

# Inputs whose lists may not begin with padding: their outputs have the same order.
_ORDERED = frozenset({"candidate_ids"})


@dataclass(frozen=True)
class Scored:
    """An item with its score and `labels`, the predictions of the ranking head by label."""

    id: str
    score: float
    labels: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Recommendation(Scored):
    """A recommended item and its explanation.

    Attributes:
      modality_weights: float [M], the weight of each modality in the item's embedding, in the model's order.
      because_id: the item of the history that is most similar to this one; "" for an empty history.
    """

    modality_weights: np.ndarray
    because_id: str


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of items, in the order of the request.

    Attributes:
      embedding: float [N, D].
      modality_weights: float [N, M], the weight of each modality, in the model's order.
    """

    embedding: np.ndarray
    modality_weights: np.ndarray


@dataclass(frozen=True)
class Inputs:
    """Inputs of one call: those `given` by the caller, and those left at their `neutral` value."""

    given: Mapping[str, Any]
    neutral: Mapping[str, Any]


def user_inputs(
    *,
    history_ids: Sequence[ItemId],
    history_values: Sequence[float] | None,
    history_times: Sequence[int] | None,
    now: int | None,
    clock: int,
    query: str,
    exclude_ids: Sequence[ItemId],
    categories: Sequence[str],
    diversity: float,
) -> Inputs:
    """The inputs that `recommend` and `rank` share, for one user (a batch of one).

    Args:
      clock: unix seconds, used if `now` is None.
      The others: see `serving.client.client.Client.recommend`; "", empty, None and diversity 0 are neutral.

    Raises:
      InvalidRequestError: there is not one value or time per item of the history, a string is given for a list, or a
        time is not plausible.
    """
    length = len(history_ids)
    for name, events in (("history_values", history_values), ("history_times", history_times)):
        if events is not None and len(events) != length:
            raise InvalidRequestError(f"{name} has {len(events)} entries for {length} history_ids; give one each")
    _check_times("history_times", history_times or ())
    _check_times("now", () if now is None else (now,))
    values = {
        "history_ids": _strings("history_ids", history_ids),
        "history_values": [[float("nan")] * length if history_values is None else list(history_values)],
        "history_times": [[0] * length if history_times is None else list(history_times)],
        "now": [clock if now is None else now],
        "query": [query],
        "exclude_ids": _strings("exclude_ids", exclude_ids),
        "categories": _strings("categories", categories),
        "diversity": [diversity],
    }
    neutral = {
        "history_ids": length == 0,
        "history_values": history_values is None,
        "history_times": history_times is None,
        "now": now is None,
        "query": query == "",
        "exclude_ids": len(exclude_ids) == 0,
        "categories": len(categories) == 0,
        "diversity": diversity == 0,
    }
    return Inputs(
        {name: value for name, value in values.items() if not neutral[name]},
        {name: value for name, value in values.items() if neutral[name]},
    )


def with_context(inputs: Inputs, context: Mapping[str, str | float], extra: Mapping[str, Any]) -> Inputs:
    """Add a model's own inputs (one value each) and further inputs of the signature. Raises InvalidRequestError."""
    clash = sorted(set(context) & {*inputs.given, *inputs.neutral, *extra})
    if clash:
        raise InvalidRequestError(f"{', '.join(clash)} cannot be given here; it is no context of a model")
    return Inputs({**inputs.given, **{name: [value] for name, value in context.items()}, **extra}, inputs.neutral)


def item_inputs(signature: Signature, raw: Mapping[str, Sequence[Any]]) -> Inputs:
    """The inputs of `embed_items`, with one entry per item and modality, None if the item lacks it.

    Raises:
      InvalidRequestError: there is no modality, or the numbers of items differ.
    """
    counts = {name: len(values) for name, values in raw.items()}
    if len(set(counts.values())) != 1:
        given = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
        raise InvalidRequestError(f"embed_items takes the same number of items in every modality ({given} given)")
    specs = signature.inputs
    return Inputs({name: _rows(name, rows, specs[name]) if name in specs else rows for name, rows in raw.items()}, {})


def complete(signature_name: str, signature: Signature, inputs: Inputs, batch: int) -> dict[str, np.ndarray]:
    """Build every input of a signature as an array of its type.

    Lists of any length begin with "" (their values and times with 0), which every signature skips: TensorFlow Serving's
    batching (`pad_variable_length_inputs`) lengthens a shorter list by copies of its first element, and refuses empty ones.

    Args:
      signature_name: name for error messages.
      signature: the signature.
      inputs: the inputs; neutral ones are sent only if the signature has them.
      batch: B, the first size of inputs that are sent as missing.

    Raises:
      InvalidRequestError: a given input is not in the signature or not of its type, a required input is not given, or `k` is
        below 1.
    """
    unknown = sorted(set(inputs.given) - set(signature.inputs))
    if unknown:
        names = ", ".join(sorted(signature.inputs))
        raise InvalidRequestError(f"signature {signature_name} has no input {', '.join(unknown)}; it has {names}")
    values = {**inputs.neutral, **inputs.given}
    arrays = {
        name: _begun(name, convert(name, values[name], spec), spec)
        if name in values
        else _missing(signature_name, name, spec, batch)
        for name, spec in signature.inputs.items()
    }
    if "k" in arrays and (arrays["k"] < 1).any():
        raise InvalidRequestError(f"input k: {arrays['k'].min()} results cannot be asked for; k is at least 1")
    return with_rows(arrays, signature.inputs, batch)


def with_rows(
    arrays: Mapping[str, np.ndarray], specs: Mapping[str, TensorSpec], batch: int | None = None
) -> dict[str, np.ndarray]:
    """Give `k` the form of the signature: one number for each row, or the scalar of an export of contract 1.

    Args:
      arrays: the inputs.
      specs: those of the signature; {} if it is not known.
      batch: B; None: as many rows as another input has.

    Raises:
      InvalidRequestError: there is not one for each row, or a scalar would have to be different numbers.
    """
    shape = specs["k"].shape if "k" in specs and "k" in arrays else None
    if shape not in ((), (None,)):
        return dict(arrays)
    k = arrays["k"]
    if batch is None:
        batch = max((len(array) for name, array in arrays.items() if name != "k" and array.ndim), default=k.size)
    if k.ndim and k.shape != (batch,):
        raise InvalidRequestError(
            f"input k: shape {list(k.shape)} for {batch} rows; give one number, or one for each row"
        )
    if shape == () and k.ndim:
        if np.unique(k).size != 1:
            raise InvalidRequestError(
                "input k: this export takes one number for all rows, as those before contract 2; give one number, or "
                "export the run again (triptych export)"
            )
        k = k[0]
    return {**arrays, "k": np.array(k) if shape == () else np.broadcast_to(k, [batch])}


def convert(name: str, values: Any, spec: TensorSpec | None) -> np.ndarray:
    """Convert the values of the input `name` to an array of the spec's type, if any; ids may be whole numbers.

    Raises:
      InvalidRequestError: the values are of another type, or no ids.
    """
    try:
        row = spec.row if spec is not None else None
        if name in ID_INPUTS and spec is not None and spec.dtype == "string":
            values = as_ids(values)
        return tensors.as_array(values) if row is None else tensors.cast(values, row)
    except ValueError as error:  # a TensorError, or no id
        raise InvalidRequestError(f"input {name}: {error}") from error


def recommendations(outputs: Outputs) -> list[Recommendation]:
    """Read the first row of `recommend`'s outputs without padding (id ""). Raises ServerFailureError."""
    ids, scores, labels = _ids(outputs), _row(outputs, "scores"), _labels(outputs)
    weights, because = _row(outputs, "modality_weights"), _row(outputs, "because_ids")
    return [
        Recommendation(
            id=item,
            score=float(scores[rank]),
            labels={name: float(row[rank]) for name, row in labels.items()},
            modality_weights=weights[rank],
            because_id=because[rank].decode(),
        )
        for rank, item in enumerate(ids)
        if item
    ]


def scored(outputs: Outputs, ids: Sequence[str] | None) -> list[Scored]:
    """Read the first row of `search`, `similar` or (with the candidates as `ids`) `rank`. Raises ServerFailureError.

    TensorFlow Serving's batching may answer more columns than there are candidates: those of the longest request of the batch.
    """
    names = _ids(outputs) if ids is None else ids
    scores, labels = _row(outputs, "scores"), _labels(outputs)
    if len(scores) < len(names):
        raise ServerFailureError(f"the model answered {len(scores)} scores for {len(names)} items")
    return [
        Scored(item, float(scores[rank]), {name: float(row[rank]) for name, row in labels.items()})
        for rank, item in enumerate(names)
        if item
    ]


def embeddings(outputs: Outputs) -> Embeddings:
    """Read the outputs of `embed_items`. Raises ServerFailureError."""
    return Embeddings(_output(outputs, "embedding"), _output(outputs, "modality_weights"))


def _labels(outputs: Outputs) -> dict[str, np.ndarray]:
    shape = _output(outputs, "scores").shape
    names = [name for name, value in outputs.items() if value.dtype.kind == "f" and value.shape == shape]
    return {name: outputs[name][0] for name in sorted(names) if name != "scores"}


def _ids(outputs: Outputs) -> list[str]:
    return [item.decode() for item in _row(outputs, "ids")]


def _row(outputs: Outputs, name: str) -> np.ndarray:
    return _output(outputs, name)[0]


def _output(outputs: Outputs, name: str) -> np.ndarray:
    if name not in outputs:
        raise ServerFailureError(f"the model's answer has no {name}; was it exported by Triptych?")
    return outputs[name]


def _check_times(name: str, times: Iterable[Any]) -> None:
    for time in times:
        number = time.item() if isinstance(time, np.generic) else time
        # What is no number is refused with its type where inputs are converted.
        fault = request_fault(number) if isinstance(number, int | float) else None
        if fault:
            raise InvalidRequestError(f"{name}: {fault}")


def candidates(ids: Sequence[ItemId]) -> list[str]:
    """Return the candidates of `rank` as strings. Raises InvalidRequestError."""
    try:
        return [as_id(value) for value in _strings("candidate_ids", ids)[0]]
    except ValueError as error:
        raise InvalidRequestError(f"input candidate_ids: {error}") from error


def _strings(name: str, values: Sequence[Any]) -> np.ndarray:
    """[1, n], an object array even where n is 0."""
    if isinstance(values, (str, bytes)):
        raise InvalidRequestError(f"{name} takes a list of strings, not the one string {values!r}")
    row = np.empty((1, len(values)), object)
    row[0, :] = list(values)
    return row


def _rows(name: str, values: Sequence[Any], spec: TensorSpec) -> Any:
    """One modality of several items, with missing values for None, as input of `convert`."""
    string, rank = spec.dtype == "string", len(spec.shape or ())
    missing: Any = "" if string else np.nan
    if rank == 1:
        return [missing if value is None else readable(name, value) for value in values]
    if string:  # lists of strings, padded to the longest
        longest = max((len(value) for value in values if value is not None), default=0)
        padded = [[*(value or ()), *[""] * (longest - len(value or ()))] for value in values]
        return np.array(padded, object).reshape(len(values), longest)
    size = next((len(value) for value in values if value is not None), (spec.shape or (0, 0))[1] or 0)
    wrong = [len(value) for value in values if value is not None and len(value) != size]
    if wrong:
        raise InvalidRequestError(f"input {name}: vectors of {size} and of {wrong[0]} numbers")
    return np.array([[missing] * size if value is None else value for value in values], np.float32)


def _begun(name: str, array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """A list of any length with padding in front; see `complete`."""
    if spec.shape is None or spec.shape[1:] != (None,) or array.ndim != 2 or name in _ORDERED:
        return array
    return np.insert(array, 0, b"" if spec.dtype == "string" else 0, axis=1)


def _missing(signature_name: str, name: str, spec: TensorSpec, batch: int) -> np.ndarray:
    fill = {"string": b"", "float": np.nan, "double": np.nan}
    if spec.dtype not in fill or spec.row is None or not spec.shape:
        raise InvalidRequestError(f"signature {signature_name} needs the input {name} ({spec.dtype}); give it")
    return np.full((batch, *(size or 1 for size in spec.shape[1:])), fill[spec.dtype], spec.row.numpy)
