"""gRPC of a running server, asked with tensorflow-serving-api's stubs."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from serving_models import ECHOED, png
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from slimworks.components.serving.gap_messages import ReflectionRequest, ReflectionResponse

INVALID = grpc.StatusCode.INVALID_ARGUMENT
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def refusal(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20)
    return caught.value.code(), caught.value.details()


def predict_request(signature, inputs, model="types", outputs=(), **spec):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(value)
    return request


def with_examples(request, *values, signature="classify", context=None):
    request.model_spec.name = "examples"
    request.model_spec.signature_name = signature
    fill(request.input, *values, context=context)
    return request


def fill(examples, *values, context=None):
    listed = examples.example_list
    if context is not None:
        listed = examples.example_list_with_context
        listed.context.features.feature["x"].float_list.value.append(context)
    for value in values:
        example = listed.examples.add()
        if value is not None:
            example.features.feature["x"].float_list.value.append(value)


@pytest.mark.parametrize("dtype", ECHOED)
@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0, 3)], ids=str)
def test_every_dtype_and_rank_comes_back(served, dtype, shape):
    count = int(np.prod(shape))
    if dtype == "string":
        array = np.array([b"\x00\xff%d" % n for n in range(count)], dtype=object).reshape(shape)
    else:
        array = np.arange(count).reshape(shape).astype(getattr(tf, dtype).as_numpy_dtype)
    tensor = tf.make_tensor_proto(array, dtype=getattr(tf, dtype), shape=shape)
    answer = served.prediction.Predict(predict_request(f"echo_{dtype}", {"x": tensor}), timeout=20)
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["y"]), array)


def test_a_signature_without_inputs_answers(served):
    answer = served.prediction.Predict(predict_request("nothing", {}), timeout=20)
    assert tf.make_ndarray(answer.outputs["y"]).tolist() == [1, 2]


def test_several_inputs_and_a_filter(served):
    inputs = {"x": tf.make_tensor_proto([[1.0, 2.0]]), "name": tf.make_tensor_proto([b"you"])}
    answer = served.prediction.Predict(predict_request("two", inputs), timeout=20)
    assert set(answer.outputs) == {"sum", "greeting", "raw_bytes"}
    filtered = predict_request("two", inputs, outputs=["greeting"])
    answer = served.prediction.Predict(filtered, timeout=20)
    assert list(answer.outputs) == ["greeting"]
    assert answer.outputs["greeting"].string_val == [b"hello you"]


def test_inputs_with_a_default_may_be_left_out(served):
    inputs = {"x": tf.make_tensor_proto([[1.0, 2.0]])}
    answer = served.prediction.Predict(predict_request("defaulted", inputs), timeout=20)
    assert answer.outputs["greeting"].string_val == [b"hello you"]


@pytest.mark.parametrize(
    ("choice", "version"),
    [({}, 5), ({"version": 3}, 3), ({"label": "stable"}, 3), ({"label": "canary"}, 5)],
)
def test_versions_and_labels(served, choice, version):
    inputs = {"images": tf.make_tensor_proto([png("red")])}
    request = predict_request("serving_default", inputs, "colors", **choice)
    spec = served.prediction.Predict(request, timeout=20).model_spec
    assert spec.version.value == version
    assert spec.WhichOneof("version_choice") == "version", "a label is never answered"


def test_a_version_that_the_policy_leaves_out_is_not_loaded(served):
    request = predict_request("serving_default", {}, "colors", version=6)
    assert refusal(served.prediction.Predict, request) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Specific(colors, 6)",
    )


def test_signatures_for_examples_may_predict(served):
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(1.0)
    inputs = {"inputs": tf.make_tensor_proto([example.SerializeToString()])}
    answer = served.prediction.Predict(predict_request("regress", inputs, "examples"), timeout=20)
    assert tf.make_ndarray(answer.outputs["outputs"]).tolist() == [2.0]


def test_classify(served):
    request = with_examples(classification_pb2.ClassificationRequest(), 0.5, 0.25)
    response = served.prediction.Classify(request, timeout=20)
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "classify"
    rows = [[(c.label, c.score) for c in row.classes] for row in response.result.classifications]
    assert rows == [[("c", 0.5), ("c", 1.0)], [("c", 0.25), ("c", 0.5)]]


def test_regress(served):
    for signature in ("regress", "column"):
        request = with_examples(regression_pb2.RegressionRequest(), 1.5, 2.5, signature=signature)
        response = served.prediction.Regress(request, timeout=20)
        assert [r.value for r in response.result.regressions] == [2.5, 3.5]


def test_a_context_is_shared_and_an_example_wins(served):
    request = with_examples(
        regression_pb2.RegressionRequest(), None, 5.0, signature="regress", context=1.5
    )
    response = served.prediction.Regress(request, timeout=20)
    assert [r.value for r in response.result.regressions] == [2.5, 6.0]


@pytest.mark.parametrize(
    ("signature", "values", "message"),
    [
        ("classify", (), "Input is empty."),
        ("no", (1.0,), "No signature was found with the name: no"),
        ("flat", (1.0,), "Expected Tensor shape: [batch_size num_classes] but got [1]"),
    ],
)
def test_classify_refuses(served, signature, values, message):
    request = with_examples(
        classification_pb2.ClassificationRequest(), *values, signature=signature
    )
    assert refusal(served.prediction.Classify, request) == (INVALID, message)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("matrix", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
                   "but got [1,2]"),
        ("half", "Expected output Tensor of DT_FLOAT.  Got: DT_HALF"),
        ("no", "No signature was found with the name: no"),
    ],
)  # fmt: skip
def test_regress_refuses(served, signature, message):
    request = with_examples(regression_pb2.RegressionRequest(), 1.0, signature=signature)
    code, text = refusal(served.prediction.Regress, request)
    assert code == INVALID
    assert text == message


def test_a_predict_signature_of_several_inputs_cannot_classify(served):
    request = with_examples(classification_pb2.ClassificationRequest(), 1.0, signature="two")
    request.model_spec.name = "types"
    assert refusal(served.prediction.Classify, request) == (INVALID, "Expected one input Tensor.")


def multi_request(*tasks):
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name = "examples"
        task.model_spec.signature_name = signature
    fill(request.input, 1.5)
    return request


def test_multi_inference_answers_in_the_order_of_the_tasks(served):
    request = multi_request(("regress", REGRESS), ("classify", CLASSIFY))
    first, second = served.prediction.MultiInference(request, timeout=20).results
    assert [r.value for r in first.regression_result.regressions] == [2.5]
    assert second.classification_result.classifications[0].classes[1].score == 3.0
    assert [first.model_spec.version.value, second.model_spec.signature_name] == [1, "classify"]


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([("regress", REGRESS)] * 2, INVALID, "Duplicate evaluation of signature: regress"),
        ([("no", REGRESS)], INVALID, "Requested signature not found in model graph: no"),
        ([("regress", "tensorflow/serving/predict")], grpc.StatusCode.UNIMPLEMENTED,
         "Unsupported signature method_name: tensorflow/serving/predict"),
        ([], INVALID, "MultiInferenceRequest must have at least one task."),
    ],
)  # fmt: skip
def test_multi_inference_refuses(served, tasks, code, message):
    assert refusal(served.prediction.MultiInference, multi_request(*tasks)) == (code, message)


def test_multi_inference_asks_one_model(served):
    request = multi_request(("regress", REGRESS), ("classify", CLASSIFY))
    request.tasks[1].model_spec.name = "types"
    assert refusal(served.prediction.MultiInference, request) == (
        INVALID,
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    )


def test_status_and_metadata(served):
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "colors"
    listed = served.models.GetModelStatus(status, timeout=20).model_version_status
    assert [(entry.version, entry.state) for entry in listed] == [(5, 30), (3, 30)]
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "types"
    answer = served.prediction.GetModelMetadata(metadata, timeout=20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert f"echo_{ECHOED[0]}" in signatures.signature_def


def test_too_large_a_message_names_the_limit(served):
    tensor = tf.make_tensor_proto(np.zeros(300_000, np.float32))
    code, message = refusal(
        served.prediction.Predict, predict_request("echo_float32", {"x": tensor})
    )
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in message
    assert "1000000" in message


@pytest.mark.parametrize("service", ["", "ModelService", "PredictionService"])
def test_health_is_serving(served, service):
    ask = served.channel.unary_unary("/grpc.health.v1.Health/Check")
    name = service.encode()
    assert ask(bytes([10, len(name)]) + name if name else b"", timeout=20) == b"\x08\x01"


def test_health_of_another_service_is_not_found(served):
    ask = served.channel.unary_unary("/grpc.health.v1.Health/Check")
    with pytest.raises(grpc.RpcError) as caught:
        ask(b"\x0a\x01x", timeout=20)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_bytes_that_are_no_message_are_refused(served):
    ask = served.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError) as caught:
        ask(b"\xff\xff\xff\xff", timeout=20)
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert served.curl("/v1/models/types")[0] == 200, "and the server goes on"


def test_reflection_lists_the_services(served):
    for version in ("v1", "v1alpha"):
        ask = served.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=ReflectionRequest.SerializeToString,
            response_deserializer=ReflectionResponse.FromString,
        )
        (response,) = ask(iter([ReflectionRequest(list_services="*")]), timeout=20)
        names = {entry.name for entry in response.list_services_response.service}
        assert names >= {"tensorflow.serving.PredictionService", "grpc.health.v1.Health"}
