"""The schema that statistics are held against: TFDV's, with the domains that we know better.

What TFDV infers from one split would make anomalies of larger photos in another. So types and
valency are inferred, and the domains follow from the contract and the label map.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from slimworks.components import contracts, files
from slimworks.components.contracts import LabelMap
from slimworks.components.examples.image_formats import READ_FORMATS, STORED_FORMATS
from slimworks.components.statistics.statistics import FEATURE_TYPES, read_statistics

_LOGGER = logging.getLogger(__name__)

FORMATS = tuple(sorted(STORED_FORMATS.values()))
ORIGINAL_FORMATS = tuple(sorted(READ_FORMATS.values()))
COLORSPACES = ("Grayscale", "RGB")
MAX_CHANNELS = 4


def make_schema(inferred: schema_pb2.Schema, label_map: LabelMap) -> schema_pb2.Schema:
    """Every metadata feature exactly once in every example, within its domain."""
    known = {feature.name: feature for feature in inferred.feature}
    schema = schema_pb2.Schema()
    for name in contracts.METADATA_FEATURES:
        feature = schema.feature.add(name=name, type=FEATURE_TYPES[name])
        if name in known:
            feature.CopyFrom(known[name])
            feature.ClearField("domain_info")
        feature.presence.min_fraction = 1.0
        feature.presence.min_count = 1
        feature.ClearField("shape_type")
        feature.value_count.min = feature.value_count.max = 1
        _set_domain(feature, label_map)
    return schema


def _set_domain(feature: schema_pb2.Feature, label_map: LabelMap) -> None:
    words = {
        contracts.IMAGE_FORMAT: FORMATS,
        contracts.IMAGE_ORIGINAL_FORMAT: ORIGINAL_FORMATS,
        contracts.IMAGE_COLORSPACE: COLORSPACES,
        contracts.CLASS_NAME: label_map.class_names,
    }
    if feature.name in words:
        feature.string_domain.name = feature.name
        feature.string_domain.value.extend(words[feature.name])
    elif feature.name == contracts.CLASS_INDEX:
        feature.int_domain.min, feature.int_domain.max = 0, label_map.num_classes - 1
        feature.int_domain.is_categorical = True
    elif feature.name == contracts.IMAGE_CHANNELS:
        feature.int_domain.min, feature.int_domain.max = 1, MAX_CHANNELS
        feature.int_domain.is_categorical = True
    elif feature.name in (contracts.IMAGE_HEIGHT, contracts.IMAGE_WIDTH, contracts.IMAGE_SPAN):
        feature.int_domain.min = 1
    else:
        feature.float_domain.min = 0.0
        feature.float_domain.disallow_nan = True
        if feature.name == contracts.IMAGE_BRIGHTNESS:
            feature.float_domain.max = 1.0


def infer_schema(statistics_dir: str, label_map: LabelMap, output_dir: str) -> schema_pb2.Schema:
    """Writes schema.pbtxt from the train split's statistics and the label map; returns it."""
    inferred = tfdv.infer_schema(read_statistics(statistics_dir, "train"))
    schema = make_schema(inferred, label_map)
    path = Path(output_dir) / contracts.SCHEMA_FILE
    files.write_text(path, text_format.MessageToString(schema))
    _LOGGER.info("schema: %d features, %d classes; %s", len(schema.feature),
                 label_map.num_classes, path)  # fmt: skip
    return schema


def read_schema(schema_dir: str | os.PathLike[str]) -> schema_pb2.Schema:
    """Schema of a schema artifact."""
    text = (Path(schema_dir) / contracts.SCHEMA_FILE).read_text(encoding="utf-8")
    return text_format.Parse(text, schema_pb2.Schema())
