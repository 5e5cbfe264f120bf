"""A SavedModel's graph in a session, loaded as TensorFlow Serving's C++ loader does it.

The graph goes straight into the runtime. `tf.compat.v1.saved_model.load` first makes a Python
object of each node, under the interpreter's lock: running requests would stand still. What is used
of TensorFlow here is private API: the version is pinned, and tests hold it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.client import pywrap_tf_session as runtime
from tensorflow.python.client import session as tf_session
from tensorflow.python.framework import errors_impl, ops
from tensorflow.python.saved_model import loader_impl

from slimworks.components.serving.request_errors import Code, RequestError

_INTERNAL = "__saved_model_"  # signatures that name ops, not tensors
_INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_VARIABLE_OPS = frozenset(("VarHandleOp", "VariableV2", "Variable"))
# Clients choose outputs, and TensorFlow keeps a pruned graph of each choice until the session ends.
_MAX_KINDS_OF_RUNS = 64

Arrays = Mapping[str, Any]


class GraphSession:
    """The graph of a SavedModel with its variables.

    Args:
        path: Folder with saved_model.pb.
        tags: Tags of the graph to load.
        config: Threads and memory of TensorFlow; None leaves them to it.

    Attributes:
        signatures: By name, as they were saved.

    Raises:
        OSError, tf.errors.OpError, RuntimeError, ...: It cannot be loaded.
        RequestError: NOT_FOUND, the variables are not there.
    """

    def __init__(
        self, path: Path, tags: Iterable[str], config: config_pb2.ConfigProto | None
    ) -> None:
        loader = loader_impl.SavedModelLoader(str(path))
        meta_graph = loader.get_meta_graph_def_from_tags(list(tags))
        _check_variables_are_there(path, meta_graph)
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        self._kinds_of_runs: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
        self._lock = threading.Lock()
        graph = ops.Graph()
        self._tensors = _imported(graph, meta_graph)
        self._session = tf_session.Session(graph=graph, config=config)
        try:
            runtime.ExtendSession(self._session._session)
            self._restore(path, meta_graph)
            self._initialize(path, meta_graph)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Frees the variables; no run may be under way."""
        self._session.close()

    def prepare(self, feeds: Iterable[str], fetches: Sequence[str]) -> None:
        """Prunes and optimises the graph for this kind of run, which is most of a first one's time.

        Args:
            feeds: Names of the tensors that runs will feed.
            fetches: Names of the tensors that runs will compute.
        """
        # A first run optimises, then compares dtypes, then computes: this one ends at the second.
        wrong = {name: np.zeros((), np.complex128) for name in feeds}
        if wrong:
            with contextlib.suppress(RequestError):
                self.run(wrong, fetches)

    def run(
        self, feeds: Arrays, fetches: Sequence[str], timeout_seconds: float | None = None
    ) -> list[Any]:
        """Computes tensors by name from others.

        Args:
            feeds: Arrays by tensor name.
            fetches: Names of the tensors to compute.
            timeout_seconds: After this, no further op is started; None waits for ever.

        Raises:
            RequestError: An op fails, or the time is over; code and text are TensorFlow's.
        """
        if not self._is_known_kind(tuple(feeds), tuple(fetches)) and len(fetches) > 1:
            return [self.run(feeds, [name], timeout_seconds)[0] for name in fetches]
        fed = {self._tensor(name): array for name, array in feeds.items()}
        fetched = [self._tensor(name) for name in fetches]
        options = _run_options(timeout_seconds)
        try:
            values: list[Any] = runtime.TF_SessionRun_wrapper(
                self._session._session, options, fed, fetched, [], None
            )
        except errors_impl.OpError as error:
            raise RequestError(error.error_code, error.message) from error
        finally:
            if options is not None:
                runtime.TF_DeleteBuffer(options)
        return values

    def _is_known_kind(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> bool:
        """Whether this kind of run is one of those that are kept; the first ones are."""
        kind = (feeds, fetches)
        with self._lock:
            if kind not in self._kinds_of_runs and len(self._kinds_of_runs) < _MAX_KINDS_OF_RUNS:
                self._kinds_of_runs.add(kind)
            return kind in self._kinds_of_runs

    def _tensor(self, name: str) -> Any:
        if name not in self._tensors:
            raise RequestError(Code.NOT_FOUND, f"Tensor {name!r} was not found in the graph.")
        return self._tensors[name]

    def _restore(self, path: Path, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
        saver = meta_graph.saver_def
        if saver.restore_op_name and _variables_index(path).exists():
            prefix = str(_variables_index(path).with_suffix(""))
            feeds = {saver.filename_tensor_name: prefix} | _assets(path, meta_graph)
            self._run_once(feeds, saver.restore_op_name)

    def _initialize(self, path: Path, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
        target = _init_op(meta_graph)
        if target:
            self._run_once(_assets(path, meta_graph), target)

    def _run_once(self, feeds: Mapping[str, str], target: str) -> None:
        options = config_pb2.CallableOptions(feed=feeds, target=[target])
        texts = [np.array(text.encode(), dtype=object) for text in feeds.values()]
        self._session._make_callable_from_options(options)(*texts)


def _imported(graph: ops.Graph, meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, Any]:
    """Puts the nodes into the graph; returns the runtime's handles of the signatures' tensors."""
    nodes = {node.name for node in meta_graph.graph_def.node}
    infos = [
        info
        for key, signature in meta_graph.signature_def.items()
        if not key.startswith(_INTERNAL)
        for info in (*signature.inputs.values(), *signature.outputs.values())
    ]
    names = sorted({info.name for info in infos if info.name.partition(":")[0] in nodes})
    options = runtime.TF_NewImportGraphDefOptions()
    rest = _import_functions(graph, meta_graph.graph_def)
    content = runtime.TF_NewBufferFromString(rest.SerializeToString())
    try:
        for name in names:
            node, _, index = name.partition(":")
            runtime.TF_ImportGraphDefOptionsAddReturnOutput(options, node, int(index or 0))
        with graph._c_graph.get() as c_graph:
            results = runtime.TF_GraphImportGraphDefWithResults(c_graph, content, options)
        handles = runtime.TF_ImportGraphDefResultsReturnOutputs(results)
        runtime.TF_DeleteImportGraphDefResults(results)
    finally:
        runtime.TF_DeleteBuffer(content)
        runtime.TF_DeleteImportGraphDefOptions(options)
    return dict(zip(names, handles, strict=True))


def _import_functions(graph: ops.Graph, graph_def: graph_pb2.GraphDef) -> graph_pb2.GraphDef:
    """Imports the functions one by one; returns what is left.

    Each call holds the interpreter's lock: all at once would keep requests waiting for longer.
    """
    if graph_def.library.gradient:  # TF1's own; they go with their functions
        return graph_def
    for definition in graph_def.library.function:
        function = runtime.TF_FunctionImportFunctionDef(definition.SerializeToString())
        try:
            with graph._c_graph.get() as c_graph:
                runtime.TF_GraphCopyFunction(c_graph, function, None)
        finally:
            runtime.TF_DeleteFunction(function)
    return graph_pb2.GraphDef(node=graph_def.node, versions=graph_def.versions)


def _check_variables_are_there(path: Path, meta_graph: meta_graph_pb2.MetaGraphDef) -> None:
    """TensorFlow Serving loads a half-copied version, which then fails at every request."""
    has_variables = any(node.op in _VARIABLE_OPS for node in meta_graph.graph_def.node)
    restores = bool(meta_graph.saver_def.restore_op_name)
    if has_variables and restores and not _variables_index(path).exists():
        raise RequestError(
            Code.NOT_FOUND, f"{_variables_index(path)} is missing: the version is half-copied."
        )


def _variables_index(path: Path) -> Path:
    return path / "variables" / "variables.index"


def _assets(path: Path, meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, str]:
    """Path of each asset by the name of the tensor that wants it."""
    found = loader_impl.get_asset_tensors(str(path), meta_graph)
    return {name: asset.decode() for name, asset in found.items()}


def _init_op(meta_graph: meta_graph_pb2.MetaGraphDef) -> str:
    """Name of the op that fills tables and the like; empty where there is none."""
    if _INIT_SIGNATURE in meta_graph.signature_def:
        outputs = meta_graph.signature_def[_INIT_SIGNATURE].outputs
        return str(outputs[_INIT_SIGNATURE].name.partition(":")[0])
    for key in _INIT_COLLECTIONS:
        names = (
            meta_graph.collection_def[key].node_list.value
            if key in meta_graph.collection_def
            else ()
        )
        if len(names) > 1:
            raise RequestError(Code.FAILED_PRECONDITION, f"Expected exactly one main op in {key}")
        if names:
            return str(names[0])
    return ""


def _run_options(timeout_seconds: float | None) -> Any:
    """Options of a run as the runtime takes them; None for those without a time limit."""
    if timeout_seconds is None:
        return None
    options = config_pb2.RunOptions(timeout_in_ms=max(1, int(timeout_seconds * 1e3)))
    return runtime.TF_NewBufferFromString(options.SerializeToString())
