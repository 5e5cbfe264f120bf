"""Statistics by span in the one pass, and TFDV's distances between them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from span_samples import records, write_examples

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.examples import encoding, tfrecord
from slimworks.components.statistics import drift
from slimworks.components.statistics.spans import Spans
from slimworks.components.statistics.statistics import (
    compute_statistics,
    read_span_statistics,
    read_statistics,
)


@pytest.fixture(scope="module")
def statistics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spans 1 and 2 alike; span 3 dark, grey and of one class; span 2 was trained on."""
    folder = tmp_path_factory.mktemp("spans")
    dark = [
        dataclasses.replace(record, colorspace="Grayscale", channels=1)
        for record in records(3, 50, brightness=0.15, class_name="cats")
    ]
    images = records(1, 100) + records(2, 60) + dark
    compute_statistics(
        write_examples(folder / "examples", images), str(folder), spans=Spans(3, 2, 2)
    )
    return folder


def distances(folder: Path, newer: str, older: str) -> dict[str, float]:
    compared = drift.compare(
        read_span_statistics(folder, newer), read_span_statistics(folder, older)
    )
    return dict(compared.distances)


@pytest.mark.parametrize(
    ("group", "number"), [("latest", 50), ("previous", 60), ("untrained", 50), ("trained", 160)]
)
def test_each_group_of_spans_counts_its_images_of_all_splits(
    statistics: Path, group: str, number: int
) -> None:
    found = read_span_statistics(statistics, group)
    assert found is not None
    assert found.datasets[0].num_examples == number


def test_splits_still_count_all_spans(statistics: Path) -> None:
    sizes = [read_statistics(statistics, s).datasets[0].num_examples for s in contracts.SPLITS]
    assert sum(sizes) == 210


def test_spans_are_written_beside_the_statistics(statistics: Path) -> None:
    assert Spans.read(statistics) == Spans(3, 2, 2)


def test_every_feature_that_is_watched_has_a_distance(statistics: Path) -> None:
    assert set(distances(statistics, "latest", "previous")) == set(drift.MEASURES)


def test_what_drifted_is_far_and_the_rest_is_near(statistics: Path) -> None:
    found = distances(statistics, "latest", "previous")
    assert found[contracts.IMAGE_BRIGHTNESS] > 0.8
    assert found[contracts.CLASS_NAME] == pytest.approx(0.5)
    assert found[contracts.IMAGE_COLORSPACE] == pytest.approx(1)
    assert found[contracts.IMAGE_CHANNELS] == pytest.approx(1)
    assert found[contracts.IMAGE_HEIGHT] == 0
    assert found[contracts.IMAGE_SHARPNESS] < 0.2


def test_group_without_an_image_has_no_statistics_and_no_distance(tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples", records(1, 20))
    compute_statistics(examples, str(tmp_path), spans=Spans(2, 1, 1))
    assert read_span_statistics(tmp_path, "latest") is None
    compared = drift.compare(None, read_span_statistics(tmp_path, "previous"))
    assert (compared.num_images, compared.num_previous_images, compared.distances) == (0, 20, {})
    assert not compared.is_enough_data


def test_chance_alone_stays_below_what_is_documented(tmp_path: Path) -> None:
    """The smallest number of images that counts as enough."""
    for seed in range(3):
        images = records(1, 300, seed=seed) + records(2, drift.MIN_IMAGES, seed=seed)
        folder = tmp_path / str(seed)
        compute_statistics(
            write_examples(folder / "examples", images), str(folder), spans=Spans(2, 1)
        )
        assert max(distances(folder, "latest", "previous").values()) < 0.3


def test_examples_of_an_older_version_are_an_error(tmp_path: Path) -> None:
    examples = write_examples(tmp_path, records(1, 10))
    for split in contracts.SPLITS:
        (shard,) = contracts.split_files(examples, split)
        with open(shard, "wb") as stream:
            tfrecord.write_record(stream, _without_span(records(1, 1)[0]))
    with pytest.raises(DataError) as caught:
        compute_statistics(examples, str(tmp_path / "out"))
    shard = contracts.split_files(examples, "train")[0]
    assert caught.value.cause == (
        f"The examples in {shard} have no image/span: another version of SlimWorks wrote them."
    )
    assert caught.value.fix == "Write the examples again: slimworks run --no-cache=ingest"


def _without_span(record: encoding.ImageRecord) -> bytes:
    example = encoding.Example.FromString(encoding.encode_example(record))
    del example.features.feature[contracts.IMAGE_SPAN]
    return example.SerializeToString()


def test_older_statistics_file_of_spans_is_read_as_written(tmp_path: Path) -> None:
    Spans(1).write(tmp_path)
    assert files.read_json(tmp_path / "spans.json") == {
        "span": 1, "previous_span": None, "trained_span": None,
    }  # fmt: skip
