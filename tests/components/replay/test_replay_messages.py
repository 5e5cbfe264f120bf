"""What the replay tells a user before it starts a server, word for word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from replay_samples import filename, images, write_examples, write_predictions

from slimworks.components.errors import ServingError
from slimworks.components.replay.comparison import Expected
from slimworks.components.replay.replay import _refusal, replay
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


def test_image_that_is_served_otherwise_than_evaluated() -> None:
    tally = Tally({"id": Expected(1, [0.2, 0.8])}, 0.001)
    answer = Prediction(("cats", "dogs"), (0.7, 0.3), (0, 1), is_known=True, version=1)
    tally.add_seconds(0.01)
    tally.compare("id", "photos/a.png", answer, 1)
    error = _refusal(tally.result())
    assert error.cause == (
        "1 of 1 replayed images are served otherwise than evaluated; nothing is pushed. "
        "photos/a.png was evaluated as class 1 with 0.8000 and is served as class 0 with "
        "0.7000: the probabilities differ by up to 0.5, 0.001 is allowed."
    )
    assert error.fix == (
        "Export the model again with this version of SlimWorks (slimworks run --no-cache=trainer), "
        "or raise serving.replay_tolerance (now 0.001) if such differences do no harm."
    )
