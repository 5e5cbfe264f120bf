"""The blocking and the asynchronous client, against real servers: one behaviour for both."""

from __future__ import annotations

import asyncio
import functools
import http.server
import re
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_models import png

from slimworks.components.errors import ConfigError, DataError, ServingError
from slimworks.components.serving import image_sources
from slimworks.components.serving.client import AsyncClient, Client, RequestRefusedError
from slimworks.components.serving.image_sources import ImageContent, ImageFile, ImageUrl
from slimworks.components.serving.process import ServerProcess

Ask = Callable[..., Any]
MODELS = """
model_config_list {{ config {{
  name: "colors" base_path: "{base}" model_platform: "tensorflow"
  model_version_policy {{ all {{ }} }}
  version_labels {{ key: "stable" value: 3 }} version_labels {{ key: "canary" value: 5 }}
}} }}
"""


@pytest.fixture(scope="module")
def labelled(
    color_model: Path, blue_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Address of a server with version 3 (stable) and version 5 (canary, always blue)."""
    folder = tmp_path_factory.mktemp("labelled")
    shutil.copytree(color_model, folder / "base" / "3")
    shutil.copytree(blue_model, folder / "base" / "5")
    (folder / "models.config").write_text(MODELS.format(base=folder / "base"))
    flags = (
        f"--model_config_file={folder}/models.config",
        "--allow_version_labels_for_unavailable_models",
        "--max_message_bytes=1000000",
    )
    with ServerProcess(folder / "base", "colors", extra_flags=flags) as server:
        yield server.address


@pytest.fixture
def colored(tmp_path: Path) -> list[Path]:
    """Twenty images: red, green, blue, red, ..."""
    paths = []
    for number in range(20):
        paths.append(tmp_path / f"{number:02d}.png")
        paths[-1].write_bytes(png(("red", "green", "blue")[number % 3]))
    return paths


def colors(predictions: Any) -> list[str]:
    return [prediction.class_names[0] for prediction in predictions]


def test_bytes_in_one_request(ask: Ask, labelled: str) -> None:
    predictions = ask(labelled, "predict_bytes", [png("green"), png("red", "WEBP")], version=3)
    assert colors(predictions) == ["green", "red"]
    assert {prediction.version for prediction in predictions} == {3}
    assert ask(labelled, "predict_bytes", []) == []


def test_newest_version_is_asked_by_default(ask: Ask, labelled: str) -> None:
    (prediction,) = ask(labelled, "predict_bytes", [png("red")])
    assert (prediction.class_names[0], prediction.version) == ("blue", 5)


@pytest.mark.parametrize(("label", "expected"), [("stable", ("red", 3)), ("canary", ("blue", 5))])
def test_label_chooses_the_version(
    ask: Ask, labelled: str, label: str, expected: tuple[str, int]
) -> None:
    (prediction,) = ask(labelled, "predict_bytes", [png("red")], label=label)
    assert (prediction.class_names[0], prediction.version) == expected


def test_top_k_leaves_the_best(ask: Ask, labelled: str) -> None:
    (best,) = ask(labelled, "predict_bytes", [png("red")], label="stable", of_call={"top_k": 1})
    assert (best.class_names, best.class_indices, len(best.probabilities)) == (("red",), (0,), 1)


def test_files_in_order(ask: Ask, labelled: str, colored: list[Path]) -> None:
    predictions = ask(labelled, "predict_files", colored, label="stable")
    assert colors(predictions) == [("red", "green", "blue")[n % 3] for n in range(20)]


def test_missing_file_is_named(ask: Ask, labelled: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png cannot be read: No such file"):
        ask(labelled, "predict_files", [tmp_path / "none.png"])


def test_address_that_is_away_is_named(ask: Ask, labelled: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:1/cat\.jpg cannot be read"):
        ask(labelled, "predict_urls", ["http://127.0.0.1:1/cat.jpg"])


class QuietSite(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_images_on_the_web(
    ask: Ask, labelled: str, colored: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(QuietSite, directory=str(colored[0].parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        serving = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            urls = [f"http://127.0.0.1:{site.server_port}/0{number}.png" for number in range(3)]
            assert colors(ask(labelled, "predict_urls", urls, label="stable")) == [
                "red",
                "green",
                "blue",
            ]
        finally:
            site.shutdown()
            serving.join()


def test_bad_images_cost_no_other_its_answer(
    ask: Ask, labelled: str, colored: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes(png("red")[:40])
    (tmp_path / "notes.jpg").write_bytes(b"hello")
    sources = [
        ImageFile(colored[0]),
        ImageFile(tmp_path / "torn.png"),
        ImageFile(tmp_path / "notes.jpg"),
        ImageFile(tmp_path / "none.png"),
        ImageContent("large", png("red") + b"\0" * 2_000_000),
        ImageContent("beyond the limit", b"\0" * 4_000_001),
        ImageFile("nul\0.png"),
        ImageFile(colored[1]),
    ]
    answers = ask(
        labelled, "predict_each", sources, label="stable", of_call={"max_image_bytes": 4_000_000}
    )
    assert [answer.name for answer in answers] == [source.name for source in sources]
    assert colors(answers[place].prediction for place in (0, -1)) == ["red", "green"]
    causes = [answer.error.cause for answer in answers[1:-1]]
    expected = [
        "The model cannot read .*torn.png: Invalid PNG",
        "notes.jpg is not an image",
        "none.png cannot be read: No such file",
        r"The model cannot read large: .*larger than max \(\d+ vs. 1000000\)",
        "beyond the limit has more than 4000000 bytes.",
        "cannot be read: embedded null byte",
    ]
    for cause, words in zip(causes, expected, strict=True):
        assert re.search(words, cause)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_order_is_kept_whatever_the_concurrency(
    ask: Ask, labelled: str, colored: list[Path], concurrency: int
) -> None:
    sources = [ImageFile(path) for path in colored * 5]
    options = {"batch_size": 3, "concurrency": concurrency}
    answers = ask(labelled, "predict_each", sources, label="stable", of_call=options)
    assert [answer.name for answer in answers] == [source.name for source in sources]
    assert colors(answer.prediction for answer in answers) == [
        ("red", "green", "blue")[n % 20 % 3] for n in range(100)
    ]


def test_images_are_read_when_their_turn_comes(labelled: str) -> None:
    taken = []

    def sources() -> Iterator[ImageContent]:
        for number in range(1_000):
            taken.append(number)
            yield ImageContent(str(number), png("red"))

    with Client(labelled, "colors") as client:
        answers = client.predict_each(sources(), batch_size=4, concurrency=2)
        next(answers)
        assert len(taken) == 8
        answers.close()


def test_memory_does_not_grow_with_the_number_of_images(labelled: str) -> None:
    image = png("red") + b"\0" * 100_000

    def peak_bytes(num_images: int) -> int:
        sources = (ImageContent(str(number), bytes(image)) for number in range(num_images))
        tracemalloc.start()
        try:
            with Client(labelled, "colors") as client:
                for _ in client.predict_each(sources, batch_size=4, concurrency=2):
                    pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(16)  # first calls fill caches
    assert peak_bytes(640) < 1.5 * peak_bytes(64)


def test_a_request_has_a_limit_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_sources, "BYTES_PER_REQUEST", 2_000)
    (batch,) = image_sources.batches(
        [ImageContent(str(n), png("red") + b"\0" * 900) for n in range(5)], 16
    )
    sizes = []
    while batch:
        sizes.append(len(image_sources.load(batch, 10_000)))
    assert sizes == [3, 2]


def test_status_and_metadata(ask: Ask, labelled: str) -> None:
    states = ask(labelled, "status")
    assert [(state.version, state.state) for state in states] == [
        (5, "AVAILABLE"),
        (3, "AVAILABLE"),
    ]
    metadata = ask(labelled, "metadata", label="stable")
    assert metadata["version"] == 3
    assert metadata["signatures"]["serving_default"]["inputs"] == {
        "images": {"dtype": "DT_STRING", "shape": [-1]}
    }


def test_model_without_embeddings_is_explained(ask: Ask, labelled: str) -> None:
    with pytest.raises(RequestRefusedError, match='Serving signature key "embed" not found'):
        ask(labelled, "embed_bytes", [png("red")])


def test_unknown_label(ask: Ask, labelled: str) -> None:
    with pytest.raises(ServingError) as caught:
        ask(labelled, "predict_bytes", [png("red")], label="beta")
    assert (caught.value.cause, caught.value.fix) == (
        f"{labelled} has no label 'beta' for model 'colors' (Unrecognized servable version label: "
        "beta).",
        "Check --label, or leave it out to ask the newest version.",
    )


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_version_and_label_exclude_each_other(kind: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        kind("127.0.0.1:1", "m", version=7, label="canary")
    assert (caught.value.cause, caught.value.fix) == (
        "Both a version (7) and a label ('canary') are given.",
        "Give --version or --label, not both.",
    )


def test_closed_asynchronous_client_opens_again(labelled: str) -> None:
    async def twice() -> list[int]:
        client = AsyncClient(labelled, "colors")
        versions = []
        for _ in range(2):
            versions += [
                prediction.version for prediction in await client.predict_bytes([png("red")])
            ]
            await client.close()
        return versions

    assert asyncio.run(twice()) == [5, 5]


def test_sources_are_told_apart() -> None:
    assert image_sources.source_of("HTTPS://example.com/a.jpg") == ImageUrl(
        "HTTPS://example.com/a.jpg"
    )
    assert image_sources.source_of("http.jpg") == ImageFile("http.jpg")
