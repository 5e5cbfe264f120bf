"""What the checks of the ingested examples tell a user, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.statistics.schema import infer_schema
from slimworks.components.statistics.statistics import compute_statistics, metadata_schema
from slimworks.components.statistics.validation import validate_statistics

LABEL_MAP = contracts.LabelMap(("cats", "dogs"))
BOTH = ["cats", "dogs"] * 50
FIX = (
    "For shares: choose smaller groups (data.group_regex), another data.split_seed, or add photos. "
    "For values: write the examples again: slimworks run --no-cache=ingest"
)


def write_statistics(
    folder: Path, split: str, classes: list[str], height: int = 8, width: int = 8
) -> None:
    """Statistics of photos of these classes, of which the last has the given size."""
    import pandas as pd
    import tensorflow_data_validation as tfdv

    frame = pd.DataFrame(
        {
            contracts.IMAGE_FORMAT: "png",
            contracts.IMAGE_ORIGINAL_FORMAT: "png",
            contracts.CLASS_INDEX: [LABEL_MAP.class_names.index(name) for name in classes],
            contracts.CLASS_NAME: classes,
            contracts.IMAGE_HEIGHT: [8] * (len(classes) - 1) + [height],
            contracts.IMAGE_WIDTH: [8] * (len(classes) - 1) + [width],
            contracts.IMAGE_COLORSPACE: "RGB",
            contracts.IMAGE_CHANNELS: 3,
            contracts.IMAGE_BRIGHTNESS: 0.5,
            contracts.IMAGE_SHARPNESS: 0.1,
            contracts.IMAGE_SPAN: 1,
        }
    )
    options = tfdv.StatsOptions(schema=metadata_schema(), infer_type_from_schema=True)
    statistics = tfdv.generate_statistics_from_dataframe(frame, stats_options=options)
    path = contracts.split_folder(folder, split) / contracts.STATISTICS_FILE
    files.write_bytes(path, statistics.SerializeToString())


def refusal(folder: Path) -> tuple[str, str]:
    """Cause and fix; the anomalies of both splits are written all the same."""
    write_statistics(folder, "train", BOTH)
    infer_schema(str(folder), LABEL_MAP, str(folder))
    output = folder / "anomalies"
    with pytest.raises(DataError) as caught:
        validate_statistics(str(folder), str(folder), str(output), ("train", "eval"))
    assert len(list(output.glob("Split-*/SchemaDiff.pb"))) == 2
    return caught.value.cause, caught.value.fix


@pytest.mark.parametrize(
    ("width", "more"), [(8, ""), (0, "; 1 more")], ids=["one anomaly", "two anomalies"]
)
def test_values_that_do_not_fit(tmp_path: Path, width: int, more: str) -> None:
    write_statistics(tmp_path, "eval", BOTH, height=0, width=width)
    cause, fix = refusal(tmp_path)
    assert cause.startswith("The examples do not fit: image/height: Out-of-range values (")
    assert cause.endswith(f") in the eval split{more}.")
    assert fix == FIX


def test_mix_of_classes_that_is_far_from_the_train_splits(tmp_path: Path) -> None:
    write_statistics(tmp_path, "eval", ["dogs"] * 100)
    cause, fix = refusal(tmp_path)
    start = "The examples do not fit: the share of the class '"
    assert cause.startswith((f"{start}cats'", f"{start}dogs'"))  # both are off by the same
    assert " is far from that of the train split in the eval split" in cause
    assert fix == FIX


def test_split_without_an_example(tmp_path: Path) -> None:
    shard = contracts.split_folder(tmp_path, "test")
    shard.mkdir()
    name = contracts.EXAMPLES_FILE_PATTERN.format(shard=0, num_shards=1)
    (shard / name).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        compute_statistics(str(tmp_path), str(tmp_path / "out"), ("test",))
    assert caught.value.cause == f"The test split of {tmp_path} holds no example."
    assert caught.value.fix == "Write the examples again: slimworks run --no-cache=ingest"
