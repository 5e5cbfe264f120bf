"""What the replay tells a user before it starts a server, word for word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from replay_samples import filename, images, write_examples, write_predictions

from slimworks.components.errors import ServingError
from slimworks.components.replay.replay import replay
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
