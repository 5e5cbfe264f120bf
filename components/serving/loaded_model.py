"""One SavedModel in memory, run through a TF1 session callable.

Feeding tensors by name is what TensorFlow Serving does: no check of shapes against the
signature, an output filter prunes the graph, and models load that `tf.saved_model.load`
rejects. `_make_callable_from_options` is private API: the version is pinned, and tests hold it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.client import session as tf_session
from tensorflow.python.framework import dtypes, errors_impl, ops
from tensorflow.python.saved_model import loader_impl

from slimworks.components.serving import tensors
from slimworks.components.serving.request_errors import Code, RequestError

SERVE_TAG = "serve"
DEFAULT_SIGNATURE = "serving_default"
_MAX_CALLABLES = 64  # output filters come from clients: they must not fill the memory


class LoadedModel:
    """A SavedModel that answers.

    Args:
        path: Folder with saved_model.pb.

    Raises:
        OSError, tf.errors.OpError, RuntimeError, ...: It cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._session = tf_session.Session(graph=ops.Graph())
        try:
            loader = loader_impl.SavedModelLoader(str(path))
            meta_graph = loader.load(self._session, [SERVE_TAG])
        except BaseException:
            self._session.close()
            raise
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Callable[..., Any]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Frees the variables; no request may be running."""
        with self._lock:
            self._callables.clear()
        self._session.close()

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
        outputs = _filtered(signature, output_filter)
        feeds = {signature.inputs[a].name: tensors.to_array(given[a], a) for a in sorted(given)}
        fetches = sorted({info.name for info in outputs.values()})
        values = dict(zip(fetches, self._run(feeds, fetches), strict=True))
        return {alias: tensors.to_proto(values[info.name]) for alias, info in outputs.items()}

    def _signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        if name not in self.signatures:
            raise RequestError(
                Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        return self.signatures[name]

    def _run(self, feeds: Mapping[str, Any], fetches: Sequence[str]) -> Sequence[Any]:
        try:
            return self._callable(tuple(feeds), tuple(fetches))(*feeds.values())
        except errors_impl.OpError as error:
            raise RequestError(error.error_code, error.message) from error

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Callable[..., Any]:
        with self._lock:
            if (feeds, fetches) not in self._callables:
                if len(self._callables) >= _MAX_CALLABLES:
                    self._callables.clear()
                options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
                prepared = self._session._make_callable_from_options(options)
                self._callables[feeds, fetches] = prepared
            return self._callables[feeds, fetches]


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
                f"Expects input {alias} to be {_dtype_name(info.dtype)} but "
                f"{_dtype_name(given[alias].dtype)} is provided",
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


def _dtype_name(number: int) -> str:
    try:
        return dtypes.as_dtype(number).name
    except TypeError:
        return f"DT_{number}"
