"""Replays through a real server process over gRPC."""

import contextlib
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from replay_samples import (
    NUM_IMAGES,
    filename,
    image_id,
    images,
    save_model,
    write_examples,
    write_predictions,
)
from tfx.types import channel, standard_artifacts

from slimworks.components import contracts, files
from slimworks.components.errors import ServingError
from slimworks.components.replay.component import Replay
from slimworks.components.replay.config import ReplaySettings
from slimworks.components.replay.executor import Executor, evaluated_split
from slimworks.components.replay.predictions import read_expected
from slimworks.components.replay.replay import Baseline, ReplayResult, _baseline_side, replay
from slimworks.components.replay.rest import RestClient
from slimworks.components.serving.config import ServingConfig
from slimworks.components.serving.process import ServerProcess

SETTINGS = ReplaySettings(num_images=64, tolerance=1e-3, timeout_seconds=60.0)


@dataclass(frozen=True)
class Candidate:
    """A model, its examples and what it answers offline."""

    model: Path
    examples: Path
    probabilities: np.ndarray

    def replay(self, tmp_path: Path, probabilities: np.ndarray, **changes: Any) -> ReplayResult:
        predictions = write_predictions(tmp_path / "predictions.parquet", probabilities)
        saved_model = self.model / contracts.SAVED_MODEL_FOLDER
        settings = SETTINGS.model_copy(update=changes)
        output = tmp_path / "replay"
        return replay(saved_model, self.examples, "test", predictions, output, settings)


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    folder = tmp_path_factory.mktemp("candidate")
    encoded = images()
    probabilities = save_model(folder / "model" / contracts.SAVED_MODEL_FOLDER, encoded)
    examples = write_examples(folder / "examples", encoded)
    return Candidate(folder / "model", examples, probabilities)


def test_faithful_model_passes(candidate: Candidate, tmp_path: Path) -> None:
    digest = files.sha256_of_tree(candidate.model)
    result = candidate.replay(tmp_path, candidate.probabilities)
    assert result.num_images == NUM_IMAGES
    assert result.num_top1_mismatches == 0
    assert result.max_probability_difference is not None
    assert result.max_probability_difference < 1e-6
    written = files.read_json(tmp_path / "replay" / contracts.REPLAY_FILE)
    assert written == result.to_json()
    assert written["mismatches"] == []
    assert 0 < written["latency_ms"]["p50"] <= written["latency_ms"]["p99"]
    assert written["tolerance"] == 1e-3
    assert [path.name for path in (tmp_path / "replay").iterdir()] == [contracts.REPLAY_FILE]
    assert files.sha256_of_tree(candidate.model) == digest
    for protocol in ("grpc", "rest"):
        found = written["protocols"][protocol]
        assert (found["num_images"], found["top1_agreement"]) == (NUM_IMAGES, 1.0)
        assert found["max_probability_difference"] < 1e-6
        assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert written["max_repeat_difference"] == 0
    assert 30 < written["peak_memory_bytes"] / 2**20 < 3_000
    assert {bound["verdict"] for bound in written["bounds"]} == {"pass"}
    assert (written["server"], written["baseline"], written["notes"]) == (None, None, [])


def test_planted_mismatch_is_named_and_written(candidate: Candidate, tmp_path: Path) -> None:
    planted = candidate.probabilities.copy()
    planted[5] = np.roll(planted[5], 1)  # another best class
    planted[7, planted[7].argmax()] -= 0.01  # the same class, less sure
    with pytest.raises(ServingError) as caught:
        candidate.replay(tmp_path, planted)
    assert f"2 of {NUM_IMAGES} replayed images" in caught.value.cause
    assert filename(5) in caught.value.cause
    assert "by up to 0.01, 0.001 is allowed" in caught.value.cause
    assert "serving.replay_tolerance (now 0.001)" in caught.value.fix
    assert caught.value.exit_code == 5
    written = files.read_json(tmp_path / "replay" / contracts.REPLAY_FILE)
    assert written["num_mismatches"] == 2
    assert written["num_top1_mismatches"] == 1
    first, second = written["mismatches"]
    assert (first["filename"], second["filename"]) == (filename(5), filename(7))
    assert first["expected"]["class_index"] == int(planted[5].argmax())
    assert first["served"]["class_index"] == int(candidate.probabilities[5].argmax())
    assert second["difference"] == pytest.approx(0.01, abs=1e-5)


def test_offline_nan_is_a_mismatch_and_only_the_first_images_are_sent(
    candidate: Candidate, tmp_path: Path
) -> None:
    planted = candidate.probabilities.copy()
    planted[1] = np.nan
    planted[9] = np.nan  # not among the first three
    with pytest.raises(ServingError, match=f"1 of 3 .*{filename(1)}"):
        candidate.replay(tmp_path, planted, num_images=3)
    written = files.read_json(tmp_path / "replay" / contracts.REPLAY_FILE)
    assert written["max_probability_difference"] is None
    assert written["mismatches"][0]["difference"] is None


def test_image_without_a_prediction_is_named(candidate: Candidate, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match=rf"{filename(6)} of split test has no prediction in"):
        candidate.replay(tmp_path, candidate.probabilities[:6])


def test_image_that_the_server_refuses_is_named(candidate: Candidate, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples", [*images()[:2], b"\xff\xd8\xff no JPEG"])
    other = Candidate(candidate.model, examples, candidate.probabilities)
    with pytest.raises(ServingError, match=f"did not answer for {filename(2)}: "):
        other.replay(tmp_path, candidate.probabilities)


def test_split_without_an_image_is_reported(candidate: Candidate, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples", [])
    other = Candidate(candidate.model, examples, candidate.probabilities)
    with pytest.raises(ServingError, match=r"Split test of .* holds no image"):
        other.replay(tmp_path, candidate.probabilities)


def test_model_that_does_not_load_is_reported(candidate: Candidate, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(candidate.model, model)
    (model / contracts.SAVED_MODEL_FOLDER / "saved_model.pb").write_bytes(b"torn")
    other = Candidate(model, candidate.examples, candidate.probabilities)
    with pytest.raises(ServingError, match="server ended with exit code"):
        other.replay(tmp_path, candidate.probabilities)
    assert list((tmp_path / "replay").iterdir()) == []


def test_expected_are_only_the_wanted_images(candidate: Candidate, tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "predictions.parquet", candidate.probabilities)
    found = read_expected(path, [image_id(2), image_id(15), "unknown"])
    assert set(found) == {image_id(2), image_id(15)}
    np.testing.assert_allclose(found[image_id(15)].probabilities, candidate.probabilities[15])


def test_executor_blesses_the_artifact(candidate: Candidate, tmp_path: Path) -> None:
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    write_predictions(evaluation / contracts.PREDICTIONS_FILE, candidate.probabilities)
    files.write_json(evaluation / contracts.EVALUATION_METRICS_FILE, {"split": "test"})
    kinds = {
        "examples": (standard_artifacts.Examples, candidate.examples),
        "model": (standard_artifacts.Model, candidate.model),
        "evaluation": (standard_artifacts.ModelEvaluation, evaluation),
        "blessing": (standard_artifacts.ModelBlessing, tmp_path / "blessing"),
        "baseline_model": (standard_artifacts.Model, candidate.model),
    }
    channels = {name: channel.Channel(type=kind) for name, (kind, _) in kinds.items()}
    node = Replay(**channels, config=ServingConfig(replay_num_images=3))
    inputs: dict[str, list[Any]] = {}
    for name, (kind, folder) in kinds.items():
        inputs[name] = [kind()]
        inputs[name][0].uri = str(folder)
    output = standard_artifacts.InfraBlessing()
    output.uri = str(tmp_path / "out")
    Executor().Do(inputs, {"replay": [output]}, dict(node.spec.exec_properties))
    assert output.get_int_custom_property("blessed") == 1
    written = files.read_json(tmp_path / "out" / contracts.REPLAY_FILE)
    assert written["num_images"] == 3
    assert written["notes"] == ["the baseline is not asked: it has no offline predictions"]


def test_split_is_the_evaluated_one_or_test(tmp_path: Path) -> None:
    files.write_json(tmp_path / contracts.EVALUATION_METRICS_FILE, {"split": "eval"})
    assert evaluated_split(tmp_path) == "eval"
    files.write_json(tmp_path / contracts.EVALUATION_METRICS_FILE, {})
    assert evaluated_split(tmp_path) == "test"


def test_baseline_is_served_beside_the_candidate(candidate: Candidate, tmp_path: Path) -> None:
    predictions = write_predictions(tmp_path / "predictions.parquet", candidate.probabilities)
    model = candidate.model / contracts.SAVED_MODEL_FOLDER
    changed = candidate.probabilities.copy()
    changed[3] = np.roll(changed[3], 1)  # what the baseline answers otherwise refuses nobody
    of_baseline = write_predictions(tmp_path / "baseline.parquet", changed)
    replay(
        model, candidate.examples, "test", predictions, tmp_path / "replay",
        SETTINGS.model_copy(update={"num_images": 6}), Baseline(model, of_baseline),
    )  # fmt: skip
    written = files.read_json(tmp_path / "replay" / contracts.REPLAY_FILE)
    baseline = written["baseline"]
    assert baseline["protocols"]["rest"]["top1_agreement"] == 5 / 6
    assert baseline["protocols"]["grpc"]["latency_ms"]["p50"] > 0
    assert baseline["peak_memory_bytes"] > 0
    bounds = {bound["name"]: bound for bound in written["bounds"]}
    latency = bounds["grpc/latency_p50_ms"]
    assert latency["baseline"] == baseline["protocols"]["grpc"]["latency_ms"]["p50"]
    assert latency["limit"] >= 250
    assert bounds["grpc/latency_p99_ms"]["reason"] == "not compared: the slowest of 6 requests"
    assert bounds["peak_memory_mb"]["baseline"] > 0


@pytest.mark.slow
def test_baseline_that_cannot_be_served_is_noted(candidate: Candidate, tmp_path: Path) -> None:
    predictions = write_predictions(tmp_path / "predictions.parquet", candidate.probabilities)
    torn = tmp_path / "torn"
    shutil.copytree(candidate.model / contracts.SAVED_MODEL_FOLDER, torn)
    (torn / "saved_model.pb").write_bytes(b"torn")
    model = candidate.model / contracts.SAVED_MODEL_FOLDER
    result = replay(
        model, candidate.examples, "test", predictions, tmp_path / "replay",
        SETTINGS.model_copy(update={"num_images": 2}), Baseline(torn, predictions),
    )  # fmt: skip
    assert result.baseline is None
    assert result.notes[0].startswith("the baseline cannot be served: The server ended with exit")


def test_baseline_without_predictions_is_noted(candidate: Candidate, tmp_path: Path) -> None:
    names: dict[str, str] = {image_id(0): filename(0)}
    notes: list[str] = []
    few = write_predictions(tmp_path / "few.parquet", candidate.probabilities[:0])
    for path in (tmp_path / "none.parquet", few):
        with contextlib.ExitStack() as stack:
            baseline = Baseline(candidate.model, path)
            assert _baseline_side(stack, baseline, tmp_path, SETTINGS, names, notes) is None
    assert notes == [
        "the baseline is not asked: it has no offline predictions",
        "the baseline is not asked: it has no prediction of some images",
    ]


def test_answers_that_change_are_refused(tmp_path: Path) -> None:
    encoded = images()
    model = tmp_path / "model"
    probabilities = save_model(model, encoded, noise=0.01)
    examples = write_examples(tmp_path / "examples", encoded)
    predictions = write_predictions(tmp_path / "predictions.parquet", probabilities)
    settings = SETTINGS.model_copy(update={"num_images": 4, "tolerance": 0.1})
    with pytest.raises(ServingError, match="is answered differently when it is asked twice"):
        replay(model, examples, "test", predictions, tmp_path / "replay", settings)
    written = files.read_json(tmp_path / "replay" / contracts.REPLAY_FILE)
    assert written["max_repeat_difference"] > 1e-5
    failed = [bound["name"] for bound in written["bounds"] if bound["verdict"] == "fail"]
    assert failed == ["repeat_difference"]


def test_server_that_runs_already_is_asked(candidate: Candidate, tmp_path: Path) -> None:
    predictions = write_predictions(tmp_path / "predictions.parquet", candidate.probabilities)
    base = tmp_path / "base"
    shutil.copytree(candidate.model / contracts.SAVED_MODEL_FOLDER, base / "7")
    missing = tmp_path / "no model here"
    with ServerProcess(base, "roses") as server:
        serving = ServingConfig(
            model_name="roses", replay_server=server.address,
            replay_rest_server=server.rest_address, replay_num_images=3,
        )  # fmt: skip
        result = replay(missing, candidate.examples, "test", predictions, tmp_path / "a", serving)
        assert result.server == server.address
        assert set(result.candidate.protocols) == {"grpc", "rest"}
        assert result.candidate.peak_memory_bytes is None
        assert result.notes == (
            "the server is not ours: neither its memory nor a baseline is measured",
        )
        by_grpc = serving.model_copy(update={"replay_rest_server": None})
        result = replay(missing, candidate.examples, "test", predictions, tmp_path / "b", by_grpc)
        assert set(result.candidate.protocols) == {"grpc"}
        other = serving.model_copy(update={"model_name": "tulips"})
        with pytest.raises(ServingError, match="serves no model named 'tulips'"):
            replay(missing, candidate.examples, "test", predictions, tmp_path / "c", other)
        with (
            RestClient(server.rest_address, "tulips", timeout_seconds=30) as client,
            pytest.raises(ServingError, match=r"/v1/models/tulips:predict answered 404: "),
        ):
            client.predict_bytes(images()[:1])


def test_rest_server_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        RestClient(f"127.0.0.1:{port}", "roses", timeout_seconds=30) as client,
        pytest.raises(ServingError) as caught,
    ):
        client.predict_bytes(images()[:1])
    assert caught.value.cause.startswith(f"No REST server answers at 127.0.0.1:{port} (")
    assert caught.value.fix == (
        "Check the address, and that the server was started with --rest_api_port."
    )
