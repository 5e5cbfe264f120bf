"""Settings of the `data` section."""

from __future__ import annotations

import re
from typing import Literal

import pydantic

from slimworks.components.examples.image_formats import MAX_PIXELS
from slimworks.components.settings import Settings


class DataConfig(Settings):
    """How images are checked, grouped, split and written."""

    source: str | None = pydantic.Field(
        None,
        description="Labelled images: a folder with one folder for each class (or with train, val "
        "and test folders of such), a manifest (CSV, TSV, JSONL, Parquet), a folder of TFRecords, "
        "a zip or tar archive, or mnist, cifar10 or flowers. A local path, gs://, s3:// or hdfs://.",
    )
    format: Literal[
        "auto", "folders", "split_folders", "manifest", "tfrecord", "archive", "classic"
    ] = pydantic.Field("auto", description="What data.source is; auto looks at it.")
    download_dir: str | None = pydantic.Field(
        None,
        description="Where the files of mnist, cifar10 and flowers are kept, or lie already, and "
        "compressed tar archives are unpacked; by default ~/.cache/slimworks.",
    )
    # Names of manifest columns; by default the usual names are looked for.
    path_column: str | None = pydantic.Field(
        None, description="Manifest column with the path or URI of each image."
    )
    class_column: str | None = pydantic.Field(
        None, description="Manifest column with the class name."
    )
    split_column: str | None = pydantic.Field(
        None, description="Manifest column with train, eval (val, validation) or test, or nothing."
    )
    group_column: str | None = pydantic.Field(
        None, description="Manifest column whose equal values must share a split."
    )
    slice_columns: tuple[str, ...] = pydantic.Field(
        (), description="Manifest columns that evaluation may slice by."
    )
    image_root: str | None = pydantic.Field(
        None, description="What relative paths of a manifest start from; by default its own folder."
    )
    labels_file: str | None = pydantic.Field(
        None,
        description="Class names of TFRecords that hold numbers only: `index:name` or a name a "
        "line; by default labels.txt or *.labels.txt beside them.",
    )

    # The gate decides on confidence intervals of the test split: 0.15 of 1,000 photos are 150,
    # which gives +-6 points at 85 % accuracy, where 0.1 gives +-7. The fractions do not depend
    # on the number of images, because an image must keep its split while the set grows.
    eval_fraction: float = pydantic.Field(
        0.15, gt=0, le=0.45, description="Share of each class that chooses the best checkpoint."
    )
    test_fraction: float = pydantic.Field(
        0.15, gt=0, le=0.45, description="Share of each class that the gate decides on."
    )
    split_seed: int = pydantic.Field(
        0, ge=0, description="Another seed gives another split; images keep their split under one."
    )
    group_regex: str | None = pydantic.Field(
        None,
        description="Regular expression searched in the path below the data folder; its first "
        "group (or the whole match) names the images that must share a split.",
    )
    # Small sets with a handful of broken downloads are normal, and each is listed by name; one
    # file in five says that something went wrong with the whole set.
    max_rejected_fraction: float = pydantic.Field(
        0.2, ge=0, le=1, description="Stops the run where more of the files cannot be used."
    )
    # Below five, a class has no train, eval and test image to speak of.
    min_images_per_class: int = pydantic.Field(
        5, ge=1, description="Stops the run where a class has fewer usable images."
    )
    # Keeps 8x8 scans of digits; drops tracking pixels and spacers.
    min_image_size_pixels: int = pydantic.Field(
        4, ge=1, description="Sets an image aside where its shorter side is smaller."
    )
    # 100 MP are 300 MB decoded: larger than any camera's photo, small enough for a laptop.
    max_pixels: int = pydantic.Field(
        100_000_000,
        ge=1,
        le=MAX_PIXELS,
        description="Sets an image aside, before decoding it, where width x height is larger.",
    )
    # Bounds the memory of a worker; the largest JPEG of 100 MP is about 100 MB.
    max_file_bytes: int = pydantic.Field(
        256 * 2**20, ge=1, le=2**30, description="Sets a file aside unread where it is larger."
    )
    exclude_classes: tuple[str, ...] = pydantic.Field((), description="Classes that are left out.")
    rename_classes: dict[str, str] = pydantic.Field(
        {}, description="Old class name: new one. The class keeps its index."
    )
    merge_classes: dict[str, str] = pydantic.Field(
        {}, description="Class name: the class that takes its images. Its index stays reserved."
    )
    # Of flowers re-encoded, halved or cropped by 2 % a side, 99.8 to 100 % are found at 32, at 24
    # 99.3 %. Different things with such hashes are told apart by their thumbnails: 800 flowers
    # have one pair, photographed twice.
    near_duplicate_distance: int | None = pydantic.Field(
        32,
        ge=0,
        le=64,
        description="Images whose perceptual hashes (256 bits) differ in no more bits share a "
        "split, where their thumbnails agree too; null looks for identical files only.",
    )
    window: int | None = pydantic.Field(
        None,
        ge=1,
        description="Uses the images of the newest spans only: an ingest that finds new images "
        "makes one span. By default all.",
    )
    stop_above_drift: float | None = pydantic.Field(
        None,
        gt=0,
        le=1,
        description="Stops the run where the newest span differs from the one before by more.",
    )
    retrain_min_drift: float | None = pydantic.Field(
        None,
        gt=0,
        le=1,
        description="Trains only where the images since the last trained model, or those of the "
        "newest span, drifted by so much.",
    )
    retrain_min_new_images: int | None = pydantic.Field(
        None,
        ge=1,
        description="Trains only where there are so many new images since the last trained model.",
    )
    corrections: str | None = pydantic.Field(
        None,
        description="CSV file of images whose class was corrected (slimworks apply-fixes): ingest "
        "gives them that class, whatever folder or row they are in.",
    )
    on_conflict: Literal["set_aside", "error"] = pydantic.Field(
        "set_aside", description="What to do with identical images under two classes."
    )
    beam_pipeline_args: tuple[str, ...] = pydantic.Field(
        (),
        description="Beam flags: where ingest runs (docs/engines.md), such as "
        "--direct_num_workers=2, and options of its file systems.",
    )
    num_shards: int | None = pydantic.Field(
        None, ge=1, le=99_999, description="Shards of each split; by default about 150 MB each."
    )

    @pydantic.field_validator("group_regex")
    @classmethod
    def _check_regex(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(
                f"data.group_regex {value!r} is not a regular expression: {error}."
            ) from None
        return value

    @pydantic.model_validator(mode="after")
    def _check_fractions(self) -> DataConfig:
        taken = self.eval_fraction + self.test_fraction
        if taken > 0.8:
            raise ValueError(
                f"data.eval_fraction + data.test_fraction is {taken:g}, which leaves less than 0.2 "
                "to train."
            )
        return self
