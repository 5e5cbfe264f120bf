"""The event file of an evaluation, read back."""

import dataclasses

import numpy as np
import pytest
import report_samples

from slimworks.components import contracts
from slimworks.components.errors import SlimWorksError
from slimworks.components.tracking.pictures import (
    MARGIN,
    SIDE,
    confusion_picture,
    reliability_picture,
)
from slimworks.components.tracking.tensorboard_sink import verdict_text, write_evaluation


def events(folder):
    """{tag: (step, tensor)} of the one event file."""
    import tensorflow as tf

    (path,) = folder.glob("events.out.tfevents.*")
    return {
        value.tag: (event.step, tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }


def test_evaluation_is_written_beside_the_training_logs(tmp_path) -> None:
    import tensorflow as tf

    inputs = report_samples.finished_run(tmp_path)
    folder = write_evaluation(inputs, None)
    assert folder == str(tmp_path / "model" / contracts.LOGS_FOLDER / "evaluation")
    write_evaluation(inputs, None)  # a second time: the same, once
    found = events(tmp_path / "model" / contracts.LOGS_FOLDER / "evaluation")
    step, accuracy = found["evaluation/accuracy"]
    assert step == 16  # of the kept checkpoint
    assert accuracy == pytest.approx(0.7)
    assert found["evaluation/accuracy_low"][1] == pytest.approx(0.4)
    picture = tf.io.decode_png(found["evaluation/confusion"][1][2]).numpy()
    assert (picture == confusion_picture(report_samples.full_metrics()["confusion_matrix"])).all()
    assert {"evaluation/reliability", "evaluation/reliability_before"} <= set(found)
    assert found["gate/verdict"][1].item().decode().startswith("**fail**")
    assert "1 | gänse & blümchen" in found["evaluation/classes"][1].item().decode()


def test_given_folder_has_one_for_each_run(tmp_path) -> None:
    inputs = report_samples.finished_run(tmp_path)
    folder = write_evaluation(inputs, str(tmp_path / "board"))
    assert folder == str(tmp_path / "board" / "run-1")
    assert "evaluation/macro_f1" in events(tmp_path / "board" / "run-1")
    assert not (tmp_path / "model" / contracts.LOGS_FOLDER).exists()


def test_run_without_an_evaluation_says_so(tmp_path) -> None:
    inputs = dataclasses.replace(report_samples.finished_run(tmp_path), evaluation_dir=None)
    with pytest.raises(SlimWorksError, match=r"no evaluation for TensorBoard"):
        write_evaluation(inputs, None)


def test_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    inputs = report_samples.finished_run(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SlimWorksError, match=r"file/run-1 cannot be written") as caught:
        write_evaluation(inputs, str(tmp_path / "file"))
    assert "tracking.tensorboard_dir" in caught.value.fix


def test_confusion_picture_is_dark_where_the_answers_are() -> None:
    picture = confusion_picture([[8, 2, 0], [0, 0, 0], [0, 5, 5]])
    cell = SIDE // 3
    means = picture.mean(axis=-1).reshape(3, cell, 3, cell).mean(axis=(1, 3))
    assert means[0, 0] < means[2, 1] == means[2, 2] < means[0, 1] < 255
    assert (means[1] == 255).all()  # a class without images
    assert confusion_picture(np.eye(600)).shape == (600, 600, 3)


def test_reliability_picture_has_its_points() -> None:
    inner = SIDE - 1 - 2 * MARGIN
    bins = [
        {"count": 3, "confidence": 0.25, "accuracy": 0.75},
        {"count": 0, "confidence": None, "accuracy": None},
    ]
    picture = reliability_picture(bins)
    x, y = MARGIN + round(0.25 * inner), MARGIN + round(0.25 * inner)  # row 0 is on top
    assert tuple(picture[y, x]) == (8, 48, 107)
    assert tuple(picture[SIDE - y, x + 3]) == tuple(reliability_picture([])[SIDE - y, x + 3])


def test_verdict_names_the_bounds_that_did_not_pass() -> None:
    text = verdict_text(report_samples.decision())
    assert "- Reason 0" in text
    assert "accuracy | fail | accuracy: because" in text
    assert "class_recall" not in text
