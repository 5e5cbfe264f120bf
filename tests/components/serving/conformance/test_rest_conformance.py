"""REST v1 of a running server, asked with curl."""

from __future__ import annotations

import base64
import gzip
import http.client
import json

import pytest
from serving_models import png

RED = {"b64": base64.b64encode(png("red")).decode()}
BLUE = {"b64": base64.b64encode(png("blue")).decode()}
PREDICT = "/v1/models/types:predict"
COLORS = "/v1/models/colors:predict"


def test_rows_of_one_input_are_a_list(served):
    answer = served.predict("serving_default", {"instances": [RED, BLUE]}, "colors/labels/stable")
    assert [row["classes"][0] for row in answer["predictions"]] == ["red", "blue"]
    assert set(answer["predictions"][0]) == {
        "classes", "probabilities", "class_index", "is_known",
    }  # fmt: skip


def test_columns_keep_their_shape(served):
    answer = served.predict("serving_default", {"inputs": [RED]}, "colors/versions/3")
    assert answer["outputs"]["classes"] == [["red", "green"]]
    assert answer["outputs"]["is_known"] == [True]


def test_one_output_stands_alone(served):
    assert served.predict("echo_int32", {"instances": [[1, 2], [3, 4]]}) == {
        "predictions": [[1, 2], [3, 4]]
    }
    assert served.predict("echo_int32", {"inputs": [[1, 2]]}) == {"outputs": [[1, 2]]}


def test_rows_of_several_inputs_are_objects(served):
    rows = [{"x": [1, 2], "name": "you"}, {"x": [3.5, 4], "name": {"b64": "QUJD"}}]
    assert served.predict("two", {"instances": rows})["predictions"] == [
        {"sum": 3.0, "greeting": "hello you", "raw_bytes": {"b64": "eW91"}},
        {"sum": 7.5, "greeting": "hello ABC", "raw_bytes": {"b64": "QUJD"}},
    ]


def test_columns_of_several_inputs_are_an_object(served):
    inputs = {"x": [[1, 2]], "name": ["you"]}
    assert served.predict("two", {"inputs": inputs})["outputs"]["sum"] == [3.0]


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"x": [1, 2]}]}, {"instances": [[1, 2]]}, {"inputs": {"x": [[1, 2]]}},
        {"inputs": [[1, 2]]}, {"instances": [{"x": [1, 2], "name": "you"}]},
    ],
)  # fmt: skip
def test_inputs_with_a_default_may_be_left_out(served, body):
    answer = served.predict("defaulted", body)
    assert "hello you" in json.dumps(answer)
    assert "3.0" in json.dumps(answer)


def test_scalars_have_no_list(served):
    assert served.predict("scalar", {"inputs": 1.5}) == {"outputs": 3.0}
    assert served.predict("scalar", {"inputs": {"x": 2}}) == {"outputs": 4.0}


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float32", [0.2, -1.0, 3.0]), ("float64", [0.1, 1e300, -2.0]), ("float16", [0.5, 2.0]),
        ("int8", [-128, 127]), ("int16", [-32768, 32767]), ("int32", [-(2**31), 2**31 - 1]),
        ("int64", [-(2**63), 2**63 - 1]), ("uint8", [0, 255]), ("uint16", [0, 65535]),
        ("uint32", [0, 2**32 - 1]), ("uint64", [0, 2**64 - 1]), ("bool", [True, False]),
        ("string", ["a", "ü", ""]), ("float32", [[[1.0]], [[2.0]]]), ("int32", []),
    ],
)  # fmt: skip
def test_values_come_back(served, dtype, values):
    assert served.predict(f"echo_{dtype}", {"inputs": values}) == {"outputs": values}


def test_float32_is_written_in_its_shortest_form(served):
    _, text = served.curl(PREDICT, b'{"instances": [0.2, 3]}', "-i")
    assert text.splitlines()[-1] == '{"predictions":[0.2,3.0]}'


def test_not_a_number_and_infinities_go_both_ways(served):
    status, answer = served.curl(PREDICT, b'{"instances": [NaN, Infinity, -Infinity, 0.2]}')
    assert status == 200
    assert repr(answer["predictions"]) == "[nan, inf, -inf, 0.2]"


def test_bytes_after_the_object_do_not_count(served):
    status, answer = served.curl(PREDICT, b'{"instances": [1]} and more')
    assert (status, answer) == (200, {"predictions": [1.0]})


def test_gzip_bodies_are_read(served):
    body = gzip.compress(b'{"instances": [1, 2]}')
    status, answer = served.curl(PREDICT, body, "-H", "Content-Encoding: gzip")
    assert (status, answer) == (200, {"predictions": [1.0, 2.0]})


def test_broken_gzip_is_refused(served):
    status, answer = served.curl(PREDICT, b"no gzip", "-H", "Content-Encoding: gzip")
    assert status == 400
    assert answer["error"].startswith("The body is no gzip data")


def test_answers_are_json_by_their_header(served):
    _, text = served.curl(PREDICT, b'{"instances": [1]}', "-i")
    assert "HTTP/1.1 200 OK" in text
    assert "Content-Type: application/json" in text


def test_paths_match_without_case(served):
    assert served.curl("/V1/Models/types:PREDICT", {"instances": [1]})[0] == 200
    assert served.curl("/v1/MODELS/types")[0] == 200


@pytest.mark.parametrize(
    ("choice", "winner"),
    [("", "blue"), ("/versions/3", "red"), ("/versions/5", "blue"), ("/labels/stable", "red"),
     ("/labels/canary", "blue")],
)  # fmt: skip
def test_versions_and_labels(served, choice, winner):
    answer = served.predict("serving_default", {"instances": [RED]}, f"colors{choice}")
    assert answer["predictions"][0]["classes"][0] == winner


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/none:predict", 404, "Servable not found for request: Latest(none)"),
        ("/v1/models/types/versions/9:predict", 404,
         "Servable not found for request: Specific(types, 9)"),
        ("/v1/models/types/labels/no:predict", 400, "Unrecognized servable version label: no"),
        ("/v1/models/types/versions/99999999999999999999:predict", 400,
         "Failed to convert version: 99999999999999999999 to numeric."),
        ("/v1/models/types:explain", 400, "Malformed request: POST /v1/models/types:explain"),
        ("/v1/models/types", 400, "Malformed request: POST /v1/models/types"),
        ("/v1/anything", 400, "Malformed request: POST /v1/anything"),
    ],
)  # fmt: skip
def test_what_is_not_there(served, path, status, message):
    assert served.curl(path, {"instances": [1]}) == (status, {"error": message})


def test_outside_of_v1_is_404(served):
    assert served.curl("/")[0] == 404
    assert served.curl("/v2/models/types")[0] == 404


def test_get_of_predict_is_malformed(served):
    assert served.curl(PREDICT) == (
        400, {"error": "Malformed request: GET /v1/models/types:predict"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: "),
        (b"\xff\xfe", "JSON Parse error: "),
        (b"[1]", "Is not object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"instances": [1], "inputs": [1]}', "expecting only one of 'inputs' or 'instances'"),
        (b'{"instances": 1}', "Excepting 'instances' to be an list/array"),
        (b'{"instances": []}', "No values in 'instances' array"),
        (b'{"instances": [1], "signature_name": 1}', "'signature_name' key must be a string"),
        (b'{"instances": [1], "signature_name": "no"}',
         'Serving signature name: "no" not found in signature def'),
        (b'{"inputs": {}, "signature_name": "nothing"}', "Failed to get input map for signature"),
        (b'{"instances": ["a"]}', 'JSON Value: "a" Type: String is not of expected type: float'),
        (b'{"instances": [true]}', "JSON Value: true Type: True is not of expected type: float"),
        (b'{"instances": [null]}', "JSON Value: null Type: Null is not of expected type: float"),
        (b'{"instances": [16777217]}', "to float without loss of precision."),
        (b'{"instances": [1e39]}', "to float without loss of precision."),
        (b'{"instances": [[1], [2, 3]]}', "Encountered list at unexpected size: 2"),
        (b'{"instances": [[1], 2]}', "found at incorrect level"),
        (b'{"instances": [1, [2]]}', "Encountered list at unexpected level"),
        (b'{"instances": [{"y": 1}]}', "does not have named input: y"),
        (b'{"instances": [{"x": 1}, 2]}', "Expecting object but got list at item 1"),
        (b'{"instances": [1, {"x": 2}]}', "Expecting value/list but got object at item 1"),
        (b'{"inputs": {"y": 1}}', "Missing named input: x in 'inputs' object."),
        (b'{"instances": [1.5], "signature_name": "echo_int32"}',
         "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        (b'{"instances": [2147483648], "signature_name": "echo_int32"}',
         "is not of expected type: int32"),
        (b'{"instances": [true], "signature_name": "echo_int64"}',
         "is not of expected type: int64"),
        (b'{"instances": [1], "signature_name": "echo_bool"}', "is not of expected type: bool"),
        (b'{"instances": [1], "signature_name": "echo_string"}', "is not of expected type: string"),
        (b'{"instances": [{"b64": "*"}], "signature_name": "echo_string"}',
         "Unable to base64 decode"),
        (b'{"instances": ["\\ud800"], "signature_name": "echo_string"}', "surrogate pair"),
        (b'{"instances": [[1, 2]], "signature_name": "two"}',
         "instances is a plain list, but expecting list of objects"),
        (b'{"inputs": [[1, 2]], "signature_name": "two"}', "inputs is a plain value/list"),
        (b'{"instances": [{"x": [1, 2]}], "signature_name": "two"}', "must be equal to: name,x"),
        (b'{"instances": [1, 2], "signature_name": "uneven"}', "has inconsistent batch size: "),
        (b'{"inputs": ' + b"[" * 3000 + b"]" * 3000 + b"}", "nested too deeply"),
    ],
)  # fmt: skip
def test_wrong_predict_bodies_are_named(served, body, message):
    assert message in served.refused(PREDICT, body)


def test_unimplemented_types_are_501(served):
    status, answer = served.curl(PREDICT, {"instances": [1], "signature_name": "echo_complex64"})
    assert status == 501
    assert "to type: complex64" in answer["error"]


def test_op_errors_are_cut_at_1024_characters(served):
    message = served.refused(COLORS, {"instances": [{"b64": "bm8="}]})
    assert "Unknown image file format" in message
    assert len(message) <= 1024


def test_scalar_outputs_cannot_be_rows(served):
    body = {"signature_name": "summed", "instances": [1, 2]}
    assert "Tensor name: y has no shape information" in served.refused(PREDICT, body)


def test_status_lists_versions_newest_first(served):
    status, answer = served.curl("/v1/models/colors")
    assert status == 200
    assert answer == {
        "model_version_status": [
            {"version": str(number), "state": "AVAILABLE",
             "status": {"error_code": "OK", "error_message": ""}}
            for number in (5, 3)
        ]
    }  # fmt: skip


def test_status_of_one_version_and_of_a_label(served):
    _, one = served.curl("/v1/models/colors/versions/3")
    assert [entry["version"] for entry in one["model_version_status"]] == ["3"]
    _, by_label = served.curl("/v1/models/colors/labels/stable")
    assert len(by_label["model_version_status"]) == 2, "a label is ignored"


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/none", 404, "Could not find any versions of model none"),
        ("/v1/models/colors/versions/6", 404, "Could not find version 6 of model colors"),
        ("/v1/models", 400, "Missing model name in request."),
        ("/v1/models/none/metadata", 404, "Servable not found for request: Latest(none)"),
    ],
)
def test_status_of_what_is_not_there(served, path, status, message):
    assert served.curl(path) == (status, {"error": message})


def test_metadata_holds_the_signatures(served):
    status, answer = served.curl("/v1/models/types/metadata")
    assert status == 200
    assert answer["model_spec"] == {"name": "types", "signature_name": "", "version": "1"}
    two = answer["metadata"]["signature_def"]["signature_def"]["two"]
    assert two["method_name"] == "tensorflow/serving/predict"
    assert two["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert two["inputs"]["x"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False,
    }  # fmt: skip


CLASSIFY = "/v1/models/examples:classify"
REGRESS = "/v1/models/examples:regress"


def test_classify_answers_pairs(served):
    body = {"signature_name": "classify", "examples": [{"x": 0.5}, {"x": [0.25]}]}
    assert served.curl(CLASSIFY, body) == (
        200, {"results": [[["c", 0.5], ["c", 1.0]], [["c", 0.25], ["c", 0.5]]]},
    )  # fmt: skip


def test_missing_labels_and_scores_are_empty(served):
    for signature, first in (("labels_only", ["c", 0.0]), ("scores_only", ["", 1.5])):
        body = {"signature_name": signature, "examples": [{"x": 1.5}]}
        assert served.curl(CLASSIFY, body)[1]["results"][0][0] == first


def test_predict_signatures_may_classify(served):
    assert served.curl(CLASSIFY, {"examples": [{"x": 1.5}]})[1] == {
        "results": [[["", 1.5], ["", 3.0]]]
    }


def test_regress_answers_values(served):
    for signature in ("regress", "column"):
        body = {"signature_name": signature, "examples": [{"x": 1.5}, {"x": 2.5}]}
        assert served.curl(REGRESS, body) == (200, {"results": [2.5, 3.5]})


def test_a_context_is_shared_and_an_example_wins(served):
    body = {"signature_name": "regress", "context": {"x": 1.5}, "examples": [{}, {"x": 5.0}]}
    assert served.curl(REGRESS, body)[1] == {"results": [2.5, 6.0]}


def test_results_may_be_no_numbers(served):
    status, answer = served.curl(
        REGRESS, b'{"signature_name": "regress", "examples": [{"x": NaN}, {"x": 0.5}]}'
    )
    assert status == 200
    assert repr(answer["results"]) == "[nan, 1.5]"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "key 'examples' is expected and was not found"),
        ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1.0]]}]}, "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": {"y": 1}}]},
         "Feature: x has element with unexpected JSON type: Object"),
        ({"examples": [{"x": [1.0, 2]}]},
         "Unexpected element type in feature: x expecting type: float"),
        ({"examples": [{"x": [1, "a"]}]},
         "Unexpected element type in feature: x expecting type: int64"),
        ({"examples": [{"x": [2**63]}]},
         "Feature: x has uint64 element. Only int64 is supported."),
        ({"examples": [{"x": 1e39}]}, "to float without loss of precision."),
        ({"examples": [{"x": 2}]}, "Data types don't match"),
        ({"examples": [{"x": 1.0}], "signature_name": "no"},
         "No signature was found with the name: no"),
        ({"examples": [{"x": 1.0}], "signature_name": "regress"},
         "Expected classification signature outputs to contain at least one of"),
        ({"examples": [{"x": 1.0}], "signature_name": "flat"},
         "Expected Tensor shape: [batch_size num_classes] but got [1]"),
    ],
)  # fmt: skip
def test_wrong_classify_bodies_are_named(served, body, message):
    assert message in served.refused(CLASSIFY, body)


def test_cors_is_answered(served):
    status, text = served.curl(PREDICT, None, "-i", "-X", "OPTIONS")
    assert status == 200
    assert "Access-Control-Allow-Origin: *" in text


def test_too_large_a_body_names_the_limit(served):
    status, answer = served.curl(PREDICT, b"x" * 1_000_001)
    assert status == 429
    assert "1000001 vs. 1000000" in answer["error"]
    packed = gzip.compress(b" " * 2_000_000)
    status, answer = served.curl(PREDICT, packed, "-H", "Content-Encoding: gzip")
    assert status == 429


def test_many_requests_use_one_connection(served):
    connection = http.client.HTTPConnection(served.process.rest_address, timeout=20)
    sockets = set()
    for _ in range(3):
        connection.request("POST", PREDICT, b'{"instances": [1]}')
        answer = connection.getresponse()
        assert json.loads(answer.read()) == {"predictions": [1.0]}
        sockets.add(id(connection.sock))
    connection.close()
    assert len(sockets) == 1


def test_metrics_count_requests_by_status(served):
    served.curl(PREDICT, {"instances": [1]})
    served.curl(PREDICT, {"instances": ["a"]})
    status, text = served.curl("/monitoring/metrics")
    assert status == 200
    assert ':tensorflow:serving:request_count{model_name="types",status="OK"}' in text
    assert ':tensorflow:serving:request_count{model_name="types",status="INVALID_ARGUMENT"}' in text
    labels = 'model_name="types",API="Predict",entrypoint="REST"'
    assert f':tensorflow:serving:request_latency_bucket{{{labels},le="+Inf"}}' in text
    assert ':tensorflow:serving:runtime_latency_sum{model_name="types",API="Predict"' in text
    assert "# TYPE :tensorflow:serving:request_count counter" in text
    assert served.curl("/monitoring/prometheus/metrics")[0] == 404
