"""The page to try models, without a browser: its answers, and what it makes of a model's files."""

from __future__ import annotations

import http.client
import json
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_models import png
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tried_models import CARD, HOSTILE, MAX_BYTES

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError
from slimworks.components.serving.api import Api
from slimworks.components.serving.flags import parse_flags
from slimworks.components.serving.metrics import Metrics
from slimworks.components.serving.models import Models
from slimworks.components.serving.page.image_answers import (
    answer_view,
    described,
    image_signature,
)
from slimworks.components.serving.page.model_card import card_html
from slimworks.components.serving.page.model_facts import MAX_FILE_BYTES, known_facts, read_facts
from slimworks.components.serving.page.try_page import HEADERS, TryPage
from slimworks.components.serving.process import ServerProcess
from slimworks.components.serving.rest import Rest
from slimworks.components.serving.server import _try_page

STATIC = Path(TryPage.__init__.__code__.co_filename).parent / "static"


def asked(server: ServerProcess, method: str, path: str, body: bytes | None = None) -> Any:
    """Status, headers and content: JSON where it is such."""
    connection = http.client.HTTPConnection(server.rest_address, timeout=30)
    connection.request(method, path, body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    is_json = answer.headers["Content-Type"] == "application/json"
    return answer.status, answer.headers, json.loads(content) if is_json else content.decode()


# --- the switch ---


@pytest.mark.parametrize("path", ["/", "/try/models.json", "/try/page.js"])
def test_without_the_flag_every_path_of_the_page_is_not_found(path: str) -> None:
    answer = Rest(Api(Models(), Metrics())).answer("GET", path, b"")
    assert (answer.status, json.loads(answer.body)) == (404, {"error": "Not Found"})


def test_page_without_a_rest_port_is_refused() -> None:
    with pytest.raises(ConfigError, match="--enable_try_page is given without --rest_api_port"):
        parse_flags(["--model_base_path=m", "--enable_try_page"])


@pytest.mark.parametrize(
    ("host", "warns"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True)]
)
def test_page_on_an_open_address_is_warned_of(
    host: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    flags = parse_flags(
        ["--model_base_path=m", "--rest_api_port=8501", "--enable_try_page", f"--host={host}"]
    )
    with caplog.at_level(logging.WARNING):
        assert isinstance(_try_page(Api(Models(), Metrics()), flags), TryPage)
    assert ("everyone who reaches" in caplog.text) == warns


# --- over HTTP ---


def test_every_file_of_the_page_comes_with_the_strict_policy(tried_server: ServerProcess) -> None:
    for name in ("", *(f"try/{p.name}" for p in STATIC.iterdir() if p.name != "index.html")):
        status, headers, _ = asked(tried_server, "GET", f"/{name}")
        assert status == 200, name
        assert {key: headers[key] for key in HEADERS} == HEADERS
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_page_names_no_other_host_and_runs_nothing_inline() -> None:
    for path in STATIC.iterdir():
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"\b(?:https?|wss?)://(?!\blocalhost)", text), path
        assert "eval(" not in text, path
    index = (STATIC / "index.html").read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*src=)", index)


def test_models_are_listed_with_versions_as_text_and_labels(tried_server: ServerProcess) -> None:
    status, _, listed = asked(tried_server, "GET", "/try/models.json")
    assert status == 200
    assert listed["max_image_bytes"] == MAX_BYTES
    assert [model["name"] for model in listed["models"]] == ["colors", "examples", "hostile"]
    colors = listed["models"][0]
    assert colors["labels"] == {"stable": "3", "canary": "5"}
    states = {one["version"]: (one["state"], bool(one["error"])) for one in colors["versions"]}
    assert states == {"9": ("END", True), "5": ("AVAILABLE", False), "3": ("AVAILABLE", False)}


def test_facts_of_the_training_and_the_card_are_of_the_version_asked(
    tried_server: ServerProcess,
) -> None:
    _, _, about = asked(tried_server, "GET", "/try/models/colors/labels/stable")
    assert (about["version"], about["signature"]) == ("3", "serving_default")
    assert about["facts"]["net"] == "mobilenet_v1"
    assert about["facts"]["metrics"]["accuracy"] == 0.91
    assert about["facts"]["checkpoint"] == "mobilenet_v1.ckpt"
    assert about["facts"]["classes"][1] == {"name": HOSTILE, "num_images": 234}
    assert about["card"] == card_html(CARD)
    _, _, newest = asked(tried_server, "GET", "/try/models/colors")
    assert (newest["version"], newest["card"]) == ("5", "")
    assert newest["facts"] == {"metrics": {}, "classes": []}


@pytest.mark.parametrize(
    ("choice", "version", "best"),
    [("", "5", "blue"), ("/versions/3", "3", "red"), ("/labels/stable", "3", "red")],
)
def test_an_image_is_answered_by_the_version_asked(
    tried_server: ServerProcess, choice: str, version: str, best: str
) -> None:
    path = f"/try/models/colors{choice}:predict"
    status, _, answer = asked(tried_server, "POST", path, png("red"))
    assert status == 200
    assert answer["version"] == version
    assert answer["classes"][0]["name"] == best
    assert answer["classes"][0]["probability"] > answer["classes"][1]["probability"]
    assert answer["is_known"] is True
    assert answer["milliseconds"] > 0


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/try/models/none", 404, "Servable not found for request: Latest(none)"),
        ("GET", "/try/models/colors/versions/9", 404, "Specific(colors, 9)"),
        ("GET", "/try/models/colors/labels/x", 400, "Unrecognized servable version label: x"),
        ("POST", "/try/models/colors:predict", 400, "The image is empty: 0 bytes."),
        ("GET", "/try/models/colors:predict", 404, "Not Found"),
        ("POST", "/try/models.json", 404, "Not Found"),
        ("GET", "/try/../models.json", 404, "Not Found"),
        ("GET", "/try/nothing.js", 404, "Not Found"),
        ("POST", "/", 404, "Not Found"),
    ],
)
def test_wrong_requests_are_refused_in_words(
    tried_server: ServerProcess, method: str, path: str, status: int, message: str
) -> None:
    answered, _, content = asked(tried_server, method, path, b"" if method == "POST" else None)
    assert answered == status
    assert message in content["error"]


def test_a_file_that_is_no_image_is_refused_with_the_models_words(
    tried_server: ServerProcess,
) -> None:
    status, _, content = asked(tried_server, "POST", "/try/models/colors:predict", b"no image")
    assert status == 400
    assert "Unknown image file format" in content["error"]


def test_a_model_that_takes_no_images_is_not_asked(tried_server: ServerProcess) -> None:
    status, _, content = asked(tried_server, "POST", "/try/models/examples:predict", png("red"))
    assert status == 400
    assert "has no signature that takes `images`" in content["error"]
    _, _, about = asked(tried_server, "GET", "/try/models/examples")
    assert about["signature"] is None
    regress = next(one for one in about["signatures"] if one["name"] == "regress")
    assert regress["inputs"] == [{"name": "inputs", "dtype": "string", "shape": [None]}]


def test_other_paths_answer_as_they_do_without_the_page(tried_server: ServerProcess) -> None:
    status, _, content = asked(tried_server, "GET", "/v1/models/none")
    assert (status, content["error"]) == (404, "Could not find any versions of model none")
    assert asked(tried_server, "GET", "/v2/models")[0] == 404


# --- facts of a version ---


def test_what_the_publisher_says_wins_and_wrong_types_are_left_out() -> None:
    facts = known_facts(
        {"net": "lenet", "num_train_images": "many", "class_names": ["a", 3, "b"], "seed": 0},
        {"net": "vgg_16", "class_counts": {"a": 5, "b": "x"}, "metrics": {"accuracy": True}},
    )
    assert facts == {
        "net": "vgg_16",
        "metrics": {},
        "classes": [{"name": "a", "num_images": 5}, {"name": "b", "num_images": None}],
    }


def test_classes_of_an_exported_checkpoint_are_those_of_its_label_map(tmp_path: Path) -> None:
    extra = tmp_path / "1" / "assets.extra"
    files.write_json(extra / contracts.MODEL_FACTS_FILE, {"net": "lenet"})
    contracts.LabelMap(("b", "a")).write(extra)
    assert [one["name"] for one in read_facts(tmp_path / "1", 1).facts["classes"]] == ["b", "a"]


def test_a_version_without_files_has_no_facts_and_no_faults(tmp_path: Path) -> None:
    known = read_facts(tmp_path / "base" / "1", 1)
    assert known.facts == {"metrics": {}, "classes": []}
    assert (known.card, list(known.faults)) == ("", [])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", "model.json of this version is no JSON object."),
        (b"[1]", "model.json of this version is no JSON object."),
        (b"[" * 100_000, "model.json of this version is no JSON object."),
        (b"\xff", "model.json of this version is no UTF-8 text."),
        (b" " * (MAX_FILE_BYTES + 1), "model.json of this version is larger than 4 MiB."),
    ],
    ids=["broken", "list", "deep", "bytes", "large"],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    files.write_bytes(tmp_path / "1" / "assets.extra" / "model.json", content)
    known = read_facts(tmp_path / "1", 1)
    assert list(known.faults) == [fault]
    assert known.facts == {"metrics": {}, "classes": []}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "1" / "assets.extra" / "model.json").mkdir(parents=True)
    assert list(read_facts(tmp_path / "1", 1).faults) == [
        "model.json of this version cannot be read: Is a directory."
    ]


def test_the_versions_own_card_comes_before_the_one_beside_it(tmp_path: Path) -> None:
    beside = tmp_path / contracts.LEDGER_FOLDER / contracts.CARDS_FOLDER / "7"
    files.write_text(beside / contracts.MODEL_CARD_FILE, "beside")
    assert read_facts(tmp_path / "0007", 7).card == "beside"
    files.write_text(tmp_path / "0007" / "assets.extra" / contracts.MODEL_CARD_ASSET, "own")
    assert read_facts(tmp_path / "0007", 7).card == "own"


# --- the model card ---


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_nothing_in_a_card_runs_or_loads() -> None:
    card = (
        f"# {HOSTILE}\n\n{HOSTILE}\n\n<style>*{{}}</style>\n\n[a](javascript:alert(1)) "
        "![b](https://example.com/b.png) [c](data:text/html,x) <iframe src=x></iframe>\n\n"
        f'| {HOSTILE} | b |\n| --- | ---: |\n| "x" onload=1 | 2 |\n\n```js" onload="x\n'
        "alert(1)\n```"
    )
    tags = _Tags(card_html(card)).tags
    assert {tag for tag, _ in tags} <= {
        "h3", "p", "a", "div", "table", "thead", "tbody", "tr", "th", "td", "pre", "code",
    }  # fmt: skip
    for _, attributes in tags:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src")]
        assert (attributes.get("href") or "https:").startswith("https:")


def test_a_card_stands_below_the_headings_of_the_page_and_its_tables_are_named() -> None:
    tags = _Tags(card_html(CARD)).tags
    assert [tag for tag, _ in tags if tag.startswith("h")] == ["h3", "h4"]
    assert ("table", {"aria-label": "Model card: colours"}) in tags
    assert ("th", {"scope": "col", "class": "number"}) in tags


# --- signatures and answers ---


def signature(dtype: int = types_pb2.DT_STRING, rank: int | None = 1, alias: str = "images") -> Any:
    made = meta_graph_pb2.SignatureDef()
    made.inputs[alias].dtype = dtype
    if rank is None:
        made.inputs[alias].tensor_shape.unknown_rank = True
    for _ in range(rank or 0):
        made.inputs[alias].tensor_shape.dim.add(size=-1)
    return made


def test_the_default_signature_is_asked_where_it_takes_images() -> None:
    assert image_signature({"a": signature(), "serving_default": signature()}) == "serving_default"
    assert image_signature({"b": signature(), "a": signature(rank=None)}) == "a"


@pytest.mark.parametrize(
    "other",
    [
        signature(dtype=types_pb2.DT_FLOAT, rank=4),
        signature(rank=0),
        signature(alias="examples"),
        meta_graph_pb2.SignatureDef(),
    ],
    ids=["pixels", "scalar", "examples", "nothing"],
)
def test_other_signatures_are_not_taken_for_one_of_images(other: Any) -> None:
    assert image_signature({"serving_default": other}) is None


def test_two_inputs_are_not_one_image() -> None:
    two = signature()
    two.inputs["threshold"].dtype = types_pb2.DT_FLOAT
    assert image_signature({"serving_default": two}) is None


def test_signatures_are_described_without_tensorflows_own() -> None:
    found = described({"__saved_model_init_op": signature(), "a": signature(rank=None)})
    assert found == [
        {
            "name": "a",
            "inputs": [{"name": "images", "dtype": "string", "shape": None}],
            "outputs": [],
        }
    ]


def names(*texts: bytes) -> np.ndarray:
    return np.array([texts], dtype=object)


def test_classes_come_most_probable_first_and_nan_last() -> None:
    view = answer_view(
        {
            "classes": names(b"a", b"b", b"\xff"),
            "probabilities": np.array([[np.nan, 0.25, 0.75]], np.float32),
            "is_known": np.array([False]),
        }
    )
    assert [one["name"] for one in view["classes"]] == ["\ufffd", "b", "a"]
    assert view["is_known"] is False
    assert view["others"] == []


@pytest.mark.parametrize(
    "outputs",
    [
        {"classes": names(b"a", b"b"), "probabilities": np.ones((1, 3), np.float32)},
        {"classes": np.ones((1, 2)), "probabilities": np.ones((1, 2), np.float32)},
        {"classes": names(b"a", b"b"), "probabilities": names(b"a", b"b")},
        {"scores": np.arange(60, dtype=np.float32)},
    ],
    ids=["shapes", "numbers", "texts", "scores"],
)
def test_an_answer_that_is_no_ranking_is_shown_as_it_is(outputs: dict[str, Any]) -> None:
    view = answer_view(outputs)
    assert (view["classes"], view["is_known"]) == ([], None)
    assert {one["name"] for one in view["others"]} == set(outputs)
    assert all(one["values"].count(", ") <= 50 for one in view["others"])
