"""Classify, Regress and MultiInference: signatures that are evaluated on tf.Examples.

gRPC, REST and warm-up requests share one path: `plan_method` or `plan_tasks` checks the signatures, `Plan.inputs` turns
the Examples into the inputs of the model, `Plan.results` turns its outputs into messages. All signatures of a plan are
one call of the model.

The order of the checks, the status codes and the messages are those of TensorFlow Serving
(tensorflow_serving/servables/tensorflow: classifier.cc, regressor.cc, multi_inference.cc, util.cc). As there by default,
a signature counts by its inputs and outputs, whatever its `method_name`: SavedModels of TensorFlow 2 name all
signatures prediction signatures. Pure functions; errors are `tf.errors.OpError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, model_pb2, regression_pb2

from serving.server.predict_util import DEFAULT_SIGNATURE
from serving.server.status import failed_precondition, invalid, unimplemented

CLASSIFY = tf.saved_model.CLASSIFY_METHOD_NAME
REGRESS = tf.saved_model.REGRESS_METHOD_NAME
_INPUTS, _CLASSES, _SCORES, _OUTPUTS = (
    "inputs",
    "classes",
    "scores",
    "outputs",
)  # aliases in signatures of these methods


class _Task(NamedTuple):
    """A signature and the method that reads its outputs."""

    name: str
    method: str
    signature: Any


@dataclass(frozen=True)
class Plan:
    """Signatures to evaluate on the same Examples, in one call of the model.

    Attributes:
      tasks: the checked signatures.
    """

    tasks: tuple[_Task, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the signatures, whose `united` signature is called: sorted, so that order makes no new key."""
        return tuple(sorted(task.name for task in self.tasks))

    @property
    def outputs(self) -> list[str]:
        """The names of the tensors to compute."""
        return sorted({info.name for task in self.tasks for info in _read(task).values()})

    def inputs(self, examples: input_pb2.Input) -> dict[str, np.ndarray]:
        """The inputs of the call: the N serialized Examples [N], for each signature's input tensor.

        Raises:
          InvalidArgumentError: there is no Example.
        """
        serialized = _serialized(examples)
        return {task.signature.inputs[_INPUTS].name: serialized for task in self.tasks}

    def results(
        self, model: str, version: int, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> list[inference_pb2.InferenceResult]:
        """Build the result of every signature.

        Args:
          model: name of the model.
          version: the version that answered.
          inputs: of the call, as `inputs` made them.
          outputs: of the call, tensors by name.

        Raises:
          InvalidArgumentError: an output has another shape or element type than the method's results.
          FailedPreconditionError: a label of a class is not text.
        """
        results = []
        for task in self.tasks:
            count = len(inputs[task.signature.inputs[_INPUTS].name])
            arrays = {alias: outputs[info.name] for alias, info in _read(task).items()}
            result = inference_pb2.InferenceResult(model_spec={"name": model, "signature_name": task.name})
            result.model_spec.version.value = version
            if task.method == CLASSIFY:
                result.classification_result.CopyFrom(_classifications(arrays, count))
            else:
                result.regression_result.CopyFrom(_regressions(arrays[_OUTPUTS], count))
            results.append(result)
        return results


def plan_method(signatures: Mapping[str, Any], spec: model_pb2.ModelSpec, method: str) -> Plan:
    """Plan a Classify or Regress request.

    Args:
      signatures: name -> SignatureDef of the model.
      spec: names the signature; "" for the default.
      method: CLASSIFY or REGRESS.

    Raises:
      InvalidArgumentError: there is no such signature, or it does not have the inputs and outputs of the method.
    """
    name = spec.signature_name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise invalid(f"No signature was found with the name: {name}")
    return Plan((_checked(name, method, signatures[name]),))


def plan_tasks(signatures: Mapping[str, Any], tasks: Sequence[inference_pb2.InferenceTask]) -> Plan:
    """Plan a MultiInference request.

    Raises:
      InvalidArgumentError: tasks for several models, or several tasks for a signature; or see `plan_method`.
      UnimplementedError: a task for another method than classification and regression.
    """
    planned: list[_Task] = []
    for task in tasks:
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if any(name == other.name for other in planned):
            raise invalid(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise invalid(f"Requested signature not found in model graph: {name}")
        planned.append(_checked(name, task.method_name, signatures[name]))
    return Plan(tuple(planned))


def united(signatures: Mapping[str, Any], names: Sequence[str]) -> Any:
    """A SignatureDef with the inputs and outputs of several, under the names of their tensors."""
    whole = meta_graph_pb2.SignatureDef()
    for name in names:
        for info in signatures[name].inputs.values():
            whole.inputs[info.name].CopyFrom(info)
        for info in signatures[name].outputs.values():
            whole.outputs[info.name].CopyFrom(info)
    return whole


def _checked(name: str, method: str, signature: Any) -> _Task:
    if method not in (CLASSIFY, REGRESS):
        raise unimplemented(f"Unsupported signature method_name: {method}")
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if method == REGRESS and len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if method == CLASSIFY and len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    kind = "classification" if method == CLASSIFY else "regression"
    shown = text_format.MessageToString(signature, as_one_line=True)
    if _INPUTS not in signature.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {shown}")
    task = _Task(name, method, signature)
    if not _read(task):
        if method == REGRESS:
            raise invalid(f"No regression outputs found in SignatureDef: {shown}")
        raise invalid(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {shown}"
        )
    return task


def _read(task: _Task) -> dict[str, Any]:
    """The outputs that the method reads, alias -> TensorInfo."""
    aliases = (_CLASSES, _SCORES) if task.method == CLASSIFY else (_OUTPUTS,)
    return {alias: task.signature.outputs[alias] for alias in aliases if alias in task.signature.outputs}


def _serialized(examples: input_pb2.Input) -> np.ndarray:
    if examples.WhichOneof("kind") == "example_list_with_context":
        given: Any = examples.example_list_with_context
        # Serialized messages one behind the other are one message with the features of both.
        context = given.context.SerializeToString()
    else:
        given, context = examples.example_list, b""
    if not given.examples:
        raise invalid("Input is empty.")
    serialized = np.empty(len(given.examples), object)
    serialized[:] = [context + example.SerializeToString() for example in given.examples]
    return serialized


def _classifications(arrays: Mapping[str, np.ndarray], count: int) -> classification_pb2.ClassificationResult:
    for alias, dtype in ((_CLASSES, "DT_STRING"), (_SCORES, "DT_FLOAT")):
        if alias not in arrays:
            continue
        array = arrays[alias]
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if _dtype(array) != dtype:
            raise invalid(f"Expected {alias} Tensor of {dtype}. Got: {_dtype(array)}")
        if len(array) != count:
            raise invalid(f"Expected {alias} output batch size of {count}. Got: {len(array)}")
    widths = [array.shape[1] for array in arrays.values()]
    if len(set(widths)) > 1:
        raise invalid(f"Tensors class and score should match in dim_size(1). Got {widths[0]} vs. {widths[1]}")
    width = widths[0]
    labels = arrays[_CLASSES].tolist() if _CLASSES in arrays else [[b""] * width] * count
    scores = arrays[_SCORES].tolist() if _SCORES in arrays else [[0.0] * width] * count
    result = classification_pb2.ClassificationResult()
    for row in range(count):
        classes = result.classifications.add().classes
        for label, score in zip(labels[row], scores[row], strict=True):
            classes.add(label=_text(label), score=score)
    return result


def _text(label: bytes) -> str:
    try:
        return label.decode()
    except UnicodeDecodeError as error:
        raise failed_precondition(f"the class label {label!r} is not UTF-8, so no response can hold it") from error


def _regressions(values: np.ndarray, count: int) -> regression_pb2.RegressionResult:
    if not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got " + _shape(values)
        )
    if len(values) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(values)}")
    if _dtype(values) != "DT_FLOAT":
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(values)}")
    result = regression_pb2.RegressionResult()
    for value in values.ravel().tolist():
        result.regressions.add(value=value)
    return result


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _dtype(array: np.ndarray) -> str:
    return types_pb2.DataType.Name(tf.as_dtype(array.dtype).as_datatype_enum)
