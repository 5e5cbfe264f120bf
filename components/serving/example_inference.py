"""Classify, Regress and MultiInference: tf.Examples through a signature's one input.

Checks and words are those of TensorFlow Serving's classifier.cc, regressor.cc and
multi_inference.cc.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework import dtypes
from tensorflow_serving.apis import classification_pb2, inference_pb2, input_pb2, regression_pb2

from slimworks.components.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel
from slimworks.components.serving.request_errors import Code, RequestError

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
_INPUTS = "inputs"
_KINDS = {CLASSIFY: "classification", REGRESS: "regression"}
_OUTPUTS = {CLASSIFY: ("classes", "scores"), REGRESS: ("outputs",)}


@dataclasses.dataclass(frozen=True)
class Task:
    """One signature, used in one way.

    Attributes:
        method_name: CLASSIFY or REGRESS.
        input_name: Tensor that takes serialized tf.Examples, string [N].
        output_names: Tensors by output alias.
    """

    method_name: str
    input_name: str
    output_names: Mapping[str, str]


def classify(
    model: LoadedModel, signature_name: str, examples: input_pb2.Input, *, check_method_name: bool
) -> classification_pb2.ClassificationResult:
    """Classes with scores for each example.

    Raises:
        RequestError: With TensorFlow Serving's code and text.
    """
    signature = _signature(model, signature_name, "No signature was found with the name: {}")
    task = _task(signature, CLASSIFY, check_method_name)
    return _classification(*_computed(model, [task], examples), task)


def regress(
    model: LoadedModel, signature_name: str, examples: input_pb2.Input, *, check_method_name: bool
) -> regression_pb2.RegressionResult:
    """One value for each example.

    Raises:
        RequestError: With TensorFlow Serving's code and text.
    """
    signature = _signature(model, signature_name, "No signature was found with the name: {}")
    task = _task(signature, REGRESS, check_method_name)
    return _regression(*_computed(model, [task], examples), task)


def multi_inference(
    model: LoadedModel,
    tasks: Iterable[inference_pb2.InferenceTask],
    examples: input_pb2.Input,
    *,
    check_method_name: bool,
) -> list[inference_pb2.InferenceResult]:
    """Several signatures in one run of the graph; results in the order of the tasks.

    Raises:
        RequestError: With TensorFlow Serving's code and text.
    """
    prepared: dict[str, Task] = {}
    for task in tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in prepared:
            raise _invalid(f"Duplicate evaluation of signature: {name}")
        signature = _signature(model, name, "Requested signature not found in model graph: {}")
        if task.method_name not in _KINDS:
            raise RequestError(
                Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
            )
        prepared[name] = _task(signature, task.method_name, check_method_name)
    if len({task.input_name for task in prepared.values()}) > 1:
        raise _invalid("Input tensor must be the same for all Signatures.")
    num_examples, values = _computed(model, list(prepared.values()), examples)
    return [_result(num_examples, values, task) for task in prepared.values()]


def serialized_examples(examples: input_pb2.Input) -> list[bytes]:
    """The examples as bytes; a shared context stands before each, so that the example wins.

    Raises:
        RequestError: INVALID_ARGUMENT, there is no example.
    """
    context = b""
    kind = examples.WhichOneof("kind")
    if kind == "example_list_with_context":
        context = examples.example_list_with_context.context.SerializeToString()
    found = getattr(examples, kind).examples if kind else ()
    if not found:
        raise _invalid("Input is empty.")
    return [context + example.SerializeToString() for example in found]


def _signature(model: LoadedModel, name: str, words: str) -> meta_graph_pb2.SignatureDef:
    if name not in model.signatures:
        raise _invalid(words.format(name))
    return model.signatures[name]


def _task(signature: meta_graph_pb2.SignatureDef, method_name: str, check: bool) -> Task:
    kind = _KINDS[method_name]
    if check and signature.method_name != method_name:
        raise _invalid(
            f"Expected {kind} signature method_name to be {method_name}. "
            f"Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise _invalid("Expected one input Tensor.")
    if method_name == CLASSIFY and len(signature.outputs) not in (1, 2):
        raise _invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if method_name == REGRESS and len(signature.outputs) != 1:
        raise _invalid("Expected one output Tensor.")
    if _INPUTS not in signature.inputs:
        raise RequestError(
            Code.FAILED_PRECONDITION, f"No {kind} inputs found in SignatureDef: {signature}"
        )
    outputs = {
        alias: signature.outputs[alias].name
        for alias in _OUTPUTS[method_name]
        if alias in signature.outputs
    }
    if not outputs:
        raise RequestError(
            Code.FAILED_PRECONDITION,
            f"Expected {kind} signature outputs to contain at least one of "
            f"{' or '.join(map(repr, _OUTPUTS[method_name]))}. Signature was: {signature}",
        )
    return Task(method_name, signature.inputs[_INPUTS].name, outputs)


def _computed(
    model: LoadedModel, tasks: list[Task], examples: input_pb2.Input
) -> tuple[int, dict[str, np.ndarray[Any, Any]]]:
    """Number of examples, and the values of all tasks' outputs by tensor name."""
    if not tasks:
        raise _invalid("Inference request must have at least one task.")
    serialized = serialized_examples(examples)
    fetches = sorted({name for task in tasks for name in task.output_names.values()})
    feeds = {tasks[0].input_name: np.array(serialized, dtype=object)}
    values = model.run_tensors(feeds, fetches)
    return len(serialized), {n: np.asarray(v) for n, v in zip(fetches, values, strict=True)}


def _result(
    num_examples: int, values: dict[str, np.ndarray[Any, Any]], task: Task
) -> inference_pb2.InferenceResult:
    if task.method_name == CLASSIFY:
        found = _classification(num_examples, values, task)
        return inference_pb2.InferenceResult(classification_result=found)
    regression = _regression(num_examples, values, task)
    return inference_pb2.InferenceResult(regression_result=regression)


def _classification(
    num_examples: int, values: dict[str, np.ndarray[Any, Any]], task: Task
) -> classification_pb2.ClassificationResult:
    given = {alias: values[name] for alias, name in task.output_names.items()}
    for alias, array in given.items():
        _check_classification_output(alias, array, num_examples)
    widths = {array.shape[1] for array in given.values()}
    if len(widths) > 1:
        raise _invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{given['classes'].shape[1]} vs. {given['scores'].shape[1]}"
        )
    shape = (num_examples, *widths)
    labels = given.get("classes", np.full(shape, b"", dtype=object)).tolist()
    scores = given.get("scores", np.zeros(shape, np.float32)).tolist()
    result = classification_pb2.ClassificationResult()
    for row_labels, row_scores in zip(labels, scores, strict=True):
        classes = result.classifications.add().classes
        for label, score in zip(row_labels, row_scores, strict=True):
            classes.add(label=label.decode("utf-8", "replace"), score=score)
    return result


def _check_classification_output(
    alias: str, array: np.ndarray[Any, Any], num_examples: int
) -> None:
    if array.ndim != 2:
        raise _invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
    expected, name = (np.float32, "DT_FLOAT") if alias == "scores" else (object, "DT_STRING")
    if array.dtype != expected:
        raise _invalid(f"Expected {alias} Tensor of {name}. Got: {_dtype(array)}")
    if len(array) != num_examples:
        raise _invalid(f"Expected {alias} output batch size of {num_examples}. Got: {len(array)}")


def _regression(
    num_examples: int, values: dict[str, np.ndarray[Any, Any]], task: Task
) -> regression_pb2.RegressionResult:
    array = values[task.output_names["outputs"]]
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
        raise _invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(array)}"
        )
    if len(array) != num_examples:
        raise _invalid(
            f"Input batch size did not match output batch size: {num_examples} vs. {len(array)}"
        )
    if array.dtype != np.float32:
        raise _invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_dtype(array)}")
    result = regression_pb2.RegressionResult()
    for value in array.ravel().tolist():
        result.regressions.add(value=value)
    return result


def _shape(array: np.ndarray[Any, Any]) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _dtype(array: np.ndarray[Any, Any]) -> str:
    if array.dtype == object:
        return "DT_STRING"
    return types_pb2.DataType.Name(dtypes.as_dtype(array.dtype).as_datatype_enum)


def _invalid(message: str) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, message)
