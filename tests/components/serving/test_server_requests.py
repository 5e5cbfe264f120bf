"""Codes and texts of a running server, asked with TensorFlow Serving's own stubs."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from serving_models import png
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def status(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request_for(inputs=None, *, name="colors", signature="", outputs=(), **spec):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    inputs = {"images": [png("red")]} if inputs is None else inputs
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(
            value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        )
    return request


def arithmetic(x=(1.0, 2.0), y=None, **rest):
    y = np.int64(7) if y is None else y
    return request_for({"x": np.float32(x), "y": y}, signature="arithmetic", **rest)


def refusal(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20)
    return caught.value.code(), caught.value.details()


def test_predict_answers_in_typed_fields_with_the_spec_that_was_used(prediction):
    response = prediction.Predict(request_for(), timeout=20)
    assert response.model_spec.name == "colors"
    assert response.model_spec.version.value == 3
    assert response.model_spec.signature_name == "serving_default"
    assert response.outputs["classes"].string_val[0] == b"red"
    assert response.outputs["class_index"].int64_val[0] == 0
    assert response.outputs["is_known"].bool_val == [True]
    probabilities = response.outputs["probabilities"]
    assert not probabilities.tensor_content
    assert [dim.size for dim in probabilities.tensor_shape.dim] == [1, 2]
    assert probabilities.float_val[0] == pytest.approx(0.9647, abs=1e-4)


def test_predict_agrees_with_tensorflow_itself(prediction, color_model):
    images = [png(color) for color in ("red", "green", "blue", "gray")]
    served = prediction.Predict(request_for({"images": images}), timeout=20)
    loaded = tf.saved_model.load(str(color_model)).signatures["serving_default"]
    for alias, expected in loaded(images=tf.constant(images)).items():
        np.testing.assert_array_equal(tf.make_ndarray(served.outputs[alias]), expected.numpy())


def test_every_dtype_survives_the_way(prediction):
    outputs = prediction.Predict(arithmetic(x=[1.5, -2.0]), timeout=20).outputs
    values = {alias: tf.make_ndarray(tensor) for alias, tensor in outputs.items()}
    assert values["double"].tolist() == [3.0, -4.0]
    assert values["count"] == 2
    assert values["count"].shape == ()
    assert values["y"] == 7
    assert values["truth"].tolist() == [True, False]
    assert values["half"].dtype == np.float16
    assert values["half"].tolist() == [1.5, -2.0]


def test_shapes_are_not_compared_with_the_signature(prediction):
    response = prediction.Predict(arithmetic(x=[[1.0], [2.0]]), timeout=20)
    assert tf.make_ndarray(response.outputs["double"]).shape == (2, 1)


def test_output_filter_selects_outputs(prediction):
    response = prediction.Predict(arithmetic(outputs=["double"]), timeout=20)
    assert list(response.outputs) == ["double"]


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (predict_pb2.PredictRequest(), INVALID, "Missing ModelSpec"),
        (request_for(name=""), INVALID, "ModelSpec has no name specified."),
        (request_for(name="no"), NOT_FOUND, "Servable not found for request: Latest(no)"),
        (
            request_for(version=9),
            NOT_FOUND,
            "Servable not found for request: Specific(colors, 9)",
        ),
        (request_for(label="best"), INVALID, "Unrecognized servable version label: best"),
        (
            request_for(signature="other"),
            grpc.StatusCode.FAILED_PRECONDITION,
            'Serving signature key "other" not found.',
        ),
        (
            request_for({}),
            INVALID,
            "input size does not match signature: 0!=1 len({}) != len({images}). "
            "Sent extra: {}. Missing but required: {images}.",
        ),
        (
            request_for({"image": [b""]}),
            INVALID,
            "input size does not match signature: 1!=1 len({image}) != len({images}). "
            "Sent extra: {image}. Missing but required: {images}.",
        ),
        (
            request_for({"images": np.float32([1])}),
            INVALID,
            "Expects input images to be string but float is provided",
        ),
        (
            request_for(outputs=["classes", "classes"]),
            INVALID,
            "duplicate output tensor alias: classes",
        ),
    ],
)
def test_predict_refuses_with_tensorflow_servings_words(prediction, request_, code, text):
    assert refusal(prediction.Predict, request_) == (code, text)


def test_unknown_output_is_named(prediction):
    code, text = refusal(prediction.Predict, request_for(outputs=["no"]))
    assert code == INVALID
    assert text.startswith("output tensor alias not found in signature: no")


def test_op_errors_keep_their_code_and_are_cut_at_1024_characters(prediction):
    code, text = refusal(prediction.Predict, request_for({"images": [b"no image"]}))
    assert code == INVALID
    assert "Unknown image file format" in text
    assert len(text) <= 1024


def test_malformed_tensors_are_refused(prediction):
    tensor = tf.make_tensor_proto(np.float32([1, 2]))
    tensor.tensor_content = b"123"
    code, text = refusal(
        prediction.Predict,
        request_for({"x": tensor, "y": np.int64(1)}, signature="arithmetic"),
    )
    assert (code, text[:25]) == (INVALID, "tensor parsing error: x: ")


def test_a_version_can_be_asked_for(prediction):
    assert prediction.Predict(request_for(version=3), timeout=20).model_spec.version.value == 3


def metadata_request(name="colors", fields=("signature_def",)):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    return request


def test_metadata_holds_the_signatures_as_saved(prediction):
    response = prediction.GetModelMetadata(metadata_request(), timeout=20)
    assert response.model_spec.version.value == 3
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    serving = signatures.signature_def["serving_default"]
    assert serving.method_name == "tensorflow/serving/predict"
    assert serving.inputs["images"].dtype == tf.string.as_datatype_enum
    assert set(serving.outputs) == {"classes", "probabilities", "class_index", "is_known"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ((), "GetModelMetadataRequest must specify at least one metadata_field"),
        (("other",), "Metadata field other is not supported"),
    ],
)
def test_metadata_field_must_be_signature_def(prediction, fields, text):
    request = metadata_request(fields=fields)
    assert refusal(prediction.GetModelMetadata, request) == (INVALID, text)


def status_request(name, version=None, label=None):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


@pytest.mark.parametrize("choice", [{}, {"version": 3}, {"label": "ignored"}])
def test_status_lists_versions(status, choice):
    response = status.GetModelStatus(status_request("colors", **choice), timeout=20)
    (version,) = response.model_version_status
    assert version.version == 3
    assert version.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert version.status.error_code == 0


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("no", None, "Could not find any versions of model no"),
        ("colors", 4, "Could not find version 4 of model colors"),
    ],
)
def test_status_of_what_is_not_there(status, name, version, text):
    assert refusal(status.GetModelStatus, status_request(name, version)) == (NOT_FOUND, text)
