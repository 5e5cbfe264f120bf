"""One image with its metadata, as a tf.train.Example under TF-Slim's feature keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from slimworks.components import contracts
from slimworks.components.examples.messages import Example

FeatureValue = bytes | int | float


@dataclasses.dataclass(frozen=True)
class ImageRecord:
    """All that one example says about one image.

    Attributes:
        encoded: The image file's bytes, in a format that TensorFlow decodes.
        format: "jpeg", "png", "gif" or "bmp": what `encoded` is.
        original_format: Format of the user's file; differs where it was converted.
        class_index: Index in the label map, from 0.
        class_name: Name in the label map.
        filename: Relative to the data source, "/" between parts.
        height: Pixels, upright.
        width: Pixels, upright.
        colorspace: "RGB" or "Grayscale".
        channels: Of the stored file, 1 to 4.
        image_id: sha256 of the user's file, hex.
        group: Images of one group share a split.
        brightness: Mean luma in [0, 1].
        sharpness: At least 0, low where the picture is blurred.
        span: The ingest that first found the image, from 1.
        slices: Metadata columns by name.
    """

    encoded: bytes
    format: str
    original_format: str
    class_index: int
    class_name: str
    filename: str
    height: int
    width: int
    colorspace: str
    channels: int
    image_id: str
    group: str
    brightness: float
    sharpness: float
    span: int
    slices: Mapping[str, str] = dataclasses.field(default_factory=lambda: MappingProxyType({}))

    def features(self) -> dict[str, FeatureValue | str]:
        """Values by feature key of the contract."""
        fixed: dict[str, FeatureValue | str] = {
            contracts.IMAGE_ENCODED: self.encoded,
            contracts.IMAGE_FORMAT: self.format,
            contracts.IMAGE_ORIGINAL_FORMAT: self.original_format,
            contracts.CLASS_INDEX: self.class_index,
            contracts.CLASS_NAME: self.class_name,
            contracts.IMAGE_FILENAME: self.filename,
            contracts.IMAGE_HEIGHT: self.height,
            contracts.IMAGE_WIDTH: self.width,
            contracts.IMAGE_COLORSPACE: self.colorspace,
            contracts.IMAGE_CHANNELS: self.channels,
            contracts.IMAGE_ID: self.image_id,
            contracts.IMAGE_GROUP: self.group,
            contracts.IMAGE_BRIGHTNESS: self.brightness,
            contracts.IMAGE_SHARPNESS: self.sharpness,
            contracts.IMAGE_SPAN: self.span,
        }
        return fixed | {contracts.SLICE_PREFIX + name: text for name, text in self.slices.items()}


def encode_example(record: ImageRecord) -> bytes:
    """Serialized tf.train.Example; the same record always gives the same bytes."""
    example = Example()
    feature = example.features.feature
    for key, value in record.features().items():
        if isinstance(value, str):
            feature[key].bytes_list.value.append(value.encode("utf-8"))
        elif isinstance(value, bytes):
            feature[key].bytes_list.value.append(value)
        elif isinstance(value, int):
            feature[key].int64_list.value.append(value)
        else:
            feature[key].float_list.value.append(value)
    # Maps have no order of their own: without this, two runs could differ.
    return example.SerializeToString(deterministic=True)


def decode_example(serialized: bytes) -> dict[str, FeatureValue]:
    """First value of each feature by key; features without a value are left out.

    Raises:
        google.protobuf.message.DecodeError: Not a tf.train.Example.
    """
    features = {}
    for key, feature in Example.FromString(serialized).features.feature.items():
        kind = feature.WhichOneof("kind")
        values = getattr(feature, kind).value if kind else ()
        if values:
            features[key] = values[0]
    return features
