"""Loads a SavedModel as the flags say, warm-up included."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from slimworks.components.serving.metrics import LOAD_ATTEMPTS, WARMUP_LATENCY, Metrics

if TYPE_CHECKING:
    from tensorflow.core.protobuf import config_pb2

    from slimworks.components.serving.batching import Batcher
    from slimworks.components.serving.flags import ServerFlags
    from slimworks.components.serving.loaded_model import LoadedModel


class Loader:
    """Loads SavedModels.

    Args:
        flags: How.
        metrics: Where loads and warm-ups are counted.

    Raises:
        ConfigError: The file of batching parameters is wrong.
    """

    def __init__(self, flags: ServerFlags, metrics: Metrics) -> None:
        self._flags = flags
        self._metrics = metrics
        if flags.enable_batching:
            from slimworks.components.serving.batching import read_parameters

            self._batching = read_parameters(flags.batching_parameters_file)
            self._slots = threading.Semaphore(self._batching.num_slots)

    def __call__(self, path: Path) -> LoadedModel:
        """Loads a SavedModel and runs its warm-up requests; what fails half-way is freed.

        Raises:
            OSError, tf.errors.OpError, RuntimeError, ...: It cannot be loaded.
            RequestError: It refuses one of its warm-up requests.
        """
        try:
            model = self._loaded(path)
        except BaseException:
            self._metrics.count(LOAD_ATTEMPTS, model_path=str(path), status="fail")
            raise
        self._metrics.count(LOAD_ATTEMPTS, model_path=str(path), status="success")
        return model

    def _loaded(self, path: Path) -> LoadedModel:
        from slimworks.components.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel
        from slimworks.components.serving.warmup import warm_up

        flags = self._flags
        model = LoadedModel(
            path,
            tags=[tag.strip() for tag in flags.saved_model_tags.split(",")],
            session_config=_session_config(flags),
            batcher=self._batcher(path),
            answer_in_content=flags.enable_serialization_as_tensor_content,
        )
        try:
            if flags.enable_model_warmup:
                with self._metrics.timed(WARMUP_LATENCY, model_path=str(path), status="success"):
                    warm_up(model, num_iterations=flags.num_request_iterations_for_warmup or 1)
                    if DEFAULT_SIGNATURE in model.signatures:
                        model.prepare(DEFAULT_SIGNATURE)
        except BaseException:
            model.close()
            raise
        return model

    def _batcher(self, path: Path) -> Batcher | None:
        if not self._flags.enable_batching:
            return None
        from slimworks.components.serving import batching

        own = path / batching.PER_MODEL_FILE
        if self._flags.enable_per_model_batching_parameters and own.is_file():
            parameters = batching.read_parameters(str(own))
            return batching.Batcher(parameters, threading.Semaphore(parameters.num_slots))
        return batching.Batcher(self._batching, self._slots)


def _session_config(flags: ServerFlags) -> config_pb2.ConfigProto:
    from tensorflow.core.protobuf import config_pb2

    both = flags.tensorflow_session_parallelism
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=flags.tensorflow_intra_op_parallelism or both,
        inter_op_parallelism_threads=flags.tensorflow_inter_op_parallelism or both,
    )
    config.gpu_options.per_process_gpu_memory_fraction = flags.per_process_gpu_memory_fraction
    return config
