"""One SavedModel in memory, asked by its signatures.

Feeding tensors by name is what TensorFlow Serving does: no check of shapes against the
signature, an output filter prunes the graph, and models load that `tf.saved_model.load`
rejects.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from slimworks.components.serving import tensors
from slimworks.components.serving.graph_session import GraphSession
from slimworks.components.serving.request_errors import Code, RequestError

if TYPE_CHECKING:
    from slimworks.components.serving.batching import Batcher

SERVE_TAG = "serve"
DEFAULT_SIGNATURE = "serving_default"


class LoadedModel:
    """A SavedModel that answers.

    Args:
        path: Folder with saved_model.pb.
        tags: Tags of the graph to load.
        session_config: Threads and memory of TensorFlow; None leaves them to it.
        batcher: Runs requests that arrive together as one; None runs each for itself.
        answer_in_content: Whether `predict` answers in `tensor_content`, not in typed fields.

    Raises:
        OSError, tf.errors.OpError, RuntimeError, ...: It cannot be loaded.
    """

    def __init__(
        self,
        path: Path,
        *,
        tags: Sequence[str] = (SERVE_TAG,),
        session_config: config_pb2.ConfigProto | None = None,
        batcher: Batcher | None = None,
        answer_in_content: bool = False,
    ) -> None:
        self.path = path
        self._batcher = batcher
        self._answer_in_content = answer_in_content
        self._timeout_seconds: float | None = None
        self._session = GraphSession(path, tags, session_config)
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = self._session.signatures

    def close(self) -> None:
        """Frees the variables; no request may be running."""
        self._session.close()

    def within(self, seconds: float | None) -> LoadedModel:
        """The same model, whose runs end with DEADLINE_EXCEEDED after this time; None: never."""
        limited = copy.copy(self)
        limited._timeout_seconds = seconds
        return limited

    def prepare(self, signature_name: str) -> None:
        """Does for one signature what its first request would wait for; computes nothing."""
        signature = self.signatures[signature_name]
        feeds = [signature.inputs[alias].name for alias in sorted(signature.inputs)]
        self._session.prepare(feeds, sorted({info.name for info in signature.outputs.values()}))

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, tensor_pb2.TensorProto],
        output_filter: Sequence[str] = (),
    ) -> dict[str, tensor_pb2.TensorProto]:
        """Runs one signature.

        Args:
            signature_name: Any signature of the model.
            inputs: Tensors by the signature's aliases.
            output_filter: Aliases to compute; empty means all.

        Raises:
            RequestError: With TensorFlow Serving's code and text.
        """
        signature = self._signature(signature_name)
        given = {alias: inputs[alias] for alias in inputs}
        given |= {alias: v for alias, v in signature.defaults.items() if alias not in given}
        _check_inputs(given, signature)
        arrays = {alias: tensors.to_array(given[alias], alias) for alias in sorted(given)}
        values = self.run(signature, arrays, output_filter)
        return {
            alias: tensors.to_proto(value, as_content=self._answer_in_content)
            for alias, value in values.items()
        }

    def run(
        self,
        signature: meta_graph_pb2.SignatureDef,
        arrays: Mapping[str, Any],
        output_filter: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Runs a signature on arrays that have its dtypes; arrays by alias, in and out.

        Raises:
            RequestError: The filter names what the signature has not, or an op fails.
        """
        outputs = _filtered(signature, output_filter)
        feeds = {signature.inputs[alias].name: array for alias, array in arrays.items()}
        fetches = sorted({info.name for info in outputs.values()})
        values = dict(zip(fetches, self.run_tensors(feeds, fetches), strict=True))
        return {alias: values[info.name] for alias, info in outputs.items()}

    def run_tensors(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> Sequence[Any]:
        """Computes tensors by name from others.

        Raises:
            RequestError: An op fails; code and text are TensorFlow's.
        """
        if self._batcher:
            return self._batcher.run(feeds, fetches, self._session.run, self._timeout_seconds)
        return self._session.run(feeds, fetches, self._timeout_seconds)

    def _signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        if name not in self.signatures:
            raise RequestError(
                Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        return self.signatures[name]


def _check_inputs(
    given: Mapping[str, tensor_pb2.TensorProto], signature: meta_graph_pb2.SignatureDef
) -> None:
    expected = signature.inputs
    extra, missing = set(given) - set(expected), set(expected) - set(given)
    if extra or missing:
        raise RequestError(
            Code.INVALID_ARGUMENT,
            f"input size does not match signature: {len(given)}!={len(expected)} "
            f"len({_braced(given)}) != len({_braced(expected)}). "
            f"Sent extra: {_braced(extra)}. Missing but required: {_braced(missing)}.",
        )
    for alias, info in expected.items():
        if given[alias].dtype != info.dtype:
            raise RequestError(
                Code.INVALID_ARGUMENT,
                f"Expects input {alias} to be {tensors.dtype_name(info.dtype)} but "
                f"{tensors.dtype_name(given[alias].dtype)} is provided",
            )


def _filtered(
    signature: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]
) -> dict[str, meta_graph_pb2.TensorInfo]:
    outputs: dict[str, meta_graph_pb2.TensorInfo] = {}
    for alias in output_filter or signature.outputs:
        if alias not in signature.outputs:
            raise RequestError(
                Code.INVALID_ARGUMENT,
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_braced(signature.outputs)}.",
            )
        if alias in outputs:
            raise RequestError(Code.INVALID_ARGUMENT, f"duplicate output tensor alias: {alias}")
        outputs[alias] = signature.outputs[alias]
    return outputs


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
