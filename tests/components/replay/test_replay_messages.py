"""What the replay tells a user before it starts a server, word for word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from replay_samples import filename, images, write_examples, write_predictions

from slimworks.components.errors import ConfigError, ServingError
from slimworks.components.replay.bounds import Bound
from slimworks.components.replay.comparison import Expected
from slimworks.components.replay.refusals import refusal as error_of
from slimworks.components.replay.replay import replay
from slimworks.components.replay.tally import Tally
from slimworks.components.serving.answers import Prediction
from slimworks.components.serving.config import ServingConfig


def refusal(folder: Path, num_images: int) -> tuple[str, str]:
    """Cause and fix where the split holds `num_images`, of which two have a prediction."""
    examples = write_examples(folder / "examples", images()[:num_images])
    predictions = write_predictions(folder / "predictions.parquet", np.eye(2, 4, dtype=np.float32))
    with pytest.raises(ServingError) as caught:
        replay(folder / "model", examples, "test", predictions, folder / "out", ServingConfig())
    assert not (folder / "out").exists()
    return caught.value.cause, caught.value.fix


def test_split_without_an_image(tmp_path: Path) -> None:
    assert refusal(tmp_path, 0) == (
        f"Split test of {tmp_path / 'examples'} holds no image: the candidate cannot be replayed.",
        "Give more photos, or a larger fraction of them to that split.",
    )


def test_image_without_a_prediction(tmp_path: Path) -> None:
    assert refusal(tmp_path, 3) == (
        f"{filename(2)} of split test has no prediction in {tmp_path / 'predictions.parquet'}.",
        "Evaluate the same examples again: slimworks run --no-cache=evaluator",
    )


def bound(name: str, value: float | None, **others: float) -> Bound:
    reason = "serving.replay_max_latency_ratio 3 times the baseline's"
    return Bound(name, value, others.get("baseline"), others.get("limit"), "fail", reason)


def test_image_that_is_served_otherwise_than_evaluated() -> None:
    tally = Tally({"id": Expected(1, [0.2, 0.8])}, 0.001)
    answer = Prediction(("cats", "dogs"), (0.7, 0.3), (0, 1), is_known=True, version=1)
    tally.add_seconds(0.01)
    tally.compare("id", "photos/a.png", answer, 1)
    mismatches = tally.result().mismatches
    error = error_of([bound("grpc/top1_agreement", 0.0)], mismatches, 1, 0.001, "")
    assert error.cause == (
        "1 of 1 replayed images are served otherwise than evaluated; nothing is pushed. "
        "photos/a.png was evaluated as class 1 with 0.8000 and is served as class 0 with "
        "0.7000: the probabilities differ by up to 0.5, 0.001 is allowed."
    )
    assert error.fix == (
        "Export the model again with this version of SlimWorks (slimworks run --no-cache=trainer), "
        "or raise serving.replay_tolerance (now 0.001) if such differences do no harm."
    )


def test_difference_by_rest_alone_is_said() -> None:
    tally = Tally({"id": Expected(1, [0.2, 0.8])}, 0.001, "rest")
    tally.add_seconds(0.01)
    tally.compare("id", "a.png", Prediction(("cats",), (0.7,), (0,), is_known=True, version=0), 1)
    assert "is served as class 0 with 0.7000 by REST: " in tally.result().mismatches[0].sentence(1)


def test_answer_that_changes() -> None:
    error = error_of([bound("repeat_difference", 0.25)], (), 8, 0.001, "photos/a.png")
    assert error.cause == (
        "photos/a.png is answered differently when it is asked twice: the probabilities differ by "
        "up to 0.25, 1e-05 is allowed; nothing is pushed."
    )
    assert error.fix == (
        "Something in the graph is random or remembers: export the model again with this version "
        "of SlimWorks (slimworks run --no-cache=trainer)."
    )


def test_candidate_that_is_too_slow() -> None:
    failed = [bound("grpc/latency_p50_ms", 960.0, baseline=300.0, limit=900.0)]
    error = error_of(failed, (), 8, 0.001, "")
    assert error.cause == (
        "The candidate costs more to serve than it may; nothing is pushed. grpc/latency_p50_ms is "
        "960, 900 is allowed (serving.replay_max_latency_ratio 3 times the baseline's), the "
        "baseline's is 300."
    )
    assert error.fix == (
        "Choose a smaller network or image size; or, if the cost is meant, raise "
        "serving.replay_max_latency_ratio, serving.replay_max_latency_ms, "
        "serving.replay_max_memory_ratio or serving.replay_max_memory_mb."
    )
    assert error.exit_code == 5


def test_rest_address_without_a_server() -> None:
    with pytest.raises(ConfigError) as caught:
        ServingConfig(replay_rest_server="localhost:8501")
    assert caught.value.cause == (
        "serving.replay_rest_server is set, but serving.replay_server is not."
    )
    assert caught.value.fix == ("Set serving.replay_server to the gRPC address of the same server.")
