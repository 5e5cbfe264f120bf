"""The calls that gRPC and REST share: from a request's message to the answer's."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from slimworks.components.serving import example_inference, request_log
from slimworks.components.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel
from slimworks.components.serving.metrics import RUNTIME_LATENCY, Metrics
from slimworks.components.serving.models import Models, checked_spec, used_spec
from slimworks.components.serving.request_errors import Code, RequestError
from slimworks.components.serving.request_log import RequestLogs

SIGNATURE_FIELD = "signature_def"

_Result = TypeVar("_Result")


class Api:
    """Answers requests; every method raises RequestError with TensorFlow Serving's words.

    Args:
        models: What is served.
        metrics: Where requests are counted.
        check_method_names: Whether Classify and Regress need a signature of their own method.
        request_logs: Where a sample of the requests goes; None: nowhere.
    """

    def __init__(
        self,
        models: Models,
        metrics: Metrics,
        *,
        check_method_names: bool = False,
        request_logs: RequestLogs | None = None,
    ) -> None:
        self.models = models
        self.metrics = metrics
        self.request_logs = request_logs or RequestLogs(metrics)
        self._check = check_method_names
        self._timeout_seconds: float | None = None

    def within(self, seconds: float | None) -> Api:
        """The same, for one request whose run may take so long at most; None: no limit."""
        limited = copy.copy(self)
        limited._timeout_seconds = seconds
        return limited

    def predict(self, request: Any, entrypoint: str = "GRPC") -> Any:
        """PredictRequest -> PredictResponse."""
        spec = checked_spec(request)
        name = spec.signature_name or DEFAULT_SIGNATURE
        counted = self.counted(spec.name, "Predict", entrypoint)
        with counted, self.acquired(spec) as (version, model):
            outputs = self.timed_run(
                spec.name, "Predict",
                lambda: model.predict(name, request.inputs, request.output_filter),
            )  # fmt: skip
        response = predict_pb2.PredictResponse(model_spec=used_spec(spec, version, name))
        for alias, tensor in outputs.items():
            response.outputs[alias].CopyFrom(tensor)
        self._log("predict_log", request, response, response.model_spec)
        return response

    def classify(self, request: Any, entrypoint: str = "GRPC") -> Any:
        """ClassificationRequest -> ClassificationResponse."""
        return self._with_examples(
            request, entrypoint, "Classify", "classify_log",
            example_inference.classify, classification_pb2.ClassificationResponse,
        )  # fmt: skip

    def regress(self, request: Any, entrypoint: str = "GRPC") -> Any:
        """RegressionRequest -> RegressionResponse."""
        return self._with_examples(
            request, entrypoint, "Regress", "regress_log",
            example_inference.regress, regression_pb2.RegressionResponse,
        )  # fmt: skip

    def multi_inference(self, request: Any) -> Any:
        """MultiInferenceRequest -> MultiInferenceResponse; the first task chooses the version."""
        spec = _shared_spec(request.tasks)
        response = inference_pb2.MultiInferenceResponse()
        api = "MultiInference"
        with self.counted(spec.name, api, "GRPC"), self.acquired(spec) as (version, model):
            response.results.extend(
                self.timed_run(
                    spec.name, api,
                    lambda: example_inference.multi_inference(
                        model, request.tasks, request.input, check_method_name=self._check
                    ),
                )
            )  # fmt: skip
        for task, result in zip(request.tasks, response.results, strict=True):
            result.model_spec.CopyFrom(used_spec(spec, version, task.model_spec.signature_name))
        self._log("multi_inference_log", request, response, used_spec(spec, version))
        return response

    def metadata(self, request: Any) -> Any:
        """GetModelMetadataRequest -> GetModelMetadataResponse: the signatures as saved."""
        spec = checked_spec(request)
        _check_metadata_fields(request.metadata_field)
        with self.acquired(spec) as (version, model):
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=model.signatures)
        response = get_model_metadata_pb2.GetModelMetadataResponse(
            model_spec=used_spec(spec, version)
        )
        response.metadata[SIGNATURE_FIELD].Pack(signatures)
        return response

    def status(self, request: Any) -> Any:
        """GetModelStatusRequest -> GetModelStatusResponse: one or all versions, no labels."""
        reports = self.models.versions(request).reports()
        spec = request.model_spec
        if spec.HasField("version"):
            reports = [report for report in reports if report.version == spec.version.value]
            if not reports:
                raise RequestError(
                    Code.NOT_FOUND,
                    f"Could not find version {spec.version.value} of model {spec.name}",
                )
        if not reports:
            raise RequestError(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for report in reports:
            status = response.model_version_status.add(version=report.version, state=report.state)
            status.status.error_code = report.error_code
            status.status.error_message = report.error_message
        return response

    @contextlib.contextmanager
    def acquired(self, spec: model_pb2.ModelSpec) -> Iterator[tuple[int, LoadedModel]]:
        """Holds the version that the spec names."""
        with self.models.acquired(spec) as (version, model):
            yield version, model.within(self._timeout_seconds)

    def counted(
        self, model_name: str, api: str, entrypoint: str
    ) -> contextlib.AbstractContextManager[None]:
        """Counts a request of a served model; others would let clients fill the memory."""
        known = model_name if model_name in self.models.all() else ""
        return self.metrics.request(known, api, entrypoint)

    def timed_run(self, model_name: str, api: str, run: Callable[[], _Result]) -> _Result:
        """Runs the graph and observes how long it took."""
        with self.metrics.timed(RUNTIME_LATENCY, model_name=model_name, API=api, runtime="TF1"):
            return run()

    def log_run(
        self,
        spec: model_pb2.ModelSpec,
        used: model_pb2.ModelSpec,
        arrays: Mapping[str, Any],
        outputs: Mapping[str, Any],
        num_bytes: int,
    ) -> None:
        """Logs a run on arrays, as REST asks for it, where it is one of the sample.

        Args:
            spec: What was asked.
            used: What answered.
            arrays: Inputs by alias.
            outputs: Likewise.
            num_bytes: Of the request.
        """
        log = self.request_logs.sampled(spec.name)
        if log is not None:
            request_log.offer_arrays(log, spec, used, arrays, outputs, num_bytes)

    def _with_examples(
        self,
        request: Any,
        entrypoint: str,
        api: str,
        log_kind: str,
        run: Any,
        response_class: Any,
    ) -> Any:
        spec = checked_spec(request)
        name = spec.signature_name or DEFAULT_SIGNATURE
        with self.counted(spec.name, api, entrypoint), self.acquired(spec) as (version, model):
            result = self.timed_run(
                spec.name, api,
                lambda: run(model, name, request.input, check_method_name=self._check),
            )  # fmt: skip
        response = response_class(result=result, model_spec=used_spec(spec, version, name))
        self._log(log_kind, request, response, response.model_spec)
        return response

    def _log(self, kind: str, request: Any, response: Any, spec: model_pb2.ModelSpec) -> None:
        log = self.request_logs.sampled(spec.name)
        if log is not None:
            request_log.offer(log, kind, request, response, spec)


def _shared_spec(tasks: Any) -> model_pb2.ModelSpec:
    """The first task's spec; all must ask the same model."""
    if not tasks:
        raise RequestError(
            Code.INVALID_ARGUMENT, "MultiInferenceRequest must have at least one task."
        )
    for task in tasks:
        if not task.model_spec.name:
            raise RequestError(Code.INVALID_ARGUMENT, "Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise RequestError(
                Code.INVALID_ARGUMENT,
                "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            )
    return tasks[0].model_spec


def _check_metadata_fields(fields: Any) -> None:
    if not fields:
        raise RequestError(
            Code.INVALID_ARGUMENT,
            "GetModelMetadataRequest must specify at least one metadata_field",
        )
    for field in fields:
        if field != SIGNATURE_FIELD:
            raise RequestError(Code.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
