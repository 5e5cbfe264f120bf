"""Statistics, schema and validation on small shards."""

import dataclasses
from pathlib import Path

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.types import standard_artifacts

from slimworks.components import contracts
from slimworks.components.artifacts import LabelMap as LabelMapArtifact
from slimworks.components.contracts import LabelMap
from slimworks.components.errors import DataError
from slimworks.components.examples import tfrecord
from slimworks.components.examples.encoding import ImageRecord, encode_example
from slimworks.components.statistics import executor
from slimworks.components.statistics.schema import infer_schema, read_schema
from slimworks.components.statistics.statistics import (
    compute_statistics,
    decode_metadata,
    metadata_schema,
    read_statistics,
)
from slimworks.components.statistics.validation import validate_statistics

LABEL_MAP = LabelMap(("cats", "dogs"))
SIZES = {"train": 40, "eval": 10, "test": 10}

# What the validation's driver adds.
NO_PAST = {"is_due": 0, "is_too_soon": 0, "earlier_models": "[]"}


def record(number: int) -> ImageRecord:
    index = number % 2
    return ImageRecord(
        encoded=b"\xff\xd8" + bytes(2_000),
        format="jpeg",
        original_format="jpeg",
        class_index=index,
        class_name=LABEL_MAP.class_names[index],
        filename=f"{number}.jpg",
        height=100 + number,
        width=200,
        colorspace="RGB",
        channels=3,
        image_id=f"{number:064x}",
        group=f"{number:064x}",
        brightness=0.5,
        sharpness=0.1,
        span=1,
    )


def write_examples(folder: Path, bad: ImageRecord | None = None) -> str:
    """Writes two shards a split; `bad` goes last into the eval split."""
    for split, size in SIZES.items():
        for shard in range(2):
            records = [record(number) for number in range(shard, size, 2)]
            if bad and (split, shard) == ("eval", 1):
                records.append(bad)
            path = contracts.split_folder(folder, split) / f"data_tfrecord-0000{shard}-of-00002"
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as stream:
                for item in records:
                    tfrecord.write_record(stream, encode_example(item))
    return str(folder)


def validate(tmp_path: Path, bad: ImageRecord | None = None) -> None:
    compute_statistics(write_examples(tmp_path / "examples", bad), str(tmp_path / "statistics"))
    infer_schema(str(tmp_path / "statistics"), LABEL_MAP, str(tmp_path / "schema"))
    validate_statistics(
        str(tmp_path / "statistics"), str(tmp_path / "schema"), str(tmp_path / "anomalies")
    )


def test_statistics_are_of_the_metadata_and_nothing_else(tmp_path: Path) -> None:
    compute_statistics(write_examples(tmp_path / "examples"), str(tmp_path / "out"))
    for split, size in SIZES.items():
        (dataset,) = read_statistics(tmp_path / "out", split).datasets
        names = {feature.path.step[0] for feature in dataset.features}
        assert dataset.num_examples == size
        assert names == set(contracts.METADATA_FEATURES)


def test_decoding_never_materialises_the_image_bytes(tmp_path: Path) -> None:
    write_examples(tmp_path)
    (shard, _) = contracts.split_files(tmp_path, "train")
    (batch,) = decode_metadata(shard)
    assert set(batch.schema.names) == set(contracts.METADATA_FEATURES)
    assert batch.nbytes < 20 * 200  # the images of this shard are 2,000 bytes each


def test_statistics_equal_those_of_tfdvs_own_pipeline(tmp_path: Path) -> None:
    import tensorflow_data_validation as tfdv

    write_examples(tmp_path / "examples")
    compute_statistics(str(tmp_path / "examples"), str(tmp_path / "out"), ["eval"])
    batches = [
        batch
        for shard in contracts.split_files(tmp_path / "examples", "eval")
        for batch in decode_metadata(shard)
    ]
    frame = {
        name: [value[0] for batch in batches for value in batch.column(index).to_pylist()]
        for index, name in enumerate(batches[0].schema.names)
    }
    import pandas as pd

    options = tfdv.StatsOptions(schema=metadata_schema(), infer_type_from_schema=True)
    expected = tfdv.generate_statistics_from_dataframe(pd.DataFrame(frame), stats_options=options)
    assert _summary(read_statistics(tmp_path / "out", "eval")) == _summary(expected)


def _summary(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> dict[str, object]:
    return {
        feature.path.step[0]: (
            feature.num_stats.min,
            feature.num_stats.max,
            round(feature.num_stats.mean, 6),
            feature.string_stats.unique,
            feature.num_stats.common_stats.num_non_missing
            or feature.string_stats.common_stats.num_non_missing,
        )
        for feature in statistics.datasets[0].features
    }


def test_schema_takes_class_domains_from_the_label_map(tmp_path: Path) -> None:
    compute_statistics(write_examples(tmp_path / "examples"), str(tmp_path / "statistics"))
    label_map = LabelMap(("cats", "dogs", "wolves"))
    infer_schema(str(tmp_path / "statistics"), label_map, str(tmp_path))
    features = {feature.name: feature for feature in read_schema(tmp_path).feature}
    assert list(features) == list(contracts.METADATA_FEATURES)
    assert list(features[contracts.CLASS_NAME].string_domain.value) == ["cats", "dogs", "wolves"]
    assert features[contracts.CLASS_INDEX].int_domain.max == 2


def test_sound_examples_have_no_anomaly(tmp_path: Path) -> None:
    validate(tmp_path)
    for split in contracts.SPLITS:
        assert (tmp_path / "anomalies" / f"Split-{split}" / contracts.ANOMALIES_FILE).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"brightness": 1.5}, r"image/brightness: Out-of-range values .*1\.5.* in the eval split"),
        ({"brightness": float("nan")}, r"image/brightness: .* in the eval split"),
        ({"class_name": "wolves"}, r"image/class/text: Unexpected string values .*wolves.* eval"),
        ({"class_index": 2}, r"image/class/label: Out-of-range values .*2\) in the eval split"),
        ({"format": "webp"}, r"image/format: Unexpected string values .*webp.* in the eval split"),
        ({"height": 0}, r"image/height: Out-of-range values .*0\) in the eval split"),
    ],
)
def test_anomaly_stops_the_run_and_names_feature_split_and_value(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    bad = dataclasses.replace(record(0), **change)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message) as caught:
        validate(tmp_path, bad)
    assert caught.value.exit_code == 3
    assert "slimworks run --no-cache=ingest" in caught.value.fix


def test_split_without_an_example_is_an_error(tmp_path: Path) -> None:
    write_examples(tmp_path)
    for shard in contracts.split_files(tmp_path, "test"):
        Path(shard).write_bytes(b"")
    with pytest.raises(DataError, match=r"The test split of .* holds no example"):
        compute_statistics(str(tmp_path), str(tmp_path / "out"))


def test_executors_pass_the_splits_on(tmp_path: Path) -> None:
    artifacts = {
        "examples": standard_artifacts.Examples(),
        "statistics": standard_artifacts.ExampleStatistics(),
        "label_map": LabelMapArtifact(),
        "schema": standard_artifacts.Schema(),
        "anomalies": standard_artifacts.ExampleAnomalies(),
    }
    for name, artifact in artifacts.items():
        artifact.uri = str(tmp_path / name)
    write_examples(tmp_path / "examples")
    LABEL_MAP.write(tmp_path / "label_map")
    artifacts["examples"].splits = list(contracts.SPLITS)
    one = {name: [artifact] for name, artifact in artifacts.items()}
    spans = {
        "span": 1, "previous_span": 0, "trained_span": 0,
        "previous_statistics": "", "trained_statistics": "", "state_id": "a1",
    }  # fmt: skip
    executor.StatisticsExecutor().Do(one, one, spans)
    executor.SchemaInferenceExecutor().Do(one, one, {})
    executor.ValidationExecutor().Do(one, one, {"config": "{}", **NO_PAST})
    assert artifacts["statistics"].splits == list(contracts.SPLITS)
    assert artifacts["anomalies"].splits == list(contracts.SPLITS)
